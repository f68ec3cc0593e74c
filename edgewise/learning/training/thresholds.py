"""From which share on a label is chosen, where any number may be: tuned for F1, each label by itself.

Arrays only. Whose shares these are is the caller's word: never of documents that the model has learnt from.
"""

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.5
ENOUGH = 10  # documents with the label; below, the best threshold is an accident
LOWEST, HIGHEST = 0.1, 0.9


def tune(shares: NDArray[np.floating], answers: NDArray[np.bool_]) -> tuple[float, ...]:
    """One threshold for each column, in [0.1, 0.9].

    shares, answers: (n_documents, k). A label that fewer than ten of the documents have keeps 0.5.
    """
    columns = zip(shares.T, answers.T, strict=True)
    return tuple(_best(share, yes) if yes.sum() >= ENOUGH else DEFAULT for share, yes in columns)


def _best(share: NDArray[np.floating], yes: NDArray[np.bool_]) -> float:
    """Midway between two shares, where F1 is highest; of several such places the one nearest to a half."""
    order = np.argsort(share, kind="stable")
    rising = share[order].astype(np.float64)
    places = np.clip(np.append((rising[:-1] + rising[1:]) / 2, DEFAULT), LOWEST, HIGHEST)
    below = np.searchsorted(rising, places, side="left")
    right = yes.sum() - np.append(0, np.cumsum(yes[order]))[below]
    f1 = 2 * right / (len(rising) - below + yes.sum())
    best = places[f1 >= f1.max() - 1e-9]
    return float(best[np.abs(best - DEFAULT).argmin()])
