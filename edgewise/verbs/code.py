"""Which Edgewise this is: what a version's card says about the code that trained it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def code_version() -> str:
    """The release, and the commit where we run from a checkout: "0.1.0+1a2b3c4d5e6f". What is not committed is not
    told."""
    try:
        release = version("edgewise")
    except PackageNotFoundError:
        release = "unreleased"
    commit = commit_of(ROOT / ".git")
    return f"{release}+{commit[:12]}" if commit else release


def commit_of(git: Path) -> str | None:
    """What HEAD of this folder points at, without asking git, which may not be here; None if there is no such folder,
    or no commit yet."""
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).exists():
            return (git / name).read_text().strip()
        packed = [line.split(" ") for line in (git / "packed-refs").read_text().splitlines() if " " in line]
        return next((commit for commit, ref in packed if ref == name), None)
    except OSError:
        return None
