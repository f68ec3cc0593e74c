"""In which arithmetic a model is computed: which there are, how they are compared, and which is taken.

Measured, never read off a processor's flags: of two processors with avx512_bf16 one is five times as fast in bfloat16,
the other half as fast; and ONNX Runtime is faster than torch on some, slower on others. 8-bit integers are not offered:
they lose the ranking (6 % of the words got another label). Knows nothing of texts, versions or uncertainty: it is given
work to time, and numbers to compare.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT32, BFLOAT16, ONNX = "float32", "bfloat16", "onnx"  # onnx: 32-bit floats too, by ONNX Runtime
OTHERS = (BFLOAT16, ONNX)

LEAST_GAIN = 1.1  # times as fast as float32; below, it is not worth another arithmetic
HOPELESS = 0.9  # after the first round: nothing that is so slow becomes the faster one
LEAST_SPEARMAN = 0.999
LEAST_OVERLAP = 0.95
MOST_CHANGED = 0.002
TOP = 100
LEAST_TEXTS = 200  # of fewer, a single pair that changes places at the top tenth's edge would be more than a twentieth

CPU_FACTS = Path("/proc/cpuinfo")
NOT_ARCHITECTURE = ("id2label", "label2id", "num_labels", "problem_type", "thresholds", "transformers_version")
ALSO_NOT = ("_name_or_path", "dtype", "torch_dtype", "architectures")

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far another arithmetic ranks and answers as float32 does.

    spearman: of the texts' uncertainties, in [-1, 1]. overlap: share of the top in [0, 1] that both have: of the
    hardest TOP texts, of the hardest tenth where there are fewer than ten times as many. changed: share in [0, 1] of
    the decisions (a word's tag, a text's choice) that are others. texts, decisions: on how many.
    """

    spearman: float
    overlap: float
    changed: float
    texts: int
    decisions: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of an arithmetic. times_faster: than float32, median over the rounds; None: it cannot be run.
    agreement: None where it was not measured, as speed alone rules it out."""

    times_faster: float | None
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The arithmetic that is taken, and why, in words for people."""

    arithmetic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What a measurement holds for. digest: 12 hex characters over all of it; words: for people."""

    digest: str
    words: str


def decide(measured: Mapping[str, Figures]) -> Choice:
    """The fastest of the arithmetics that may be taken; float32 if there is none. measured: all but float32."""
    faults = {name: fault_of(figures) for name, figures in measured.items()}
    fit = {name: measured[name].times_faster or 0.0 for name, fault in faults.items() if fault is None}
    if not fit:
        return Choice(FLOAT32, "; ".join(f"{name} {fault}" for name, fault in faults.items()))
    best = max(fit, key=lambda name: fit[name])
    found = measured[best].agreement
    assert found is not None  # or it would not be fit
    return Choice(
        best,
        f"{fit[best]:.2f} times as fast as {FLOAT32}, and the same order: Spearman {found.spearman:.4f}, "
        f"{found.overlap:.0%} of the hardest, {found.changed:.2%} of the labels changed",
    )


def fault_of(figures: Figures) -> str | None:
    """Why an arithmetic may not be taken, None if it may."""
    found = figures.agreement
    if figures.times_faster is None:
        return "cannot be run here"
    if figures.times_faster < LEAST_GAIN:
        return f"is only {figures.times_faster:.2f} times as fast"
    if found is None:
        return f"is {figures.times_faster:.2f} times as fast, and nobody knows whether it ranks the same"
    if found.texts < LEAST_TEXTS:
        return f"was compared on {found.texts} texts, and fewer than {LEAST_TEXTS} do not tell"
    if not found.spearman >= LEAST_SPEARMAN:  # a ranking without any difference has no correlation: NaN
        return f"ranks otherwise: Spearman {found.spearman:.4f}, and {LEAST_SPEARMAN} is the least"
    if found.overlap < LEAST_OVERLAP:
        return f"finds only {found.overlap:.1%} of the hardest, and {LEAST_OVERLAP:.0%} is the least"
    if found.changed >= MOST_CHANGED:
        return f"changes {found.changed:.2%} of the labels, and it must be fewer than {MOST_CHANGED:.1%}"
    return None


def agreement(ours: tuple[Floats, Ints], theirs: tuple[Floats, Ints]) -> Agreement:
    """Compare (n,) uncertainties and (m,) decisions, float32's first."""
    from scipy.stats import rankdata

    (unsure, said), (also, also_said) = ours, theirs
    size = top_size(len(unsure))
    spearman = float(np.corrcoef(rankdata(unsure), rankdata(also))[0, 1]) if np.ptp(unsure) * np.ptp(also) else np.nan
    both = set(hardest(unsure, size)) & set(hardest(also, size))
    changed = float((said != also_said).mean()) if len(said) else 0.0
    return Agreement(spearman, len(both) / max(1, size), changed, len(unsure), len(said))


def top_size(texts: int) -> int:
    """How many texts are the top: TOP, a tenth where there are fewer than ten times as many."""
    return min(TOP, texts // 10)


def hardest(unsure: Floats, size: int) -> list[int]:
    """Positions of the `size` least sure, hardest first; of equals the first."""
    return [int(i) for i in np.argsort(-unsure, kind="stable")[:size]]


def times_faster(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float | None]:
    """How many times as fast as works[FLOAT32] each of the others is, by the median over rounds; None: it fails.

    In turn within a round, so that a busy machine slows all; by this process's CPU seconds, which neighbours hardly
    touch. One round before the first is not counted. What is HOPELESS after the first is not run again.
    """
    others = {name: work for name, work in works.items() if name != FLOAT32}
    works[FLOAT32]()
    seconds: dict[str, list[float]] = {name: [] for name, work in others.items() if _goes(work)}
    for _ in range(rounds):
        going = [name for name, ratios in seconds.items() if not ratios or statistics.median(ratios) > HOPELESS]
        yardstick = _cpu_s(works[FLOAT32]) if going else 0.0
        for name in going:
            seconds[name].append(yardstick / _cpu_s(others[name]))
    return {name: statistics.median(seconds[name]) if name in seconds else None for name in others}


def _goes(work: Callable[[], object]) -> bool:
    try:
        work()
    except (RuntimeError, TypeError):  # torch has no such kernel, or a model's own code minds
        return False
    return True


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return max(time.process_time() - began, 1e-9)


def architecture_of(config: Mapping[str, Any], kind: str, max_length: int) -> str:
    """12 hex characters: the same for models that cost the same, whatever their labels. config: config.json's."""
    left = {name: value for name, value in config.items() if name not in (*NOT_ARCHITECTURE, *ALSO_NOT)}
    return _digest([sorted(left.items()), kind, max_length])


@cache
def machine() -> Machine:
    """This machine, as far as speed and rounding depend on it: processor, its flags, how many, and torch's version."""
    import torch

    facts = _cpu_facts()
    model = facts.get("model name") or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = " ".join(sorted((facts.get("flags") or facts.get("Features") or "").split()))
    names = [model, facts.get("cpu family"), facts.get("model"), facts.get("stepping"), flags, cores, torch.__version__]
    return Machine(_digest(names), f"{model}, {cores} cores, torch {torch.__version__}")


def _cpu_facts() -> dict[str, str]:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:  # no Linux
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _digest(facts: Sequence[object]) -> str:
    return blake2b(repr(facts).encode(), digest_size=6).hexdigest()
