"""Learning curves as SVG: every line by its name, words as words, the same file for the same points."""

from pathlib import Path

from defusedxml.ElementTree import parse

from edgewise.files.plot import Point, curves

LINES: dict[str, list[Point]] = {
    "random": [(20, 0.3, 0.25, 0.35), (60, 0.5, 0.45, 0.55)],
    "boundary": [(20, 0.3, 0.25, 0.35), (60, 0.6, 0.58, 0.62)],
}


def test_a_plot_names_its_lines_and_escapes_what_people_typed(tmp_path: Path) -> None:
    curves(tmp_path / "a.svg", LINES, title="<b>Wikis & gold</b>", measure="F1", full=0.7)
    words = {(element.text or "").strip() for element in parse(tmp_path / "a.svg").iter()}
    assert {"random", "boundary", "all labels", "F1", "<b>Wikis & gold</b>"} <= words


def test_the_same_points_are_the_same_file_and_none_are_a_plot_too(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        curves(tmp_path / name, LINES, title="wikigold", measure="F1")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    curves(tmp_path / "empty.svg", {}, title="wikigold", measure="F1")
    assert "wikigold" in (tmp_path / "empty.svg").read_text(encoding="utf-8")
