"""Which believed texts stand for their class, and which of them to show with a question. Arrays only.

Xiao et al. 2023, "FreeAL" (EMNLP), section 4.2; here a class may have a single member, and there may be any number.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SUREST = 0.2  # of a class: from these come those that stand for it
IN_ALL = 100  # texts that stand for all classes together; each class has one at least
OF_A_CLASS = 3  # at most, shown with one question


def representatives(
    embeddings: Floats, classes: Sequence[str | None], sure: Floats, *, human: Mask, seed: int = 0
) -> Ints:
    """Positions of the texts that stand for the classes, ascending.

    embeddings: (n, dim); classes: of believed texts, None for the others; sure: (n,), the higher the surer; human:
    (n,), labelled by people: all of these, however sure the model is of them, as they are right and the more of them
    there are, the nearer is one to a question. The believed ones of a class fill up what people left of its share.
    """
    names = sorted({name for name in classes if name is not None})
    each = max(1, IN_ALL // max(1, len(names)))
    of_class = np.array([name or "" for name in classes], dtype=object)
    there = np.array([name is not None for name in classes], dtype=bool)
    found: list[int] = []
    for name in names:
        members = np.flatnonzero(there & (of_class == name))
        by_people = members[human[members]]
        found += by_people.tolist()
        others = members[~human[members]]
        surest = others[np.argsort(-sure[others], kind="stable")][: max(each, round(SUREST * len(others)))]
        found += _central(embeddings, surest, max(0, each - len(by_people)), seed)
    return np.array(sorted(found), dtype=np.int64)


def _central(embeddings: Floats, members: Ints, count: int, seed: int) -> list[int]:
    """At most so many members, each the one nearest to the middle of a cluster."""
    from sklearn.cluster import KMeans

    if count == 0 or not len(members):
        return []
    given = np.asarray(embeddings[members], dtype=np.float64)
    _, firsts = np.unique(given.round(6), axis=0, return_index=True)  # of copies, one
    members, given = members[firsts], given[firsts]
    if len(members) <= count:
        return [int(member) for member in members]
    clusters = KMeans(count, n_init=2, random_state=seed).fit(given)
    away = clusters.transform(given)
    return sorted({int(members[away[:, cluster].argmin()]) for cluster in range(away.shape[1])})


def nearest(
    embeddings: Floats, texts: Ints, shown: Ints, classes: Sequence[str | None], *, count: int
) -> list[list[int]]:
    """For each of the texts, at most `count` of the shown ones, the most similar last; never the text itself, and not
    more than three of a class. embeddings: (n, dim), rows of length 1."""
    if not len(shown):
        return [[] for _ in texts]
    alike = embeddings[texts] @ embeddings[shown].T
    alike[texts[:, None] == shown[None, :]] = -np.inf
    ranked = np.argsort(-alike, axis=1, kind="stable")
    return [
        _few([int(shown[i]) for i in row if np.isfinite(own[i])], classes, count)
        for row, own in zip(ranked, alike, strict=True)
    ]


def _few(candidates: Sequence[int], classes: Sequence[str | None], count: int) -> list[int]:
    taken: list[int] = []
    of_class: dict[str | None, int] = {}
    for candidate in candidates:
        name = classes[candidate]
        if of_class.get(name, 0) < OF_A_CLASS and len(taken) < count:
            taken.append(candidate)
            of_class[name] = of_class.get(name, 0) + 1
    return taken[::-1]
