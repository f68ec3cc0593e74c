"""train, predict and prelabel: on files without Label Studio; train and prelabel on a project as well."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgewise.cli.exchange import datasets_folder
from edgewise.cli.jobs import WAIT, queue_and_follow
from edgewise.cli.shell import FAILED, JSON, Bar, say, show, table
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.labels.schema import Head
    from edgewise.learning.evaluation import Scores
    from edgewise.verbs.files.prelabel import Done
    from edgewise.verbs.files.train import Taught

PANEL = "On files, without Label Studio"
app = typer.Typer()

PROJECT = Annotated[int | None, typer.Option("--project", "-p", help="Instead of files: the project's id.")]
IN = Annotated[
    Path | None,
    typer.Option(
        "--input-csv",
        "-i",
        help="A CSV; or JSON Lines, Parquet, a Hugging Face dataset folder, a JSON export of Label Studio.",
    ),
]
OUT = Annotated[Path | None, typer.Option("--output-csv", "-o", help="The CSV to write.")]
TEXT = Annotated[
    str | None,
    typer.Option(
        "--text-columns",
        help="The text: one column, or several with commas between: `title: …, body: …`, empty ones left out.",
    ),
]
LABEL = Annotated[str | None, typer.Option(help="The column with the label.", show_default="label")]
SPANS = Annotated[
    str | None,
    typer.Option(help='A column with spans instead: [{"start": 0, "end": 4, "label": "PER"}], in characters.'),
]
MULTI = Annotated[
    bool,
    typer.Option("--multi-label", help='A cell may hold several labels: a;b, or ["a", "b"]; [] says that none fits.'),
]
WHICH = "The set, commas between; or @FILE: a label on each line, a tab and what it means."
LABELS = Annotated[str | None, typer.Option(help=WHICH, show_default="those that the rows have")]
ASKED = Annotated[str | None, typer.Option(help=WHICH, show_default="those of the model")]
ABOUT = Annotated[
    str | None, typer.Option(help="What is to be labelled, and how; or @FILE. A language model reads it.")
]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")]
MODEL_DIR = Annotated[Path, typer.Option(help="The folder that `edgewise train` made.", show_default=False)]
BATCH = Annotated[int, typer.Option(min=1, max=4096, help="Texts that go through the model at once.")]


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise train --input-csv mails.csv --output-model mails.model --text-columns subject,body "
    "--label-column team",
)
def train(
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
        _only_project(input_csv, output_model)
        queue_and_follow("train", project, wait=wait, as_json=as_json)
        return
    from edgewise.verbs.files.material import Source
    from edgewise.verbs.files.train import Lesson, train_on_file
    from edgewise.verbs.files.wishes import labels_given, text_or_file

    file, folder = _needed(input_csv, "--input-csv"), _needed(output_model, "--output-model")
    names, described = labels_given(labels) if labels else ((), ())
    base, recipe = _recipe(model_name, strategy, minutes, seed)
    lesson = Lesson(
        file=file,
        source=Source(
            _columns(text_columns) or ("text",), spans_column or label_column, _kind(spans_column, multi_label)
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


def _recipe(model_name: str | None, strategy: str | None, minutes: float | None, seed: int | None) -> tuple[str, Any]:
    """The base model and the recipe: what the command says, else what the environment says, else `auto`."""
    from edgewise.learning.baseline import PACKAGED
    from edgewise.learning.training import Recipe
    from edgewise.settings import read_settings

    settings = read_settings()
    said = settings.model_fields_set
    recipe = Recipe(
        learning_rate=settings.learning_rate if "learning_rate" in said else "auto",
        epochs=settings.num_train_epochs if "num_train_epochs" in said else "auto",
        weight_decay=settings.weight_decay,
        max_length=settings.max_sequence_length,
        seed=settings.seed if seed is None else seed,
        strategy=strategy or settings.fine_tuning_strategy,
        minutes=settings.training_minutes if minutes is None else minutes,
    )
    return model_name or (settings.baseline_model_name if "baseline_model_name" in said else PACKAGED), recipe


def _kind(spans_column: str | None, multi_label: bool) -> Literal["spans", "choices"] | None:
    if spans_column is not None and multi_label:
        raise InputError("--multi-label is for a label column.", "Leave it out: spans have any labels anyway.")
    return "spans" if spans_column is not None else "choices" if multi_label else None


def _columns(given: str | None) -> tuple[str, ...]:
    from edgewise.files.texts import columns_of

    return columns_of(given) if given else ()


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise InputError(f"{option} is missing.", f"Say {option} PATH, or --project ID for a project of Label Studio.")
    return path


def _only_project(*paths: Path | None) -> None:
    if any(path is not None for path in paths):
        raise InputError("--project and files do not go together.", "Say one or the other.")


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

    file, out = _needed(input_csv, "--input-csv"), _needed(output_csv, "--output-csv")
    with Bar("predict") as bar:
        done = predict_file(
            model_dir, file, out, bar, text=_columns(text_columns), batch_size=batch_size, overwrite=overwrite
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
        int,
        typer.Option(min=1, max=9, help="How often a language model is asked that does not tell how sure it is."),
    ] = 1,
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
        _only_project(input_csv, output_csv, model_dir)
        queue_and_follow("prelabel", project, wait=wait, as_json=as_json)
        return
    import model
    from edgewise.verbs.files.prelabel import NOT_ASKED, Order, prelabel_file
    from edgewise.verbs.files.wishes import text_or_file

    file, out = _needed(input_csv, "--input-csv"), _needed(output_csv, "--output-csv")
    order = Order(
        file=file,
        text=_columns(text_columns),
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
    kind = _kind("spans" if spans else None, multi_label) or "choice"
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
