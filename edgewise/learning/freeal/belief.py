"""Which labels to believe: those that a model which never saw them finds easy. Arrays in, a mask out.

Two-component mixtures on losses: Li et al. 2020, "DivideMix" (ICLR), section 3.2, as FreeAL uses them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BELIEVED = 0.7  # probability of belonging to the component of small losses (FreeAL, 4.1)
FEWEST = 20  # labels of a class; a smaller one has no mixture of its own
APART = 2.0  # spreads between the means of two components; closer ones are one
EVEN = 1e-6  # losses that differ by less tell nothing


def believed(losses: Floats, classes: Sequence[str | None], *, seed: int = 0) -> Mask:
    """Which labels to believe, (n,).

    losses: (n,), of each label by a model that was not taught on it; NaN where there is no label: never believed.
    classes: what each is labelled as, so that a hard class is not doubted as a whole: a class has a mixture of its own
    if that has two components; else, and where it has fewer than 20 labels, the mixture of all decides.
    """
    known = np.isfinite(losses)
    if not known.any():
        return known
    scaled = _scaled(losses, known)
    everybody = _small(scaled[known], seed)
    found = known.copy()
    found[known] = True if everybody is None else everybody
    names = np.array([name or "" for name in classes], dtype=object)
    for name in sorted(set(names[known])):
        members = known & (names == name)
        own = _small(scaled[members], seed) if members.sum() >= FEWEST else None
        if own is not None:
            found[members] = own
    return found


def _scaled(losses: Floats, known: Mask) -> Floats:
    """Into [0, 1]; the largest hundredth are cut, or one of them would press all others together."""
    low, high = float(losses[known].min()), float(np.quantile(losses[known], 0.99))
    scaled: Floats = np.clip((losses - low) / max(high - low, EVEN), 0.0, 1.0)
    return scaled


def _small(losses: Floats, seed: int) -> Mask | None:
    """Which belong to the component of small losses; None if there are no two components."""
    from sklearn.mixture import GaussianMixture

    if len(losses) < FEWEST or float(np.ptp(losses)) < EVEN:
        return None
    mixture = GaussianMixture(2, reg_covar=5e-4, tol=1e-3, max_iter=100, random_state=seed).fit(losses[:, None])
    means, spreads = mixture.means_[:, 0], np.sqrt(mixture.covariances_[:, 0, 0])
    small = int(means.argmin())
    if np.ptp(means) < APART * spreads[small]:
        return None
    likely = mixture.predict_proba(losses[:, None])[:, small] > BELIEVED
    below: Mask = losses <= means[small]  # a wide component of large losses would claim the smallest ones too
    return np.asarray(likely | below)
