"""What active learning saves: simulate on labels that are there already, saving on a project's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewise.cli.files import PANEL
from edgewise.cli.jobs import PROJECT, WAIT, queue_and_follow
from edgewise.cli.options import LABEL, LABELS, MULTI, SPANS, TEXT, columns_of, kind_of, recipe_of
from edgewise.cli.project import PANEL as ON_PROJECT
from edgewise.cli.shell import JSON, Bar, show, table
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.learning.simulation import Course

app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog="Example: edgewise simulate --input-csv labelled.csv --output simulated --strategies random,margin --to 200",
)
def simulate(
    input_csv: Annotated[
        Path, typer.Option("--input-csv", "-i", help="Labelled rows, in any form that `train` reads.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make, or to go on with.")],
    test: Annotated[
        Path | None,
        typer.Option(help="Labelled rows of the same form to test with.", show_default="a fifth of the texts"),
    ] = None,
    text_columns: TEXT = None,
    label_column: LABEL = None,
    spans_column: SPANS = None,
    multi_label: MULTI = False,
    labels: LABELS = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Commas between: random, or functions of uncertainty.py.", show_default="random and our default"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Each begins with other random rows.")] = 3,
    first: Annotated[int, typer.Option(min=2, help="Random rows that a seed begins with.")] = 20,
    to: Annotated[int, typer.Option(min=3, help="Labelled rows after the last round.")] = 400,
    rounds: Annotated[int, typer.Option(min=2, max=1000, help="Trainings of each cell, in even steps.")] = 8,
    full: Annotated[bool, typer.Option("--full/--no-full", help="Also train on all rows, for each seed.")] = True,
    model_name: Annotated[
        str | None,
        typer.Option(help="The encoder, as of `train`.", show_default="BASELINE_MODEL_NAME, else packaged:minilm"),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How to train, as of `train`.", show_default="FINE_TUNING_STRATEGY, else auto")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Simulate: replay the loop on labelled rows, strategies and seeds side by side; a table, a plot and JSON.

    Nobody is asked anything: labels come from the file. A run that was cut off goes on where it was when it is
    repeated; each round takes a training, and tells how long.
    """
    import uncertainty
    from edgewise.learning.simulation import sizes_of
    from edgewise.verbs.files import simulate as verb
    from edgewise.verbs.files.material import Source
    from edgewise.verbs.files.wishes import labels_given

    if to <= first:
        raise InputError(f"--to {to} is not more than --first {first}.", "Let there be more rows in the end.")
    base, recipe = recipe_of(model_name, strategy, None, None)
    files = verb.Files(
        pool=input_csv,
        source=Source(
            columns_of(text_columns) or ("text",), spans_column or label_column, kind_of(spans_column, multi_label)
        ),
        base=base,
        recipe=recipe,
        sizes=sizes_of(first, to, rounds),
        test=test,
        labels=labels_given(labels)[0] if labels else (),
    )
    course = verb.read_course(files)
    known = uncertainty.SCORES if course.head.kind == "spans" else uncertainty.CHOICE_SCORES
    names = tuple(dict.fromkeys(strategies.split(","))) if strategies else ("random", default_of(course))
    wanted = verb.Wanted(input_csv.stem, names, tuple(range(seeds)), full)
    with Bar("simulate") as bar:
        content = verb.simulate(course, wanted, known, output, bar)
    show(_short(content), _told(content, verb.rows_of(content), output), as_json=as_json)


@app.command(rich_help_panel=ON_PROJECT, epilog="Example: edgewise saving -p 1")
def saving(
    project: PROJECT,
    subsets: Annotated[
        int | None, typer.Option(min=1, max=10, help="Parts of the labels of each size.", show_default="2")
    ] = None,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Estimate how many labels random order would have needed for the score of the serving version.

    Models are trained on parts of the labels that look as if drawn at random, and scored on the held-out tasks; it
    takes as long as that many trainings, and nothing waits for it.
    """

    def measured(asked: Any, job: dict[str, Any]) -> tuple[Any, list[str]]:
        made = asked.report(project, job["id"])["report"]
        return made, [made["sentence"]]

    queue_and_follow("saving", project, wait=wait, as_json=as_json, result=measured, subsets=subsets)


def default_of(course: "Course") -> str:
    """The strategy that the loop takes for this head."""
    import uncertainty

    return uncertainty.DEFAULT if course.head.kind == "spans" else uncertainty.CHOICE_DEFAULT


def _short(content: dict[str, Any]) -> dict[str, Any]:
    """What simulation.json holds, without the counts of each test document."""

    def without(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"test": {"score": record["test"]["score"]}}

    return content | {name: [without(one) for one in content[name]] for name in ("everything", "cells")}


def _told(content: dict[str, Any], rows: list[list[str]], out: Path) -> list[str]:
    seeds = len({record["seed"] for record in content["cells"]})
    return [
        f"{content['measure']} on {content['test']:,} test rows by labelled rows of {content['pool']:,}: "
        f"mean of {seeds} seeds (lowest to highest).",
        "",
        *(f"  {line}" for line in table(rows)),
        "",
        f"{out}: simulation.svg is the plot, simulation.json has every round.",
    ]
