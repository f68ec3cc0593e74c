"""Learning curves as a picture, in SVG. Knows nothing of where the points come from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Point = tuple[int, float, float, float]  # labelled documents, mean, lowest, highest
COLOURS = ("#6b7280", "#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d")
MARKS = "osD^vPX*"


def curves(
    path: Path, lines: Mapping[str, Sequence[Point]], *, title: str, measure: str, full: float | None = None
) -> None:
    """One line for each name with a band from lowest to highest. full: a level to draw across, what all labels give."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(lines.items()):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        sizes, means, low, high = zip(*points, strict=True)
        axes.plot(sizes, means, color=colour, marker=mark, markersize=4, linewidth=1.6, label=name)
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
    if full is not None:
        axes.axhline(full, color="#111827", linestyle="--", linewidth=1, label="all labels")
    axes.set(title=title, xlabel="labelled documents", ylabel=measure)
    axes.grid(alpha=0.25)
    if lines:
        axes.legend(frameon=False)
    # Words stay words, and the same picture is the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgewise"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
