"""What the commands on files have in common: their options, and what these say together."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgewise.errors import InputError

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
OF_PROJECTS = {"project", "wait", "as_json"}
BATCH = Annotated[int, typer.Option(min=1, max=4096, help="Texts that go through the model at once.")]


def recipe_of(model_name: str | None, strategy: str | None, minutes: float | None, seed: int | None) -> tuple[str, Any]:
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


def kind_of(spans_column: str | None, multi_label: bool) -> Literal["spans", "choices"] | None:
    """What the cells of the label column hold; None for one choice. Raises InputError."""
    if spans_column is not None and multi_label:
        raise InputError("--multi-label is for a label column.", "Leave it out: spans have any labels anyway.")
    return "spans" if spans_column is not None else "choices" if multi_label else None


def columns_of(given: str | None) -> tuple[str, ...]:
    """The columns that `--text-columns` names."""
    from edgewise.files import texts

    return texts.columns_of(given) if given else ()


def needed(path: Path | None, option: str) -> Path:
    """A path that a command on files cannot do without. Raises InputError."""
    if path is None:
        raise InputError(f"{option} is missing.", f"Say {option} PATH, or --project ID for a project of Label Studio.")
    return path


def only_project(context: typer.Context) -> None:
    """Raises InputError if --project comes with an option that says something about files, or about how to do it."""
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in context.params.keys() - OF_PROJECTS}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    others = ", ".join(sorted(options[name] for name in given))
    if others:
        raise InputError(
            f"--project and {others} do not go together.",
            "Leave one or the other out: how a project is worked on, its labelling config and the settings say.",
        )
