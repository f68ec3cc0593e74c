"""What the replays and the proxy of labels_saved.py say, as numbers and as a page. Plays and reads nothing."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import t as student

from edgewise.learning.simulation import RANDOM, Record

GOALS = (0.90, 0.95, 0.99)  # of the score that all labels of the pool give
MATCHED = 300  # labels in random order
FROM = 100  # labels from which no order should be below random
OURS = "spans"

Json = dict[str, Any]
Curve = list[tuple[float, float]]


def loops(
    cells: Sequence[tuple[str, str, int, Sequence[Json]]],
    full: Mapping[str, Mapping[int, float]],
    sizes: Sequence[int],
) -> Json:
    """All cells, their rounds as of `short`, those that nobody has played too, and what follows from them."""
    told = [
        {"set": name, "strategy": strategy, "seed": seed, "rounds": list(rounds)}
        for name, strategy, seed, rounds in cells
    ]
    everything = {name: {str(seed): score for seed, score in by_seed.items()} for name, by_seed in full.items()}
    summary = [summed(name, strategy, told, full[name]) for name, strategy in pairs(told)]
    return {"sizes": list(sizes), "full": everything, "cells": told, "summary": summary}


def short(record: Record) -> Json:
    """A round without its documents."""
    return {"labelled": record["labelled"], "tokens": record["tokens"], "score": round(record["test"]["score"], 4)}


def pairs(cells: Sequence[Json]) -> list[tuple[str, str]]:
    """Each set with each strategy, once."""
    return list(dict.fromkeys((one["set"], one["strategy"]) for one in cells))


def summed(name: str, strategy: str, cells: Sequence[Json], full: Mapping[int, float]) -> Json:
    """A strategy on a set: means over the seeds that are played to where random order of that seed is."""
    by = {(one["strategy"], one["seed"]): one["rounds"] for one in cells if one["set"] == name}
    seeds = [seed for (which, seed), rounds in by.items() if which == strategy and len(rounds) > 1]
    each = [of_seed(by[strategy, seed], by.get((RANDOM, seed), []), full.get(seed)) for seed in seeds]
    names = each[0].keys() if each else ()
    return {"set": name, "strategy": strategy, "seeds": seeds} | {
        key: [one[key] for one in each] for key in names if any(one[key] is not None for one in each)
    }


def of_seed(rounds: Sequence[Json], random: Sequence[Json], full: float | None) -> Json:
    """What one cell says, None where it cannot tell yet.

    area: mean F1 between its first and last round, by labelled texts; gain, gain_tokens: how much more than random
    order's, by texts and by their words, as far as both go. matched: labels that reach what random order has at
    MATCHED; above: the least lead over random order from FROM labels on. labels: that reach GOALS of `full`, 0 where no
    round does.
    """
    n = min(len(rounds), len(random))
    ours, theirs = curve(rounds[:n], "labelled"), curve(random[:n], "labelled")
    words = [curve(one[:n], "tokens") for one in (rounds, random)]
    end = min((one[-1][0] for one in words if one), default=0.0)
    target = dict(curve(random, "labelled")).get(MATCHED)
    leads = [a[1] - b[1] for a, b in zip(ours, theirs, strict=True) if a[0] >= FROM]
    return {
        "rounds": len(rounds),
        "area": area(curve(rounds, "labelled")),
        "gain": None if n < 2 else area(ours) - area(theirs),
        "gain_tokens": None if n < 2 else area(words[0], end) - area(words[1], end),
        "matched": None if target is None else reached(curve(rounds, "labelled"), target),
        "above": min(leads, default=None),
        "labels": None if full is None else [reached(curve(rounds, "labelled"), goal * full) or 0 for goal in GOALS],
    }


def curve(rounds: Iterable[Json], by: str) -> Curve:
    """F1 by labelled texts, or by their words."""
    return [(float(one[by]), float(one["score"])) for one in rounds]


def area(points: Curve, end: float | None = None) -> float:
    """The mean height of a curve, up to `end`."""
    x, y = (np.array(column) for column in zip(*points, strict=True))
    if end is not None:
        inside = x < end
        y = np.append(y[inside], np.interp(end, x, y))
        x = np.append(x[inside], end)
    return float(np.trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])


def reached(points: Curve, height: float) -> float | None:
    """Where a curve first comes so high, between two rounds by a straight line; None if it does not."""
    if points and points[0][1] >= height:
        return points[0][0]
    for (x, y), (after, higher) in pairwise(points):
        if higher >= height:
            return round(x + (after - x) * (height - y) / (higher - y), 1)
    return None


def told(values: Sequence[float | None], digits: int = 3) -> str:
    """A mean with its 95 % interval of Student's t, or the one value; seeds that do not say are counted."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{np.mean(known):.{digits}f}"
    if len(known) > 1:
        text += f" ± {student.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / len(known) ** 0.5:.{digits}f}"
    return text + (f" ({len(known)} of {len(values)} seeds)" if len(known) < len(values) else "")


