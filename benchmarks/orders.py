"""Orders of a pool, and how many of the model's errors each puts first: the proxy of labels_saved.py.

A model that was taught 200 random labels has answered the rest (hardest.py); its wrong and missed spans are known. An
order is good if few texts at its head, or few words, hold many of them. Candidates are functions of what the loop
knows when it orders; those that cheat, as they look at the right answers of the pool, say so in their name.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import uncertainty
from benchmarks import hardest
from benchmarks.hardest import SETS, Cell, Seen
from edgewise.labels.windows import words
from uncertainty import SCORES

HEAD, FIFTH = 0.1, 0.2  # of the texts, of the words
HEADS = 8  # draws of last-layer dropout
DROPPED = 0.3
NEAR = 10  # labelled words that are asked about a word
MODELS = 3
CHOSEN_ON = ("snips_slots", "wnut17")

Floats = npt.NDArray[np.float64]
Orders = dict[str, Floats]
Json = dict[str, Any]


class Pool:
    """What there is to order: probabilities (N, n_tags), offsets (n + 1,), sizes (n,) of a cell's pool."""

    def __init__(self, cell: Cell, seen: Seen) -> None:
        self.cell, self.seen = cell, seen
        self.first = int(seen.offsets[cell.labelled])
        self.probabilities = seen.probabilities[self.first :].astype(np.float64)
        self.offsets = seen.offsets[cell.labelled :] - self.first
        self.sizes = np.maximum(np.diff(self.offsets), 1)
        self.errors = seen.errors[cell.labelled :]
        self.entropy = uncertainty._entropy(self.probabilities)
        self.weight = 1.0 + 2.0 * uncertainty._hard_boundary(self.probabilities, self.offsets)
        self.tag = self.probabilities.argmax(axis=1)

    def total(self, per_word: npt.NDArray[Any]) -> Floats:
        """By text."""
        return uncertainty._total(per_word, self.offsets)


def candidates(cell: Cell) -> Orders:
    """Every order but those that learn from other cells: a number for each text of the pool, the highest first."""
    pool = Pool(cell, cell.whole)
    rng = np.random.default_rng([cell.seed, len(cell.texts)])
    found: Orders = {
        "random": rng.random(len(pool.sizes)),
        "oracle, cheats": pool.errors + 1e-6 * rng.random(len(pool.sizes)),
        "oracle per word, cheats": pool.errors / pool.sizes,
        "length": pool.sizes.astype(np.float64),
    }
    found |= {name: score(pool.probabilities, pool.offsets) for name, score in SCORES.items()}
    return found | of_formulas(pool) | of_heads(pool) | of_words(pool) | of_neighbours(pool) | of_halves(pool)


def of_formulas(pool: Pool) -> Orders:
    """Aggregates, weights and exponents."""
    shares, entropy = pool.probabilities, pool.entropy
    spans = uncertainty._span_contributions(shares, pool.offsets) * np.repeat(
        pool.sizes**uncertainty.SPAN_POWER, np.diff(pool.offsets)
    )
    least = 1.0 - shares.max(axis=1)
    counts = np.bincount(pool.cell.tags[: pool.first], minlength=shares.shape[1]) + 1.0
    rare = (counts[0] / counts) ** 0.5  # as Luo et al., 2023: inverse to the smoothed frequency, here its root
    found = {f"spans, n^{power:.2g}": pool.total(spans) / pool.sizes**power for power in (0, 0.25, 0.5)}
    found |= {
        f"boundary, n^{power:.2g}": pool.total(pool.weight * entropy) / pool.sizes**power for power in (0.25, 1 / 3)
    }
    return found | {
        "entropy, sum": pool.total(entropy),
        "entropy, mean": pool.total(entropy) / pool.sizes,
        "entropy, largest three": largest(pool, 3),
        "entropy, largest": largest(pool, 1),
        "entropy weighted by p(not O), sum": pool.total((1 - shares[:, 0]) * entropy),
        "least confidence at edges, sum": pool.total(pool.weight * least),
        "class frequency (Luo et al. 2023) on 1 - p, sum": pool.total(rare[pool.tag] * least),
        "class frequency (Luo et al. 2023) on entropy, sum": pool.total(rare[pool.tag] * entropy),
        "edges, capped at H = 0.3, sum": pool.total(pool.weight * np.minimum(entropy, 0.3)),
    }


def largest(pool: Pool, how_many: int) -> Floats:
    """The sum of a text's largest entropies."""
    by = np.lexsort((-pool.entropy, np.repeat(np.arange(len(pool.sizes)), np.diff(pool.offsets))))
    place = np.arange(len(by)) - np.repeat(pool.offsets[:-1], np.diff(pool.offsets))
    return pool.total(np.where(place < how_many, pool.entropy[by], 0.0))


