"""Writes docs/licences.md: under which licence everything that the server installs comes, by the packages' own words.

`python -m tests.licences` in the environment that the lock was installed into. tests/test_licences.py compares.
"""

import re
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKS = ("requirements.txt", "requirements-label-studio-ml.txt")

# How licences begin, for packages that give the text and no name.
TEXTS = {
    "Apache License": "Apache-2.0",
    "MIT License": "MIT",
    "Permission is hereby granted, free of charge": "MIT",
    "Redistribution and use in source and binary forms": "BSD",
}
KINDS = {
    "copyleft": re.compile(r"(?<![A-Z])A?GPL|General Public License(?!.*Lesser)"),
    "weak copyleft": re.compile(r"LGPL|MPL|Mozilla|Lesser General Public"),
    "permissive": re.compile(
        r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND|Unlicense|CNRI|BSL-1|0BSD|TCL|CMU", re.IGNORECASE
    ),
}
HEAD = """# Licences

What the server and the worker install, by the packages' own words: `.venv/bin/python -m tests.licences` writes this
page, and `tests/test_licences.py` compares it with the lock. Edgewise itself is MIT. Nothing here is under the GPL or
the AGPL. Weak copyleft asks that changes to *that package* stay open; it is used unchanged, as a library of its own.
What a wheel carries inside (libpq in psycopg-binary, codecs in opencv) has its licence in the wheel and is not listed.

| package | licence | kind |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Licence:
    """A locked package and what it may be used under. kind: 'permissive', 'weak copyleft', 'copyleft' or 'unknown'."""

    package: str
    name: str
    kind: str


def locked() -> list[str]:
    """Names of the packages in the locks, sorted."""
    lines = [line for lock in LOCKS for line in (ROOT / lock).read_text().splitlines()]
    return sorted((line.partition("==")[0] for line in lines if "==" in line), key=str.lower)


def licence_of(package: str) -> Licence:
    """What an installed package says of itself."""
    name = told(distribution(package))
    kind = next((kind for kind, pattern in KINDS.items() if pattern.search(name)), "unknown")
    return Licence(package, name, kind)


def told(package: Distribution) -> str:
    """The licence as an expression, else by classifiers, else in a line, else by its text."""
    of = cast(Message, package.metadata)
    classes = [one.split(" :: ")[-1] for one in of.get_all("Classifier") or [] if one.startswith("License ::")]
    classes = [one for one in classes if one != "OSI Approved"]
    line = (of.get("License") or "").strip()
    short = line if 0 < len(line) <= 60 and "\n" not in line and line != "UNKNOWN" else ""
    return of.get("License-Expression") or "; ".join(classes) or short or by_text(package)


def by_text(package: Distribution) -> str:
    """What the licence file begins like; nothing if there is none, or one that we do not know."""
    for file in package.files or []:
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE):
            text = " ".join(Path(str(file.locate())).read_text(encoding="utf-8", errors="replace").split())
            return next((name for begins, name in TEXTS.items() if begins in text[:2000]), "")
    return ""


def page() -> str:
    """The page as it should be."""
    rows = (licence_of(package) for package in locked())
    return HEAD + "".join(f"| {one.package} | {one.name} | {one.kind} |\n" for one in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
