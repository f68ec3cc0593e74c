"""The page of benchmarks/freeal.py: tables by round, and what moved beyond its interval, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Json = dict[str, Any]
OURS, UNFILTERED, RANDOM_SHOWN = "ours", "no filtering", "random demonstrations"
AT_RANDOM, IN_DOUBT = "ours, 25 texts by people, at random", "ours, then 25 doubtful texts by people"
MORE = "ours, as many rounds more"  # without people: what of the last is theirs
COMPARED = (
    (OURS, UNFILTERED),
    (OURS, RANDOM_SHOWN),
    (AT_RANDOM, OURS),
    (IN_DOUBT, OURS),
    (IN_DOUBT, MORE),
)
COLUMNS = {
    "labels": "labels",
    "test": "test",
    "clean": "believed",
    "clean_precision": "precision",
    "clean_recall": "recall",
    "errors_doubted": "errors doubted",
    "asked": "asked",
}
SCORES = {"labels": "labels", "test": "the small model's test"}
LEGEND = (
    "labels: their accuracy, of spans strict F1. test: that of a head taught on the believed labels (in round 0 on "
    "all), on texts of the test split. believed: their share. precision: of the believed labels, wholly right; recall: "
    "of the wholly right labels, believed; errors doubted: of the others, not believed. asked: questions in the round. "
    "A run that ended earlier counts with its last round. ± is the 95 % interval over seeds (t)."
)


def page(content: Mapping[str, Any], about: str) -> list[str]:
    """The page in Markdown."""
    cells = content["cells"]
    lines = [one for cell in cells for one in cell["rounds"]]
    seconds = sum(cell["cpu_seconds"] for cell in cells)
    seeds = len({cell["seed"] for cell in cells})
    how = f"Pools of {content['pool']} texts, {seeds} seeds, {seconds:,.0f} CPU seconds in all."
    out = ["# FreeAL, by rounds", "", about, "", f"{LEGEND} {how}", ""]
    for name in dict.fromkeys(cell["data"] for cell in cells):
        mine = [one for one in lines if one["data"] == name]
        out += [f"## {name}", "", *table_of(mine), "", *moved(mine), *compared(mine)]
        out += [*without(cells, name), ""]
    return out


def table_of(lines: Sequence[Json]) -> list[str]:
    """A row for each variant and round."""
    rows = [["variant", "round", *COLUMNS.values()]]
    for variant in dict.fromkeys(one["variant"] for one in lines):
        some = [one for one in lines if one["variant"] == variant]
        for number in sorted({one["round"] for one in some}):
            last = at(some, number)
            values = [[float(one[key]) for one in last if one[key] is not None] for key in COLUMNS]
            rows.append([variant, str(number), *(spread(some) if some else "-" for some in values)])
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *body]


def at(lines: Sequence[Json], number: int) -> list[Json]:
    """Each seed's line of a round; of one that ended before, its last; nothing was asked then."""
    found = []
    for seed in sorted({one["seed"] for one in lines}):
        mine = [one for one in lines if one["seed"] == seed and one["round"] <= number]
        last = max(mine, key=lambda line: int(line["round"]))
        found.append(last if last["round"] == number else last | {"asked": 0})
    return found


def moved(lines: Sequence[Json]) -> list[str]:
    """Of each variant, whether its last round beats its first, paired over seeds."""
    out = []
    for variant in dict.fromkeys(one["variant"] for one in lines):
        some = [one for one in lines if one["variant"] == variant]
        first, last = (edge(one["round"] for one in some) for edge in (min, max))
        said = [difference(at(some, last), at(some, first), key) for key in SCORES]
        out.append(f"- {variant}, round {last} against round {first}: {'; '.join(said)}.")
    return out


def compared(lines: Sequence[Json]) -> list[str]:
    """Variants against each other, each after its last round, paired over seeds."""
    ends = {}
    for variant in dict.fromkeys(one["variant"] for one in lines):
        some = [one for one in lines if one["variant"] == variant]
        ends[variant] = at(some, max(one["round"] for one in some))
    return [
        f"- {one} against {other}, each after its last round: "
        + "; ".join(difference(ends[one], ends[other], key) for key in SCORES)
        + "."
        for one, other in COMPARED
        if one in ends and other in ends
    ]


def difference(now: Sequence[Json], before: Sequence[Json], key: str) -> str:
    """How much a score moved, and whether that is beyond its interval."""
    pairs = {one["seed"]: one[key] for one in before}
    values = [one[key] - pairs[one["seed"]] for one in now if one["seed"] in pairs]
    if len(values) < 2:
        return f"{SCORES[key]} {np.mean(values):+.3f}, no interval from one seed"
    mean, half = float(np.mean(values)), half_width(values)
    verdict = "not beyond its interval" if abs(mean) <= half else "higher" if mean > 0 else "lower"
    return f"{SCORES[key]} {mean:+.3f} ± {half:.3f}, {verdict}"


def without(cells: Sequence[Json], name: str) -> list[str]:
    """What labels of people alone give."""
    found = [cell["alone"] for cell in cells if cell["data"] == name]
    by = {how: spread([one[how] for one in found]) for how in ("at random", "active")}
    return [
        "- The same student with 25 texts labelled by people and no language model: test "
        f"{by['at random']} if they are drawn at random (the same as above), {by['active']} by active learning."
    ]


def spread(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval; counts without one."""
    mean = float(np.mean(values))
    if max(values) > 1:
        return f"{mean:.0f}"
    return f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} ± {half_width(values):.3f}"


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of a mean."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
