"""How unsure a model will be of texts that it has not seen, foretold from what it says of others of the same pool.

What one version is unsure of has words in common: the names, the endings, the topic that it has not learned yet. Knows
nothing of tasks. See docs/decisions.md for what it is worth.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES = 2**17  # words are hashed: no vocabulary to learn, and a pool of any size takes the same
WORDS = r"\w+|[^\w\s]"  # upper and lower case apart, as names show by it
PLACE_WEIGHT, SMOOTHING = 2.0, 1.0


def features(pages: Iterable[Sequence[str]], places: NDArray[np.float64]) -> Any:
    """A sparse row of each text, (n, FEATURES + 1): its words, and where it stood before.

    pages: n texts in all, a page at a time. places: (n,) in [0, 1], higher was less sure.
    """
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.feature_extraction.text import HashingVectorizer

    count = HashingVectorizer(n_features=FEATURES, token_pattern=WORDS, lowercase=False, alternate_sign=False)
    words = vstack([csr_matrix((0, FEATURES)), *(count.transform(page) for page in pages if page)])
    return hstack([words, csr_matrix(PLACE_WEIGHT * places[:, None])]).tocsr()


def foretold(seen: Any, uncertainty: NDArray[np.float64], unseen: Any) -> NDArray[np.float64]:
    """Of each unseen row, (m,): higher is less sure, comparable with each other only. By ridge regression (Hoerl and
    Kennard 1970) on the seen rows.

    seen, unseen: rows of `features`, (n, d) and (m, d). uncertainty: (n,).
    """
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=SMOOTHING, solver="sparse_cg").fit(seen, uncertainty)
    return np.asarray(fitted.predict(unseen), dtype=np.float64)
