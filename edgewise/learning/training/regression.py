"""A head taught by logistic regression, as rows of weights: seconds of arithmetic on what a frozen encoder gives.

Arrays only: features in, the weights of a linear layer out. Knows nothing of models or texts.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = tuple[Floats, Floats]  # (n_columns, dim), (n_columns,)
Features = NDArray[np.floating[Any]]  # (n, dim); in 32 bits it takes half the time

STRENGTH = 0.3  # C of the regression, on features whose spread is 1: flat between 0.1 and 1, see docs/decisions.md
ITERATIONS = 500
UNSEEN = -20.0  # bias of a label that no document has: never answered


def teach_one(
    features: Features,
    answers: NDArray[np.int64],
    columns: int,
    *,
    strength: float = STRENGTH,
    iterations: int = ITERATIONS,
) -> Weights:
    """One of the columns for each row: answers (n,) are column numbers. strength, iterations: of the regression."""
    weight, bias = np.zeros((columns, features.shape[1])), np.full(columns, UNSEEN)
    seen = np.unique(answers)
    if len(seen) <= 1:
        bias[seen] = 0.0
        return weight, bias
    scaled, back = _scaled(features)
    taught = _regression(scaled, answers, strength, iterations)
    rows, shift = back(taught.coef_, taught.intercept_)
    if len(seen) == 2:  # one row stands for the second against the first
        rows, shift = np.vstack([-rows / 2, rows / 2]), np.concatenate([-shift / 2, shift / 2])
    weight[seen], bias[seen] = rows, shift
    return weight, bias


def teach_each(features: Features, answers: NDArray[np.bool_]) -> Weights:
    """Each column by itself: answers (n, columns) say yes or no."""
    weight, bias = np.zeros((answers.shape[1], features.shape[1])), np.full(answers.shape[1], UNSEEN)
    scaled, back = _scaled(features)
    for column, yes in enumerate(answers.T):
        if yes.all():
            bias[column] = -UNSEEN
        elif yes.any():
            taught = _regression(scaled, yes, STRENGTH, ITERATIONS)
            weight[column], bias[column] = (part[0] for part in back(taught.coef_, taught.intercept_))
    return weight, bias


def unseen(
    features: Floats, answers: NDArray[np.generic], parts: Sequence[Sequence[int]], teach: Callable[..., Weights]
) -> Floats:
    """What heads say of rows that they were not taught on: logits (n, columns), 0 where there is one part only.

    teach: `teach_one` or `teach_each`, of features and answers.
    """
    logits: list[tuple[Sequence[int], Floats]] = []
    for part in parts if len(parts) > 1 else ():
        others = np.setdiff1d(np.arange(len(features)), part)
        weight, bias = teach(features[others], answers[others])
        logits.append((part, features[part] @ weight.T + bias))
    found = np.zeros((len(features), logits[0][1].shape[1] if logits else answers.shape[-1]))
    for part, said in logits:
        found[part] = said
    return found


def _scaled(features: Features) -> tuple[Features, Callable[[Floats, Floats], Weights]]:
    """Features around 0 with a spread of 1 in all, and the way back for weights that were taught on these."""
    middle = features.mean(axis=0)
    spread = float((features - middle).std()) or 1.0

    def back(weight: Floats, bias: Floats) -> Weights:
        return weight / spread, bias - weight @ middle / spread

    return (features - middle) / spread, back


def _regression(features: Features, answers: NDArray[Any], strength: float, iterations: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digit does not matter
        return LogisticRegression(C=strength, max_iter=iterations).fit(features, answers)
