"""Exports and imports of every form, there and back."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import DataError
from edgewise.files.exchange import Form, importable, write
from edgewise.files.records import plain_task, record_of
from edgewise.labels.schema import Schema, parse_schema
from tests.files.material import SCHEMAS, tasks

NAMES = {"label-studio": "out.json", "conll": "out.conll", "dataset": "out", "csv": "out.csv"}
PROJECTS = st.sampled_from(SCHEMAS).flatmap(
    lambda schema: st.tuples(st.just(schema), st.lists(tasks(schema), max_size=3))
)


def there_and_back(found: Sequence[dict[str, Any]], schema: Schema, form: Form, folder: Path) -> list[dict[str, Any]]:
    """Export, import, export and import once more; the last import."""
    back = list(found)
    for step in ("first", "second"):
        path = folder / step / NAMES[form]
        path.parent.mkdir()
        write(partial(list, back), schema, path, form)
        back = [task for _, task in importable(path, schema)]
    return back


def renumbered(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with ids that differ, as in one project."""
    return [{**task, "id": number} for number, task in enumerate(found, start=1)]


@settings(deadline=None)  # every output is flushed to the disk
@given(PROJECTS)
def test_label_studio_json_comes_back_byte_for_byte(project: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, found = project
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(lambda: found, schema, folder / "a.json", "label-studio")
        back = [task for _, task in importable(folder / "a.json", schema)]
        write(lambda: back, schema, folder / "b.json", "label-studio")
        assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()
        assert back == [plain_task(task) for task in found]


@pytest.mark.parametrize("form", [form for form in get_args(Form) if form != "label-studio"])
@settings(deadline=None)  # every output is flushed to the disk
@given(project=PROJECTS)
def test_every_other_form_loses_nothing(form: Form, project: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, found = project[0], renumbered(project[1])
    with TemporaryDirectory() as name:
        back = there_and_back(found, schema, form, Path(name))
    told = [record_of(task, schema, number)[0] for number, task in enumerate(found, start=1)]
    read = [record_of(task, schema, number)[0] for number, task in enumerate(back, start=1)]
    assert read == told


def test_a_row_with_a_text_where_the_project_wants_its_address_is_refused(tmp_path: Path) -> None:
    """Label Studio would show nothing of it."""
    remote = parse_schema(
        '<View><Labels name="label" toName="text"><Label value="PER"/></Labels>'
        '<Text name="text" value="$url" valueType="url"/></View>'
    )
    file = tmp_path / "rows.csv"
    file.write_text("url\n/data/upload/1/a.txt\ns3://files/b.txt\n")
    assert [task["data"] for _, task in importable(file, remote)] == [
        {"url": "/data/upload/1/a.txt"},
        {"url": "s3://files/b.txt"},
    ]
    file.write_text("url\nAnna lives in Paris.\n")
    with pytest.raises(DataError, match=r"a text in 'url'"):
        list(importable(file, remote))