def table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """As Markdown, the first row as its head."""
    lines = [f"| {' | '.join(str(one) for one in row)} |" for row in rows]
    return [lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]]


def curves(content: Json, name: str) -> list[str]:
    """F1 of each strategy by labelled texts: means over seeds, and how many there are."""
    cells = [one for one in content["cells"] if one["set"] == name]
    strategies = list(dict.fromkeys(one["strategy"] for one in cells))
    rows: list[list[str]] = [["labelled", *strategies]]
    for place, size in enumerate(content["sizes"]):
        row = [str(size)]
        for strategy in strategies:
            scores = [
                one["rounds"][place]["score"]
                for one in cells
                if one["strategy"] == strategy and len(one["rounds"]) > place
            ]
            row.append(f"{np.mean(scores):.3f} ({len(scores)})" if scores else "missing")
        rows.append(row)
    return table(rows)


def summary(content: Json) -> list[str]:
    """A line for each set and strategy."""
    goals = [f"labels for {goal:.0%}" for goal in GOALS]
    head = ["set", "order", "seeds", "rounds", "mean F1", "above random, by labels", "by words"]
    rows: list[list[str]] = [[*head, f"labels for random's {MATCHED}", f"least lead from {FROM} on, in points", *goals]]
    for one in content["summary"]:
        if not one["seeds"]:
            rows.append([one["set"], one["strategy"], "0", *["missing"] * 6, *["-"] * len(GOALS)])
            continue
        least = [value for value in one.get("above", []) if value is not None]
        reached_by = [[labels[i] or None for labels in one.get("labels", []) if labels] for i in range(len(GOALS))]
        rows.append(
            [
                one["set"],
                one["strategy"],
                ", ".join(map(str, one["seeds"])),
                "–".join(map(str, sorted({min(one["rounds"]), max(one["rounds"])}))),
                told(one["area"]),
                told(one.get("gain", [])),
                told(one.get("gain_tokens", [])),
                ", ".join("-" if value is None else f"{value:.0f}" for value in one.get("matched", [])) or "-",
                f"{100 * min(least):+.1f}" if least else "-",
                *[told(values, 0) for values in reached_by],
            ]
        )
    return table(rows)


def beside_ours(content: Json) -> list[str]:
    """Each order's mean F1 less that of our default, set by set and seed by seed, as far as both go; in points."""
    names = list(dict.fromkeys(one["set"] for one in content["cells"]))
    orders = [one for one in dict.fromkeys(one["strategy"] for one in content["cells"]) if one != OURS]
    rows: list[list[str]] = [["order", "cells", "all", *names]]
    for order in orders:
        apart = {name: differences(content["cells"], name, order) for name in names}
        every = [value for found in apart.values() for value in found]
        rows.append([order, str(len(every)), told(every, 1), *[told(apart[name], 1) for name in names]])
    return table(rows)