def of_heads(pool: Pool) -> Orders:
    """Dropout in front of the last layer, which is found again from what it was given and said."""
    given = pool.seen.hidden[pool.first :].astype(np.float64)
    logs = np.log(np.maximum(pool.probabilities, 1e-30))
    laid = np.column_stack([given, np.ones(len(given))])
    layer = np.linalg.lstsq(laid, logs - logs.mean(axis=1, keepdims=True), rcond=None)[0]
    rng = np.random.default_rng(0)
    mean, each = np.zeros_like(pool.probabilities), np.zeros(len(given))
    for _ in range(HEADS):
        kept = given * (rng.random(given.shape) >= DROPPED) / (1 - DROPPED)
        powers = np.exp(kept @ layer[:-1] + layer[-1])
        shares = powers / powers.sum(axis=1, keepdims=True)
        mean += shares / HEADS
        each += uncertainty._entropy(shares) / HEADS
    learnt = uncertainty._entropy(mean) - each
    return {
        "last-layer dropout, BALD, sum": pool.total(learnt),
        "last-layer dropout, BALD at edges, sum": pool.total(pool.weight * learnt),
        "last-layer dropout, spans of the mean": uncertainty.spans(mean, pool.offsets),
    }


def of_words(pool: Pool) -> Orders:
    """Words that no labelled text has, and sub-words."""
    texts = [[text[start:stop] for start, stop in words(text)] for text in pool.cell.texts]
    known = {word.casefold() for text in texts[: pool.cell.labelled] for word in text}
    every = [word for text in texts[pool.cell.labelled :] for word in text]
    new = np.array([word.casefold() not in known for word in every])
    capital = np.array([word[:1].isupper() for word in every])
    pieces = pool.seen.pieces[pool.first :]
    edges = pool.weight * pool.entropy
    return {
        "new words, sum": pool.total(new),
        "edges at new words twice, sum": pool.total(edges * (1 + new)),
        "edges and a little for new capital words, sum": pool.total(edges + 0.1 * (new & capital & (pool.tag == 0))),
        "edges at words of several pieces twice, sum": pool.total(edges * (1 + (pieces > 1))),
    }


def of_neighbours(pool: Pool) -> Orders:
    """What the nearest labelled words say, in the space of the last hidden state."""
    hidden = pool.seen.hidden / np.maximum(np.linalg.norm(pool.seen.hidden, axis=1, keepdims=True), 1e-9)
    known, tags = hidden[: pool.first], pool.cell.tags[: pool.first]
    said, nearest = np.zeros_like(pool.probabilities), np.zeros(len(pool.probabilities))
    for start in range(0, len(said), 2000):
        likeness = hidden[pool.first + start : pool.first + start + 2000] @ known.T
        which = np.argpartition(-likeness, NEAR, axis=1)[:, :NEAR]
        for column in which.T:
            np.add.at(said, (start + np.arange(len(likeness)), tags[column]), 1 / NEAR)
        nearest[start : start + 2000] = likeness.max(axis=1)
    apart = 1 - said[np.arange(len(said)), pool.tag]
    embeddings = pool.seen.embeddings
    alike = (embeddings[pool.cell.labelled :] @ embeddings[: pool.cell.labelled].T).max(axis=1)
    return {
        "nearest labelled words disagree, sum": pool.total(apart),
        "edges and nearest labelled words, sum": pool.total(
            pool.weight * (pool.entropy + uncertainty._entropy(said)) / 2
        ),
        "unlike every labelled word, sum": pool.total(1 - nearest),
        "spans, of texts unlike the labelled ones more": uncertainty.spans(pool.probabilities, pool.offsets)
        * (1.2 - alike),
    }


def of_halves(pool: Pool) -> Orders:
    """Disagreement with models that were taught half of the labels each: three trainings in the place of one."""
    if not pool.cell.halves:
        return {}
    others = np.stack([half.probabilities[pool.first :] for half in pool.cell.halves]).astype(np.float64)
    mean = (pool.probabilities + others.sum(axis=0)) / (1 + len(others))
    differ = (others.argmax(axis=2) != pool.tag).mean(axis=0)
    return {
        "committee of three trainings, votes, sum": pool.total(differ),
        "committee of three trainings, spans of the mean": uncertainty.spans(mean, pool.offsets),
    }


def features(pool: Pool) -> Floats:
    """What an error predictor is told of each text: (n, k)."""
    shares, entropy = pool.probabilities, pool.entropy
    _, starts, _ = uncertainty._entities(shares, pool.offsets)
    outside = pool.tag == 0
    sums = (
        entropy,
        (pool.weight - 1) * entropy,
        outside * entropy,
        outside * (1 - shares[:, 0]),
        1 - shares.max(axis=1),
        starts * (1 - shares.max(axis=1)),
        starts,
        entropy > 0.05,
        entropy > 0.15,
        entropy > 0.3,
        uncertainty._span_contributions(shares, pool.offsets),
    )
    columns = [pool.total(np.asarray(one, dtype=np.float64)) for one in sums]
    return np.column_stack([*columns, pool.sizes, largest(pool, 1)])


