"""train, predict and prelabel: on files without Label Studio; train and prelabel on a project as well."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgewise.cli.exchange import datasets_folder
from edgewise.cli.jobs import WAIT, queue_and_follow
from edgewise.cli.options import (
    ABOUT,
    ASKED,
    BATCH,
    IN,
    LABEL,
    LABELS,
    MODEL_DIR,
    MULTI,
    OUT,
    OVERWRITE,
    PROJECT,
    SPANS,
    TEXT,
    columns_of,
    kind_of,
    needed,
    only_project,
    recipe_of,
)
from edgewise.cli.shell import FAILED, JSON, Bar, say, show, table

if TYPE_CHECKING:
    from edgewise.labels.schema import Head
    from edgewise.learning.evaluation import Scores
    from edgewise.verbs.files.prelabel import Done
    from edgewise.verbs.files.train import Taught

PANEL = "On files, without Label Studio"
app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise train --input-csv mails.csv --output-model mails.model --text-columns subject,body "
    "--label-column team",
)
def train(
    context: typer.Context,
    project: PROJECT = None,
    input_csv: IN = None,
    output_model: Annotated[Path | None, typer.Option("--output-model", "-o", help="The folder to make.")] = None,
    text_columns: TEXT = None,
    label_column: LABEL = None,
    spans_column: SPANS = None,
    multi_label: MULTI = False,
    labels: LABELS = None,
    description: ABOUT = None,
    examples: Annotated[
        Path | None, typer.Option(help="More labelled rows of the same form, for training only.")
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            help="The encoder: a hub name, a folder or packaged:minilm.",
            show_default="BASELINE_MODEL_NAME, else packaged:minilm",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="full, freeze:<k> (the lowest k layers rest), features (the whole encoder rests) or auto.",
            show_default="FINE_TUNING_STRATEGY, else auto",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="The most that training may take.", show_default="TRAINING_MINUTES"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws another split and start.", show_default="SEED")] = None,
    overwrite: OVERWRITE = False,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Train: rows with labels -> a model folder, and how good it is on rows that it never saw.

    Rows are split by a hash of their text: 80 % to train, 10 % to validate, 10 % to test. With --project: train on all
    that was labelled in Label Studio.
    """
    if project is not None:
        only_project(context)
        queue_and_follow("train", project, wait=wait, as_json=as_json)
        return
    from edgewise.verbs.files.material import Source
    from edgewise.verbs.files.train import Lesson, train_on_file
    from edgewise.verbs.files.wishes import labels_given, text_or_file

    file, folder = needed(input_csv, "--input-csv"), needed(output_model, "--output-model")
    names, described = labels_given(labels) if labels else ((), ())
    base, recipe = recipe_of(model_name, strategy, minutes, seed)
    lesson = Lesson(
        file=file,
        source=Source(
            columns_of(text_columns) or ("text",), spans_column or label_column, kind_of(spans_column, multi_label)
        ),
        base=base,
        recipe=recipe,
        labels=names,
        described=described,
        told=text_or_file(description) if description else "",
        examples=examples,
        datasets=datasets_folder(),
    )
    with Bar("train") as bar:
        taught = train_on_file(lesson, folder, bar, overwrite=overwrite)
    show(_as_json(taught, folder), _told(taught, folder), as_json=as_json)


def _as_json(taught: "Taught", folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder),
        "head": asdict(taught.model.head),
        "dataset": taught.model.dataset,
        "rows": taught.rows,
        "left_out": taught.left_out,
        "strategy": taught.trained.strategy,
        "why": taught.trained.why,
        "seconds": round(taught.trained.seconds, 1),
        "validation": asdict(taught.validation) if taught.validation else None,
        "test": asdict(taught.test) if taught.test else None,
    }


def _told(taught: "Taught", folder: Path) -> list[str]:
    rows, model, trained = taught.rows, taught.model, taught.trained
    read = (
        f"Read     {sum(rows.values()):,} rows with {len(model.head.labels)} labels. Dataset version {model.dataset}."
    )
    return [
        read + (f" Left out: {taught.left_out:,} rows without a label or a text." if taught.left_out else ""),
        f"Split    {rows['train']:,} to train, {rows['validation']:,} to validate, {rows['test']:,} to test.",
        f"Trained  {model.base}, strategy {trained.strategy} ({trained.why}), {trained.seconds:.0f} s.",
        *([_validated(taught.validation)] if taught.validation else []),
        "",
        *_scores(taught.test, rows["test"]),
        "",
        f"The model is in {folder}. Next: edgewise predict --model-dir {folder} --input-csv FILE --output-csv FILE",
    ]


def _validated(scores: "Scores") -> str:
    return (
        f"Validation: macro F1 {scores.macro_f1:.3f}. Compare trainings by this, and look at the test only at the end."
    )


