"""import, export and dataset: rows between files and Label Studio, and what trainings were taught.

The dataset versions of files are in DATA_DIR/datasets/<name>/, where the name is that of the file that was trained on.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgewise.cli.jobs import PROJECT, backend
from edgewise.cli.shell import JSON, Bar, show, table
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.files.versions import Versions
    from edgewise.labels.datasets import Difference
    from edgewise.verbs.files.datasets import Kept

PANEL = "Between files and Label Studio"
DATASETS = "Datasets"
app = typer.Typer()
dataset = typer.Typer(no_args_is_help=True, help="What trainings were taught: versions, what differs, corrections.")
app.add_typer(dataset, name="dataset", rich_help_panel=DATASETS)

OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")]


@app.command(
    "import",
    rich_help_panel=PANEL,
    epilog="Example: edgewise import -p 1 --input-csv mails.csv --text-columns subject,body --label-column team=topic",
)
def import_(
    project: PROJECT,
    input_csv: Annotated[
        Path,
        typer.Option(
            "--input-csv",
            "-i",
            help="A CSV, JSON Lines, Parquet, dataset folder, CoNLL, or an export.",
            show_default=False,
        ),
    ],
    text_columns: Annotated[
        str | None,
        typer.Option(help="The columns that make the text, where the file has none of the field's name."),
    ] = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column with labels: COLUMN=TAG, or COLUMN if the project learns one tag. May be repeated."
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Import: the rows of a file as tasks of a project, their labels as annotations.

    The whole file is checked before anything is sent, and an import that fails half way is taken back.
    """
    from edgewise.files.exchange import Columns
    from edgewise.files.texts import columns_of
    from edgewise.verbs.files.exchange import import_file

    system = backend().system
    known = system.project(project)
    columns = Columns(columns_of(text_columns or ""), _tags(label_column or [], known.label_config))
    with Bar("import") as bar:
        done = import_file(system, known, input_csv, columns=columns, report=bar)
    strangers = f" {done.strangers:,} of them by people unknown there, now yours." if done.strangers else ""
    show(
        asdict(done),
        f"Project {project}: {done.tasks:,} tasks, {done.annotations:,} annotations, {done.predictions:,} predictions."
        + strangers,
        as_json=as_json,
    )


def _tags(given: list[str], label_config: str) -> dict[str, str]:
    """Tag -> column of `COLUMN=TAG`; of a column alone, the only tag."""
    from edgewise.labels.schema import parse_schema

    heads = [head.from_name for head in parse_schema(label_config).heads]
    tags: dict[str, str] = {}
    for one in given:
        column, _, tag = one.rpartition("=") if "=" in one else (one, "", heads[0])
        if tag not in heads or ("=" not in one and len(heads) > 1):
            raise InputError(
                f"The project learns these tags: {', '.join(heads)}.", "Say --label-column COLUMN=TAG with one of them."
            )
        tags[tag] = column
    return tags


FORM_HELP = (
    "dataset: a folder as Hugging Face's load_from_disk reads it. preferences: JSON Lines with prompt, chosen and "
    "rejected: what people corrected in pre-labels, to train a language model on."
)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise export -p 1 --output project.json --format label-studio")
def export(
    project: PROJECT,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file or folder to write.", show_default=False)],
    form: Annotated[
        Literal["label-studio", "conll", "dataset", "csv", "preferences"],
        typer.Option("--format", "-f", help=FORM_HELP),
    ] = "label-studio",
    overwrite: OVERWRITE = False,
    as_json: JSON = False,
) -> None:
    """Export: all tasks of a project with their annotations, as Label Studio has them now.

    Exported, imported and exported again, Label Studio's JSON is the same bytes. Preferences are as of the last sync,
    and of no audit task.
    """
    from edgewise.verbs.files.exchange import export_project
    from edgewise.verbs.files.preferences import export_preferences

    system = backend().system
    known = system.project(project)
    done: Any
    with Bar("export") as bar:
        if form == "preferences":
            done = export_preferences(system, known, output, overwrite=overwrite, report=bar)
            said = f"{done.pairs:,} corrections of {done.tasks:,} tasks."
        else:
            done = export_project(system, known, output, form, overwrite=overwrite, report=bar)
            lost = f" {done.left_out:,} labelled regions left out: {form} cannot carry them." if done.left_out else ""
            said = f"{done.tasks:,} tasks, {done.annotations:,} annotations.{lost}"
    show({"output": str(output), "format": form, **asdict(done)}, f"{output}: {said}", as_json=as_json)


NAME = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Its name: that of the file that was trained on, without the suffix."),
]
OF_PROJECT = Annotated[int | None, typer.Option("--project", "-p", help="Instead: what a project's trainings used.")]


def datasets_folder() -> Path:
    """Where the dataset versions of files are."""
    from edgewise.settings import read_settings

    return read_settings().data_dir / "datasets"


