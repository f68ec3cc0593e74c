"""The rows of a dataset version as a CSV, to look at and to train on.

Columns: id, text and the head's name with the label, the labels or the spans, as `train` reads them.
"""

from pathlib import Path

from edgewise.files.csv_tables import writer
from edgewise.files.versions import Versions
from edgewise.files.whole import whole
from edgewise.labels.datasets import DatasetVersion
from edgewise.labels.schema import Kind
from edgewise.verbs.files.labelled import cell_of


def write_version(folder: Path, version: DatasetVersion, kind: Kind, out: Path, *, overwrite: bool = False) -> None:
    """Write the rows of a version of the dataset in `folder`; those that were erased are left out.

    Raises Conflict if `out` is there.
    """
    kept = Versions(folder)
    rows = kept.rows(version.id)
    contents = kept.contents(row.content for row in rows)
    name = next(iter(version.label_counts), "label")
    with whole(out, overwrite=overwrite) as staged, staged.open("w", encoding="utf-8", newline="") as to:
        lines = writer(to, ["id", "text", name])
        for row in rows:
            if row.content in contents:
                one = contents[row.content]
                cell = cell_of(one.labels.get(name, ()), kind)
                lines.write({"id": row.key, "text": one.texts["text"], name: cell})