def _scores(scores: "Scores | None", rows: int) -> list[str]:
    if scores is None:
        return ["No row fell to the test: nothing says how good this model is. Label more rows."]
    lines = [f"Test: {rows:,} rows that training never saw."]
    if scores.accuracy is not None:
        lines.append(f"  accuracy  {scores.accuracy:.3f}   share of rows that are wholly right")
    lines += [
        f"  macro F1  {scores.macro_f1:.3f}   mean over the labels: rare ones count as much as frequent ones",
        f"  micro F1  {scores.overall.f1:.3f}   over all {'answers' if scores.accuracy is not None else 'spans'} alike",
        "",
    ]
    cells = [["label", "precision", "recall", "F1", "test rows" if scores.accuracy is not None else "test spans"]]
    for label, one in scores.per_label.items():
        cells.append([label, f"{one.precision:.2f}", f"{one.recall:.2f}", f"{one.f1:.2f}", str(one.support)])
    return lines + [f"  {line}" for line in table(cells)]


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise predict --model-dir mails.model --input-csv new.csv --output-csv labelled.csv",
)
def predict(
    model_dir: MODEL_DIR,
    input_csv: IN = None,
    output_csv: OUT = None,
    text_columns: TEXT = None,
    batch_size: BATCH = 32,
    overwrite: OVERWRITE = False,
    as_json: JSON = False,
) -> None:
    """Predict: the same rows, in their order and with all their columns, and what a model says of each.

    Adds the columns `label` (or `spans`) and `confidence`, in [0, 1]; where the file has one of that name, ours begins
    with `predicted_`. Memory does not grow with the file.
    """
    from edgewise.verbs.files.predict import predict_file

    file, out = needed(input_csv, "--input-csv"), needed(output_csv, "--output-csv")
    with Bar("predict") as bar:
        done = predict_file(
            model_dir, file, out, bar, text=columns_of(text_columns), batch_size=batch_size, overwrite=overwrite
        )
    blank = f", {done.blank:,} of them without a text and so without an answer" if done.blank else ""
    show(
        {"output": str(out), **asdict(done)},
        f"{out}: {done.rows:,} rows{blank}; new columns: {', '.join(done.columns)}.",
        as_json=as_json,
    )


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise prelabel --input-csv new.csv --output-csv labelled.csv --labels billing,delivery,other",
)
def prelabel(
    context: typer.Context,
    project: PROJECT = None,
    input_csv: IN = None,
    output_csv: OUT = None,
    text_columns: TEXT = None,
    model_dir: Annotated[Path | None, typer.Option(help="A folder that `edgewise train` made.")] = None,
    by: Annotated[
        Literal["llm", "model", "both"] | None,
        typer.Option(
            help="Who labels; with both, rows are flagged where they disagree.", show_default="model if there is one"
        ),
    ] = None,
    labels: ASKED = None,
    spans: Annotated[
        bool, typer.Option("--spans", help="Mark stretches of the text, instead of one label a row.")
    ] = False,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Any number of labels a row.")] = False,
    description: ABOUT = None,
    examples: Annotated[
        Path | None, typer.Option(help="Labelled rows of the same form, to show the language model some of them.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Rows less sure than this are flagged.")] = 0.8,
    variants: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9,
            help="How often a language model is asked that does not tell how sure it is.",
            show_default="LLM_VARIANTS",
        ),
    ] = None,
    overwrite: OVERWRITE = False,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Pre-label: rows without labels -> the same rows with a label, how sure it is, and a flag to look at it.

    Adds the columns `label` (or `spans`), `confidence` and `review`, which says why a person should look, or nothing.
    The language model is that of LLM_PROVIDER and LLM_MODEL, within LLM_BUDGET_USD and LLM_BUDGET_CALLS; what was
    answered is kept in DATA_DIR, so a run that was ended pays nothing twice. With --project: all open tasks in Label
    Studio.
    """
    if project is not None:
        only_project(context)
        queue_and_follow("prelabel", project, wait=wait, as_json=as_json)
        return
    import model
    from edgewise.verbs.files.prelabel import NOT_ASKED, Order, prelabel_file
    from edgewise.verbs.files.wishes import text_or_file

    file, out = needed(input_csv, "--input-csv"), needed(output_csv, "--output-csv")
    order = Order(
        file=file,
        text=columns_of(text_columns),
        head=_asked_for(labels, spans, multi_label),
        folder=model_dir,
        by=by or ("model" if model_dir is not None else "llm"),
        threshold=threshold,
        told=text_or_file(description) if description else "",
        examples=examples,
        variants=variants,
    )
    system = model.open_system()
    with Bar("prelabel") as bar:
        done = prelabel_file(order, out, system.settings, system.prelabel, bar, overwrite=overwrite)
    show({"output": str(out), **asdict(done)}, _prelabelled(done, out), as_json=as_json)
    if done.flagged.get(NOT_ASKED):
        say("The budget is spent before the last row. Raise LLM_BUDGET_USD or LLM_BUDGET_CALLS, and run it again.")
        raise typer.Exit(FAILED)


def _asked_for(labels: str | None, spans: bool, multi_label: bool) -> "Head | None":
    """The head that the options name; None if they name none."""
    from edgewise.verbs.files.labelled import head_for
    from edgewise.verbs.files.wishes import labels_given

    if labels is None:
        return None
    names, described = labels_given(labels)
    kind = kind_of("spans" if spans else None, multi_label) or "choice"
    return head_for(kind, names, name="label", described=described)


def _prelabelled(done: "Done", out: Path) -> list[str]:
    from edgewise.verbs.spending import in_words

    flagged = sum(done.flagged.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.flagged.items()))
    lines = [f"{out}: {done.rows:,} rows, {flagged:,} flagged{f' ({reasons})' if reasons else ''}."]
    lines.append(f"New columns: {', '.join(done.columns)}. Correct them, and `edgewise dataset merge` takes them in.")
    if done.spent is not None:
        lines.append(f"The language model took {in_words(done.spent)}.")
    return lines
