"""How far predictions have settled: the share of open tasks that a new model version answers in another way than the
one before. Read from the ranks of two releases, while the store has both; no model is run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.services.store import Project, Release
from edgewise.verbs.system import System

SAMPLE = 2000  # open tasks, drawn at random: the share is known to two points
FEWEST = 20


def note_changed(system: System, project: Project, n: int) -> None:
    """Keep the share with release `n`, where there is one: a release of the same version takes over what the one
    before says."""
    store, key = system.store, project.key
    release = store.release(key, n)
    before = earlier(system, project, release)
    if release.changed is not None or not release.whole or before is None:
        return  # of a part, the hardest, it would say too much
    same = before.version == release.version
    changed = before.changed if same else share_changed(system, project, before, release)
    if changed is not None:
        store.update_release(key, n, changed=changed)


def earlier(system: System, project: Project, release: Release) -> Release | None:
    """The release before this one, if both show model versions with the same labels and its ranks are still here."""
    known = {version.id for version in system.store.versions(project.key)}
    older = [one for one in system.store.releases(project.key) if one.n < release.n and one.state == "active"]
    if not older or older[0].schema_digest != release.schema_digest:
        return None
    return older[0] if {older[0].version, release.version} <= known else None


def share_changed(system: System, project: Project, before: Release, after: Release) -> float | None:
    """The share of open tasks, audit tasks left out, that the two answer differently; None of fewer than 20."""
    store, key = system.store, project.key
    rng = np.random.default_rng([system.settings.seed, key, after.n])
    ids = store.open_task_ids(key, audit=False)
    drawn = ids if len(ids) <= SAMPLE else sorted(rng.choice(ids, SAMPLE, replace=False).tolist())
    old, new = store.ranks(key, before.n, drawn), store.ranks(key, after.n, drawn)
    both = old.keys() & new.keys()
    if len(both) < FEWEST:
        return None
    return sum(said(old[task].result) != said(new[task].result) for task in both) / len(both)


def said(result: Sequence[dict[str, Any]]) -> set[str]:
    """What a result says, without how sure it is: a region's id is a hash of its head, place and label."""
    return {region["id"] for region in result}
