"""Outputs that appear whole or not at all. Knows nothing of what is written.

Written beside its place under a name of its own, flushed to the disk, then renamed: a crash, a full disk or a Ctrl-C
leaves what was there before.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewise.errors import Conflict, InputError


@contextmanager
def whole(path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A path to write a file to; it becomes `path` when the block ends well, and vanishes when it does not.

    Raises Conflict if something is there and `overwrite` is not given; InputError if `path` is one of the `inputs`, or
    its folder is missing.
    """
    _check(path, overwrite, inputs)
    if path.is_dir():
        raise InputError(f"'{path.name}' is a folder.", "Name a file.")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        yield made
        made.chmod(0o666 & ~_umask())
        _flush(made)
        made.replace(path)
        _flush(path.parent)
    finally:
        made.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """What `whole` left of `path` where it was killed; for whoever knows that nobody writes it now."""
    return [one for one in path.parent.iterdir() if one.name.startswith(f".{path.name}.") and one.suffix == ".part"]


@contextmanager
def whole_folder(path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """`whole` for a folder: yields a new, empty one."""
    _check(path, overwrite, inputs)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield made
        made.chmod(0o777 & ~_umask())
        for inner in sorted(made.rglob("*")):
            _flush(inner)
        _flush(made)
        _exchange(made, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _exchange(made: Path, path: Path) -> None:
    """Put the new folder in the old one's place; a folder cannot be replaced in one step, so the old one moves out."""
    if not path.exists():
        made.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old / path.name)
    try:
        made.rename(path)
    except BaseException:
        (old / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _check(path: Path, overwrite: bool, inputs: Iterable[Path]) -> None:
    target = path.resolve()
    if any(target == one.resolve() or target in one.resolve().parents for one in inputs):
        raise InputError(f"'{path.name}' is what is read.", "Name another output.")
    if not path.parent.is_dir():
        raise InputError(f"The folder for '{path.name}' does not exist.", "Make it, or name another output.")
    if path.exists() and not overwrite:
        raise Conflict(f"'{path.name}' exists already.", "Name another output, or say that it may be overwritten.")


def _flush(path: Path) -> None:
    """What is in a file, or which names a folder has, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems take no fsync of a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The rights that new files of this process lack; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
