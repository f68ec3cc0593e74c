"""Model versions on disk: written whole or not at all, checked before they are loaded, swept when nobody needs them.

    MODEL_DIR/<FINETUNED_MODEL_NAME>/<project>/<version>/version.json
                                                        /heads/<from_name>/…
                                                        /<from_name>.onnx     made of it, where it is wanted

Knows files and hashes and nothing of what is in them. Which versions exist and which one serves is the store's
business; MLflow only mirrors that (mirror.py).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from edgewise.errors import Conflict, NotFound, SettingsError

CARD = "version.json"
HEADS = "heads"
STAGING = ".staging"
MARK = ".folder"
PLAIN_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
BLOCK = 1 << 20
YOUNG_S = 60.0  # a lock file so young may be about to be locked


@dataclass(frozen=True, slots=True)
class Card:
    """What a version is, beside its weights. `id` follows from all the rest; `settings` as the training had them."""

    id: str
    schema_digest: str
    snapshot: str
    settings: Mapping[str, object]
    weights_hash: str


def safe_name(name: str) -> str:
    """The name as a file name: itself where that is safe everywhere, else what is safe of it and a hash.

    Upper case counts as unsafe: on some file systems Label and label are one.
    """
    if PLAIN_NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:40]
    return f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def head_folder(version_folder: Path, from_name: str) -> Path:
    """Where a version, staged or published, has the head `from_name`."""
    return version_folder / HEADS / safe_name(from_name)


def weights_hash(version_folder: Path) -> str:
    """SHA-256 over the heads' files: relative paths in order, sizes and contents."""
    total = hashlib.sha256()
    heads = version_folder / HEADS
    for path in sorted(path for path in heads.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(heads).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                total.update(block)
    return total.hexdigest()


@lru_cache(maxsize=256)
def _hash_of(path: Path, changed: int, size: int) -> str:
    """SHA-256 of a file. changed, size: of this state of it, so that another one is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_id(schema_digest: str, snapshot: str, settings: Mapping[str, object], weights: str) -> str:
    """12 hex characters: the same for the same schema, snapshot, settings and weights, and only then."""
    whole = json.dumps([schema_digest, snapshot, settings, weights], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


class Registry:
    """The versions of all projects under one folder. Processes and machines may share the folder."""

    def __init__(self, root: Path) -> None:
        """`root`: MODEL_DIR/<FINETUNED_MODEL_NAME>; made when first needed."""
        self._root = root
        self._checked: set[Path] = set()

    def check(self) -> None:
        """Raises SettingsError when we cannot write here."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self._root).close()
        except OSError as error:
            raise SettingsError(
                f"MODEL_DIR cannot be written to ({type(error).__name__}).", "Give it to our user, or choose another."
            ) from error

    def mark(self) -> str | None:
        """What tells this folder from all others, whoever looks: a file in it, made once. None when we cannot read it,
        nor make it."""
        path = self._root / MARK
        try:
            if not path.exists():
                self._root.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile("w", dir=self._root) as fresh:
                    fresh.write(uuid4().hex)
                    fresh.flush()
                    with suppress(FileExistsError):  # another process was faster
                        os.link(fresh.name, path)
            return path.read_text()
        except OSError:
            return None

    @contextmanager
    def staging(self, project: str) -> Iterator[Path]:
        """An empty folder to build a version in, on the file system of the versions; gone afterwards unless published.

        Its lock file is held as long as its process lives, so that `sweep` can tell a killed training's leftovers.
        """
        parent = self._project(project) / STAGING
        parent.mkdir(parents=True, exist_ok=True)
        handle, lock = tempfile.mkstemp(dir=parent, suffix=".lock")
        folder = Path(lock).with_suffix("")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock).unlink(missing_ok=True)
            os.close(handle)

    def publish(
        self, project: str, staged: Path, *, schema_digest: str, snapshot: str, settings: Mapping[str, object]
    ) -> Card:
        """Make a staged folder a version, in one step. The same version published again changes nothing."""
        weights = weights_hash(staged)
        card = Card(version_id(schema_digest, snapshot, settings, weights), schema_digest, snapshot, settings, weights)
        (staged / CARD).write_text(json.dumps(asdict(card), indent=1, default=str))
        _flush(staged)
        target = self._project(project) / card.id
        if target.exists():
            if weights_hash(target) == weights:
                return card
            self._remove(target)  # the same id and other weights: somebody or something changed its files
        try:
            os.replace(staged, target)
        except OSError:
            if not target.exists():  # otherwise another process published it this moment
                raise
        return card

    def folder(self, project: str, version: str, from_name: str) -> Path:
        """The folder of a version's head, checked once per process. Raises NotFound or Conflict, as `verify`."""
        whole = self.verify(project, version)
        head = head_folder(whole, from_name)
        if not head.is_dir():
            raise NotFound(f"Version {version} has no head of that name.", "Train the project for its present config.")
        return head

    def exported(self, project: str, version: str, from_name: str) -> Path:
        """Where a head's weights are in another form, if somebody made it of them: no part of the version's id."""
        return self._project(project) / version / f"{safe_name(from_name)}.onnx"

    def exported_hash(self, project: str, version: str, from_name: str) -> str | None:
        """SHA-256 of that file, read once per process while nobody changes it; None without a file."""
        path = self.exported(project, version, from_name)
        try:
            found = path.stat()
            return _hash_of(path, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            return None

    def verify(self, project: str, version: str) -> Path:
        """The version's folder, if its files are those that its id was made from; ids are kept elsewhere.

        Raises NotFound: it is not here; Conflict: its files have changed.
        """
        folder = self._project(project) / version
        if folder in self._checked and folder.is_dir():
            return folder
        card = self.card(project, version)
        made_of = version_id(card.schema_digest, card.snapshot, card.settings, weights_hash(folder))
        if made_of != version:
            raise Conflict(
                f"The files of version {version} are not those it was made with.",
                "Restore them from a copy, roll back to another version, or train again.",
            )
        self._checked.add(folder)
        return folder

    def card(self, project: str, version: str) -> Card:
        """What a version is. Raises NotFound when it is not here."""
        try:
            return Card(**json.loads((self._project(project) / version / CARD).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise NotFound(
                f"The weights of version {version} are not here.",
                "Give server and workers the same MODEL_DIR, roll back to another version, or train again.",
            ) from error

    def versions(self, project: str) -> set[str]:
        """Ids of the versions that are here."""
        return {card.parent.name for card in self._project(project).glob(f"*/{CARD}")}

    def prune(self, project: str, keep: Collection[str]) -> set[str]:
        """Remove all versions but those to keep; ids of the removed. Who has files of one open can finish reading."""
        doomed = self.versions(project) - set(keep)
        for version in doomed:
            self._remove(self._project(project) / version)
        return doomed

    def erase(self, project: str) -> None:
        """Remove all there is of a project."""
        folder = self._project(project)
        if folder.is_dir():
            self._remove(folder)

    def sweep(self) -> int:
        """Remove what killed trainings and removals left; how many. What a living process works on stays."""
        locks = [*self._root.glob(f"*/{STAGING}/*.lock"), *self._root.glob(f"{STAGING}/*.lock")]
        return sum(_sweep(lock) for lock in locks)

    def _project(self, project: str) -> Path:
        return self._root / safe_name(project)

    def _remove(self, folder: Path) -> None:
        """Out of sight in one step, then deleted."""
        self._checked.discard(folder)
        parent = self._root / STAGING
        parent.mkdir(parents=True, exist_ok=True)
        handle, lock = tempfile.mkstemp(dir=parent, suffix=".lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.replace(folder, Path(lock).with_suffix(""))
            shutil.rmtree(Path(lock).with_suffix(""), ignore_errors=True)
        finally:
            Path(lock).unlink(missing_ok=True)
            os.close(handle)


def _sweep(lock: Path) -> bool:
    """Remove a lock file and its folder, if nobody holds it."""
    try:
        if time.time() - lock.stat().st_mtime < YOUNG_S:
            return False
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def _flush(folder: Path) -> None:
    """Bring all files to the disk: a rename that survives a power cut must not point at empty ones."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
