"""Everything that the server installs has a licence that we know, and none that would bind who runs it."""

import pytest

from tests.licences import KINDS, PAGE, licence_of, locked, page


@pytest.mark.parametrize("package", locked())
def test_every_package_of_the_lock_has_a_known_licence_and_none_is_copyleft(package: str) -> None:
    licence = licence_of(package)
    assert licence.kind in ("permissive", "weak copyleft"), licence


def test_the_page_is_what_the_packages_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run .venv/bin/python -m tests.licences"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GPL-3.0-only", "copyleft"),
        ("GNU Affero General Public License v3", "copyleft"),
        ("AGPL-3.0", "copyleft"),
        ("LGPL-3.0-only", "weak copyleft"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "weak copyleft"),
        ("MIT License", "permissive"),
        ("Apache-2.0", "permissive"),
    ],
)
def test_licences_are_told_apart(name: str, kind: str) -> None:
    assert next(kind for kind, pattern in KINDS.items() if pattern.search(name)) == kind
