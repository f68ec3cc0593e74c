"""What the store keeps of how versions are computed, on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest

from edgewise.errors import NotFound
from edgewise.services.store import Arithmetic, Store

MADE = Arithmetic("v1", "label", "here", "minilm", "bfloat16", "four times as fast", {"rounds": 5})


@pytest.fixture
def key(store: Store) -> int:
    return store.record_project("http://studio", 1, "1").key


def test_a_decision_is_kept_by_version_head_and_machine_and_a_newer_one_overwrites(store: Store, key: int) -> None:
    kept = [store.save_arithmetic(key, replace(MADE, head=head, machine=m)) for head in "ab" for m in ("here", "there")]
    store.save_arithmetic(key, replace(MADE, version="v2"))
    assert store.arithmetics(key, "v1") == [kept[1], kept[0], kept[3], kept[2]]  # of a head the newest first
    again = store.save_arithmetic(key, replace(kept[0], choice="float32", reason="as slow as float32"))
    assert again in store.arithmetics(key, "v1")
    assert kept[0] not in store.arithmetics(key, "v1")
    assert store.arithmetics(key, "v3") == []


def test_what_stands_is_the_last_that_was_measured_on_such_a_machine_for_any_project(store: Store, key: int) -> None:
    other = store.record_project("http://studio", 2, "1").key
    store.save_arithmetic(key, MADE)
    last = store.save_arithmetic(other, replace(MADE, version="v9"))
    store.save_arithmetic(key, replace(MADE, version="v3", figures={}))
    assert store.standing_arithmetic("minilm", "here") == last
    assert store.standing_arithmetic("minilm", "there") is None
    assert store.standing_arithmetic("roberta", "here") is None


def test_decisions_go_with_their_project(store: Store, key: int) -> None:
    store.save_arithmetic(key, MADE)
    store.erase_project(key)
    assert store.standing_arithmetic("minilm", "here") is None
    with pytest.raises(NotFound):
        store.save_arithmetic(key, MADE)
