"""freeal: a language model and a small model teach each other on a file."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewise.cli.exchange import datasets_folder
from edgewise.cli.files import PANEL
from edgewise.cli.options import (
    ABOUT,
    IN,
    MULTI,
    OUT,
    OVERWRITE,
    TEXT,
    WHICH,
    columns_of,
    kind_of,
    needed,
    recipe_of,
)
from edgewise.cli.shell import JSON, Bar, show, table

if TYPE_CHECKING:
    from edgewise.verbs.files.freeal import Played

app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise freeal --input-csv reviews.csv --labels positive,negative --output-model reviews.model "
    "--output-csv annotated.csv",
)
def freeal(
    input_csv: IN = None,
    output_csv: OUT = None,
    output_model: Annotated[
        Path | None, typer.Option("--output-model", "--output", help="The model folder to make.")
    ] = None,
    text_columns: TEXT = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="A column with the right labels (of an export of Label Studio, a tag), which no model is shown: each "
            "round's accuracy is told."
        ),
    ] = None,
    spans_column: Annotated[
        str | None,
        typer.Option(help="The same with spans, as `train` takes them; each round's strict F1 is told."),
    ] = None,
    spans: Annotated[
        bool, typer.Option("--spans", help="Mark stretches of the text, instead of one label a row.")
    ] = False,
    multi_label: MULTI = False,
    labels: Annotated[str | None, typer.Option(help=WHICH)] = None,
    description: ABOUT = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="Rows that people labelled, of the same form: always believed, and shown with like rows."),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            help="The small model's encoder: a hub name, a folder or packaged:minilm.",
            show_default="BASELINE_MODEL_NAME, else packaged:minilm",
        ),
    ] = None,
    llm_model: Annotated[
        str | None, typer.Option(help="The language model's name at its endpoint.", show_default="LLM_MODEL")
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, max=20, help="Rounds at most, after the first asking.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Draws other folds.", show_default="SEED")] = None,
    overwrite: OVERWRITE = False,
    as_json: JSON = False,
) -> None:
    """Label texts with a language model and a small model that teach each other (FreeAL, Xiao et al. 2023).

    The language model labels every row; a small model learns from that and finds out which labels to believe; believed
    ones are shown to the language model when it is asked again about the doubtful ones. Adds the columns `label` (or
    `spans`), `confidence` and `review`, which names what a person should look at, and makes a model folder for
    `predict`. Paid answers are kept: a run that was ended pays nothing twice. The key is taken from LLM_API_KEY.
    """
    import model
    from edgewise.errors import InputError
    from edgewise.verbs.files.freeal import Wish, freeal_file
    from edgewise.verbs.files.labelled import head_for
    from edgewise.verbs.files.wishes import labels_given, text_or_file

    file, out_csv = needed(input_csv, "--input-csv"), needed(output_csv, "--output-csv")
    out_model = needed(output_model, "--output-model")
    names, described = labels_given(labels) if labels else ((), ())
    if spans_column is not None and label_column is not None:
        raise InputError("--label-column and --spans-column do not go together.", "Say the one that holds the labels.")
    kind = kind_of(spans_column or ("" if spans else None), multi_label) or "choice"
    head = head_for(kind, names, name="label", described=described)
    base, recipe = recipe_of(model_name, None, None, seed)
    wish = Wish(
        file=file,
        text=columns_of(text_columns) or ("text",),
        head=head,
        base=base,
        recipe=recipe,
        gold=spans_column or label_column,
        told=text_or_file(description) if description else "",
        examples=examples,
        iterations=iterations,
        datasets=datasets_folder(),
    )
    system = model.open_system()
    settings = system.settings.model_copy(update={"llm_model": llm_model} if llm_model else {})
    with Bar("freeal") as bar:
        played = freeal_file(wish, out_csv, out_model, settings, system.prelabel, bar, overwrite=overwrite)
    show({"output": str(out_csv), "model": str(out_model), **asdict(played)}, _told(played), as_json=as_json)


def _told(played: "Played") -> list[str]:
    from edgewise.verbs.spending import in_words

    head = ["round", "asked", "failed", "changed", "believed", "agreement"]
    measured = any(one["accuracy"] is not None for one in played.rounds)
    rows = [[*head, *([played.measure, "of believed"] if measured else [])]]
    for one in played.rounds:
        counts = [str(one[name]) for name in head[:4]]
        shares = [one["believed"], one["agreement"], *([one["accuracy"], one["right"]] if measured else [])]
        rows.append([*counts, *("-" if share is None else f"{share:.3f}" for share in shares)])
    return [
        *table(rows),
        "",
        f"{played.ended} {played.rows:,} rows, {played.doubtful:,} to look at; "
        f"new columns: {', '.join(played.columns)}.",
        f"The language model took {in_words(played.spent)}.",
    ]