def learnt(pools: Mapping[tuple[str, int], Pool]) -> dict[tuple[str, int], Orders]:
    """Predictors of the number of errors: one taught on the other sets' pools, and one on this pool's own, by folds.

    The second cheats: it has seen the right answers of four fifths of the pool, and stands for the best that could be
    had of these features.
    """
    tables = {key: features(pool) for key, pool in pools.items()}
    found: dict[tuple[str, int], Orders] = {}
    for key, pool in pools.items():
        others = [other for other in pools if other[0] != key[0]]
        orders: Orders = {}
        if others:
            taught = np.concatenate([tables[other] for other in others])
            errors = np.concatenate([pools[other].errors for other in others])
            orders["predictor learnt on the other sets"] = predicted(taught, errors, tables[key])
        own = np.zeros(len(pool.errors))
        fold = np.arange(len(own)) % 5
        for part in range(5):
            asked = fold == part
            own[asked] = predicted(tables[key][~asked], pool.errors[~asked], tables[key][asked])
        found[key] = orders | {"predictor learnt on the pool's own errors, cheats": own}
    return found


def predicted(taught: Floats, errors: npt.NDArray[np.int64], asked: Floats) -> Floats:
    """Boosted trees, the mean of some."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    every = []
    for seed in range(MODELS):
        trees = HistGradientBoostingRegressor(
            loss="poisson", max_iter=80, learning_rate=0.05, max_leaf_nodes=6, max_features=0.5, random_state=seed
        )
        every.append(trees.fit(taught, errors).predict(asked))
    return np.asarray(np.mean(every, axis=0), dtype=np.float64)


def caught(order: Floats, pool: Pool) -> Json:
    """Shares of all errors: in the hardest tenth of the texts, in the hardest fifth of the words; and of the words in
    that tenth."""
    ranked = np.argsort(-order, kind="stable")
    head = ranked[: round(HEAD * len(ranked))]
    read = np.cumsum(pool.sizes[ranked])
    words_of = ranked[: int(np.searchsorted(read, FIFTH * read[-1], side="right"))]
    every = max(1, int(pool.errors.sum()))
    return {
        "tenth": round(float(pool.errors[head].sum() / every), 5),
        "fifth": round(float(pool.errors[words_of].sum() / every), 5),
        "words": round(float(pool.sizes[head].sum() / read[-1]), 5),
    }


def measured(data: Path, folder: Path, seeds: Sequence[int], report: Callable[[str], None] = print) -> Json:
    """Every order on every cell; what is missing is taught first."""
    pools: dict[tuple[str, int], Pool] = {}
    by_cell: dict[str, dict[tuple[str, int], Json]] = {}
    for name in SETS:
        for seed in seeds:
            hardest.make(data, folder, name, seed, halves=False)
            cell = hardest.load(data, folder, name, seed)
            pools[name, seed] = Pool(cell, cell.whole)
            for order, values in candidates(cell).items():
                by_cell.setdefault(order, {})[name, seed] = caught(values, pools[name, seed])
            report(f"{name}, seed {seed}: {int(pools[name, seed].errors.sum())} errors")
    for key, orders in learnt(pools).items():
        for order, values in orders.items():
            by_cell.setdefault(order, {})[key] = caught(values, pools[key])
    return told(by_cell, pools)


def told(by_cell: Mapping[str, Mapping[tuple[str, int], Json]], pools: Mapping[tuple[str, int], Pool]) -> Json:
    """Means over the sets of means over their seeds, best order first; those that not every cell has stand apart."""
    rows = [row(order, cells, partial=len(cells) < len(pools)) for order, cells in by_cell.items()]
    best = next(one["tenth"] for one in rows if one["order"] == "oracle, cheats")
    for one in rows:
        one["of_oracle"] = round(one["tenth"] / best, 4)
    seeds = sorted({seed for _, seed in pools})
    return {
        "sets": [name for name in SETS if any(name == which for which, _ in pools)],
        "seeds": seeds,
        "chosen_on": list(CHOSEN_ON),
        "orders": sorted(rows, key=lambda one: (len(one["by_cell"]) < len(pools), -one["tenth"])),
        "about": (
            f"One model on {hardest.LABELLED} random labels (the loop's recipe) orders up to {hardest.POOL:,} other "
            f"texts; seeds {', '.join(map(str, seeds))}, mean over the sets. Shares of its wrong and missed spans "
            "(strict) that the hardest tenth of the texts holds, and the hardest fifth of the words; between them, "
            "which share of all words people would read in that tenth. The oracle orders by the true number of errors; "
            "what cheats has seen right answers of the pool. Orders that only some cells have stand last."
        ),
    }


def row(order: str, cells: Mapping[tuple[str, int], Json], *, partial: bool) -> Json:
    """One order on all its cells."""
    keys = ("tenth", "fifth", "words")
    by_set = {
        name: {key: round(float(np.mean([cells[cell][key] for cell in cells if cell[0] == name])), 5) for key in keys}
        for name in SETS
        if any(name == which for which, _ in cells)
    }
    where = [f"{name} seed {seed}" for name, seed in cells]
    return {
        "order": order + (f" (only {', '.join(where)})" if partial else ""),
        **{key: round(float(np.mean([one[key] for one in by_set.values()])), 5) for key in keys},
        "by_set": by_set,
        "by_cell": {f"{name}-{seed}": one for (name, seed), one in cells.items()},
    }
