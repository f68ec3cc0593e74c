"""Strategies: JSON that was good, damaged in every way that we could think of."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**40, 1e308, "", " ", "0", "-1", "1e400", "null",
    "\x00", "\ud800", "\U0001f469\u200d\U0001f467", "é\u0301", "\u202e", "a" * 5000, [], {}, [[]], [None], {"": None},
    {"id": {"id": []}}, "http://127.0.0.1:1/", "file:///etc/passwd", "../../../etc/passwd", "<!ENTITY a 'b'>",
    "{{7*7}}", "' OR 1=1 --", ["a"] * 500, {str(number): number for number in range(300)},
)  # fmt: skip


def nested(depth: int, value: Any = None) -> Any:
    """Lists in lists."""
    for _ in range(depth):
        value = [value]
    return value


odd_values = st.sampled_from(ODD) | st.integers(1, 60).map(nested) | st.text(max_size=20) | st.floats(width=32)


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """The way to every value inside a JSON value, and to itself."""
    yield at
    children: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    for key, child in children:
        yield from places(child, (*at, key))


def change(value: Any, at: Path, how: Callable[[Any, str | int], None]) -> Any:
    """A copy in which `how` has changed the container of one place, which is not the whole."""
    changed = copy.deepcopy(value)
    container = changed
    for key in at[:-1]:
        container = container[key]
    how(container, at[-1])
    return changed


@st.composite
def damaged(draw: st.DrawFn, good: Any, most: int = 3) -> Any:
    """The value with one or a few damages: replaced, removed, doubled, wrapped, or something added."""
    value = good
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.sampled_from(list(places(value))))
        if not at:
            if draw(st.integers(0, 9)) == 0:
                return draw(odd_values)
            continue
        value = change(value, at, draw(st.sampled_from(DAMAGES))(draw))
    return value


def _replace(draw: st.DrawFn) -> Callable[[Any, str | int], None]:
    odd = draw(odd_values)

    def how(container: Any, key: str | int) -> None:
        container[key] = odd

    return how


def _remove(draw: st.DrawFn) -> Callable[[Any, str | int], None]:
    def how(container: Any, key: str | int) -> None:
        del container[key]

    return how


def _wrap(draw: st.DrawFn) -> Callable[[Any, str | int], None]:
    wraps: list[Callable[[Any], Any]] = [lambda one: [one], lambda one: {"id": one}, str, lambda one: [one, one]]
    wrap = draw(st.sampled_from(wraps))

    def how(container: Any, key: str | int) -> None:
        container[key] = wrap(container[key])

    return how


def _add(draw: st.DrawFn) -> Callable[[Any, str | int], None]:
    odd, name = draw(odd_values), draw(st.sampled_from(["id", "result", "value", "labels", "project", "__class__", ""]))

    def how(container: Any, key: str | int) -> None:
        if isinstance(container, list):
            container.insert(int(key), odd)
        else:
            container[name] = odd

    return how


DAMAGES = (_replace, _replace, _remove, _wrap, _add)


@st.composite
def broken_bytes(draw: st.DrawFn, good: Any) -> bytes:
    """The value as JSON whose bytes were cut, flipped, doubled or written in another encoding."""
    raw = json.dumps(good).encode()
    at, kind = draw(st.integers(0, len(raw) - 1)), draw(st.integers(0, 6))
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return raw[:at] + draw(st.binary(min_size=1, max_size=4)) + raw[at + 1 :]
    if kind == 2:
        return raw + raw
    if kind == 3:
        return raw.decode().encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "cp037"])))
    if kind == 4:
        return b"[" * 20_000 + raw
    return raw.replace(b"null", draw(st.sampled_from([b"NaN", b"-Infinity", b"1e999", b"1" * 5000, b"\\u0000"])), 3)