def differences(cells: Sequence[Json], name: str, order: str) -> list[float]:
    """Of each seed on a set that both have played for more than the first round, which is the same for both."""
    by = {(one["strategy"], one["seed"]): one["rounds"] for one in cells if one["set"] == name}
    found = []
    for (strategy, seed), rounds in by.items():
        n = min(len(rounds), len(by.get((OURS, seed), [])))
        if strategy == order and n > 1:
            theirs, ours = (area(curve(some[:n], "labelled")) for some in (rounds, by[OURS, seed]))
            found.append(100 * (theirs - ours))
    return found


def missing(content: Json) -> str:
    """How many cells there should be, and are."""
    rounds = len(content["sizes"])
    cells = content["cells"]
    whole = sum(len(one["rounds"]) == rounds for one in cells)
    begun = sum(0 < len(one["rounds"]) < rounds for one in cells)
    none = len(cells) - whole - begun
    return f"Of {len(cells)} cells {whole} are played to the end and {begun} in part; {none} are missing."


def older(content: Json) -> str:
    """Which cells were played under another rule of what texts are near-duplicates."""
    cells: dict[str, list[str]] = {}
    for name, order, seed in content.get("before_centring", []):
        cells.setdefault(f"{name} {order}", []).append(str(seed))
    named = "; ".join(f"{one} (seed {', '.join(seeds)})" for one, seeds in cells.items())
    return f" Near-duplicates were those of the plain cosine, nothing taken away, in: {named}." if named else ""


def page(content: Json) -> str:
    """All of it, in Markdown."""
    lines = ["# How many labels does an order save?", "", "`python -m benchmarks.labels_saved`, see there.", ""]
    if "proxy" in content:
        lines += proxy(content["proxy"])
    told = content["loops"]
    lines += [
        "## Replays of the loop",
        "",
        f"{missing(told)} Pool of 1,500 texts (wikigold 1,096), 800 test texts (wikigold 600), strict F1, the loop's "
        "own recipe and encoder, trained anew from the encoder in each round; people who make no mistakes. The first "
        "round is random and the same for all orders of a seed. Mean F1: the area under the curve by its width, "
        "of a cell that is played in part up to its last round; above random order: as far as both go. "
        "±: 95 %, Student's t over seeds; without it there is one seed. A goal that no round reaches is left out."
        f"{older(told)}",
        "",
        *summary(told),
        "",
        f"### Beside `{OURS}`",
        "",
        f"Mean F1 less that of `{OURS}` on the same set and seed, as far as both go, in points; ±: 95 %, Student's t "
        "over cells.",
        "",
        *beside_ours(told),
    ]
    for name in dict.fromkeys(one["set"] for one in told["cells"]):
        full = list(told["full"].get(name, {}).values())
        ending = f"all labels of the pool: {told_end(full)}"
        lines += ["", f"### {name}", "", f"F1, mean (seeds so far); {ending}.", "", *curves(told, name)]
    return "\n".join(lines) + "\n"


def told_end(full: Sequence[float]) -> str:
    """The score at the end of all curves."""
    return f"{np.mean(full):.3f} ({len(full)} seeds)" if full else "missing"


def proxy(content: Json) -> list[str]:
    """The orders, best first."""
    sets = content["sets"]
    rows: list[list[str]] = [
        ["order", "tasks: hardest tenth", "of the oracle", "words of that tenth", "words: hardest fifth", *sets]
    ]
    for one in content["orders"]:
        each = [f"{one['by_set'][name]['tenth']:.3f}" if name in one["by_set"] else "-" for name in sets]
        rows.append(
            [
                one["order"],
                f"{one['tenth']:.3f}",
                f"{one['of_oracle']:.0%}",
                f"{one['words']:.3f}",
                f"{one['fifth']:.3f}",
                *each,
            ]
        )
    return ["## The proxy: which texts is the model wrong about?", "", content["about"], "", *table(rows), ""]