def _kept(name: str | None, project: int | None) -> "Kept":
    """The versions of a project or of files."""
    from edgewise.verbs.files.datasets import ProjectVersions

    if (name is None) == (project is None):
        raise InputError("It is not clear whose versions are meant.", "Say --dataset NAME or --project ID.")
    if name is not None:
        return _versions(name)
    system = backend().system
    return ProjectVersions(system, system.project(project))


def _versions(name: str) -> "Versions":
    from edgewise.files.versions import Versions

    folder = datasets_folder() / name
    if Path(name).name != name or not folder.is_dir():
        known = sorted(one.name for one in folder.parent.iterdir()) if folder.parent.is_dir() else []
        raise InputError(
            f"There is no dataset '{name}'.", f"Known are: {', '.join(known) or 'none; train on a file first'}."
        )
    return Versions(folder)


@dataset.command("list", epilog="Example: edgewise dataset list --dataset mails")
def list_(name: NAME = None, project: OF_PROJECT = None, as_json: JSON = False) -> None:
    """The versions, newest first: rows, labels, what they were made from, which models were trained on them."""
    versions = _kept(name, project).all()
    rows = [["version", "rows", "labels", "parents", "from", "models"]]
    for one in versions:
        labels = len({label for counts in one.label_counts.values() for label in counts})
        made = [", ".join(one.parents) or "-", one.source or "-", ", ".join(one.models) or "-"]
        rows.append([one.id, f"{one.size:,}", str(labels), *made])
    show([asdict(one) for one in versions], table(rows), as_json=as_json)


@dataset.command("diff", epilog="Example: edgewise dataset diff 0a1b2c latest --dataset mails")
def diff_(
    before: Annotated[str, typer.Argument(help="A version: how its id begins, or latest.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    name: NAME = None,
    project: OF_PROJECT = None,
    as_json: JSON = False,
) -> None:
    """What differs between two versions: rows that were added, removed, relabelled, or have another text."""
    from edgewise.verbs.files.datasets import diff

    found = diff(_kept(name, project), before, after)
    show(asdict(found), _difference(found), as_json=as_json)


def _difference(found: "Difference") -> list[str]:
    named = {"added": found.added, "removed": found.removed, "relabelled": found.relabelled, "retexted": found.retexted}
    lines = []
    for what, keys in named.items():
        shown = ", ".join(keys[:10]) + (", …" if len(keys) > 10 else "")
        lines.append(f"{what:<10}  {len(keys):>6,}{f'   rows {shown}' if keys else ''}")
    return [*lines, f"{'same':<10}  {found.same:>6,}"]


@dataset.command("merge", epilog="Example: edgewise dataset merge --dataset mails --input-csv corrected.csv")
def merge_(
    name: Annotated[
        str, typer.Option("--dataset", "-d", help="Its name; a new one begins a dataset.", show_default=False)
    ],
    input_csv: Annotated[Path, typer.Option("--input-csv", "-i", help="The corrected rows.", show_default=False)],
    text_columns: Annotated[str, typer.Option(help="The text: one column, or several with commas between.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column with the label.")] = "label",
    spans_column: Annotated[str | None, typer.Option(help="A column with spans instead.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="A cell may hold several labels.")] = False,
    id_column: Annotated[
        str | None, typer.Option(help="The column that says which row it is. Else: that with the same text.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="The set. Else: that of the version.")] = None,
    base: Annotated[str, typer.Option(help="The version that is corrected.")] = "latest",
    output_csv: Annotated[Path | None, typer.Option(help="Write the merged rows as well, to train on.")] = None,
    overwrite: OVERWRITE = False,
    as_json: JSON = False,
) -> None:
    """Take a person's corrections as a new dataset version.

    Rows that the file does not have stay; a row with another label is relabelled; one whose label is empty is taken
    out; a new one is added.
    """
    from edgewise.files.texts import columns_of
    from edgewise.verbs.files.datasets import Corrections, merge
    from edgewise.verbs.files.labelled import Columns
    from edgewise.verbs.files.material import plain_name
    from edgewise.verbs.files.merged import write_version
    from edgewise.verbs.files.wishes import labels_given

    kind: Literal["spans", "choice", "choices"] = "spans" if spans_column else "choices" if multi_label else "choice"
    columns = Columns(columns_of(text_columns), spans_column or label_column, kind)
    chosen = labels_given(labels)[0] if labels else ()
    folder = datasets_folder() / plain_name(name)
    done = merge(folder, Corrections(input_csv, columns, id_column, chosen), base=base)
    if output_csv is not None:
        write_version(folder, done.version, kind, output_csv, overwrite=overwrite)
    parents = f", made from {', '.join(done.version.parents)}" if done.version.parents else ""
    written = [f"Its rows are in {output_csv}."] if output_csv else []
    lines = [f"Version {done.version.id}: {done.version.size:,} rows{parents}.", *_difference(done.changed), *written]
    show({**asdict(done), "output": output_csv and str(output_csv)}, lines, as_json=as_json)
