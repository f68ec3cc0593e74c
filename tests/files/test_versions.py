"""Dataset versions of files, and what differs between two."""

from pathlib import Path

import pytest

from edgewise.errors import Conflict, InputError, NotFound
from edgewise.files.versions import NAME, Versions
from edgewise.labels.datasets import Content, difference, row_of
from edgewise.labels.spans import on_whole


def labelled(text: str, label: str = "a") -> Content:
    return Content({"text": text}, {"mood": (on_whole(text, label),)})


def rows(*texts: str) -> dict[str, Content]:
    return {str(number): labelled(text) for number, text in enumerate(texts, start=1)}


def test_a_version_is_its_content_whatever_the_order(tmp_path: Path) -> None:
    kept = Versions(tmp_path / "datasets")
    first = kept.keep(rows("x", "y"), config="c", source="train.csv")
    assert kept.keep(rows("y", "x"), config="c").id == first.id
    assert kept.keep(rows("x", "y"), config="d").id != first.id
    assert [version.source for version in kept.all()] == ["", "train.csv"]
    assert first.label_counts == {"mood": {"a": 2}}
    assert first.size == 2


def test_a_content_is_stored_once_whatever_versions_have_it(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    long = {str(n): labelled(f"{n} " + "word " * 200) for n in range(300)}
    kept.keep(long, config="c")
    size = (tmp_path / NAME).stat().st_size
    for n in range(5):
        second = kept.keep(long | {"0": labelled(f"new {n}")}, config="c")
    assert (tmp_path / NAME).stat().st_size < 1.8 * size
    assert len(kept.contents(row.content for row in kept.rows(second.id))) == 300


def test_versions_name_their_parents_and_models(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    first = kept.keep(rows("x"), config="c")
    second = kept.keep(rows("x", "y"), config="c", parents=[first.id])
    kept.note_model(second.id, "model-1")
    kept.note_model(second.id, "model-1")
    assert kept.version("latest").parents == (first.id,)
    assert kept.version(second.id[:6]).models == ("model-1",)
    with pytest.raises(NotFound):
        kept.version("zzz")
    with pytest.raises(NotFound):
        kept.version("")


def test_too_short_an_id_is_told(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    ids = [kept.keep(rows(str(n)), config="c").id for n in range(17)]
    twice = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(Conflict):
        kept.version(twice)


def test_an_erased_text_is_nowhere_in_the_folder(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    secret = labelled("the secret sentence")
    version = kept.keep({"1": secret, "2": labelled("other")}, config="c")
    kept.keep({"1": labelled("the secret sentence", "b")}, config="c")
    assert kept.erase([secret.text_digest]) == 2
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())
    assert len(kept.rows(version.id)) == 2
    assert len(kept.contents(row.content for row in kept.rows(version.id))) == 1


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("this is no database, but long enough to look like a file of one" * 20)
    with pytest.raises(InputError):
        Versions(tmp_path).all()
    assert Versions(tmp_path / "nowhere").all() == []


def test_a_difference_names_rows_that_came_went_and_changed() -> None:
    before = [row_of(key, labelled(text)) for key, text in (("1", "x"), ("2", "y"), ("3", "z"), ("4", "w"))]
    after = [
        row_of("1", labelled("x")),
        row_of("2", labelled("y", "b")),
        row_of("3", labelled("Z")),
        row_of("9", labelled("new")),
    ]
    found = difference(before, after)
    assert (found.added, found.removed, found.relabelled, found.retexted) == (("9",), ("4",), ("2",), ("3",))
    assert found.counts == {"added": 1, "removed": 1, "relabelled": 1, "retexted": 1, "same": 1}


def test_rows_that_moved_are_the_same() -> None:
    before = [row_of(str(n), labelled(text)) for n, text in enumerate("abcab")]
    after = [row_of(str(n), labelled(text)) for n, text in enumerate("xbabca")]
    assert difference(before, after).counts == {"added": 1, "removed": 0, "relabelled": 0, "retexted": 0, "same": 5}
