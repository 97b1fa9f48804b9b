from __future__ import annotations

import tomllib

import pytest

from services import requirements

TEXT = requirements.PYPROJECT.read_text(encoding="utf-8")


def test_every_dependency_is_read() -> None:
    listed = tomllib.loads(TEXT)["project"]["dependencies"]
    found = requirements.required(TEXT)
    assert len(found) == len(listed)
    assert all(entry.startswith(name) for name, entry in zip(found, listed, strict=True))
    assert all(entry.endswith(found[name]) for name, entry in zip(found, listed, strict=True))


def test_the_oldest_python_is_read() -> None:
    assert requirements.oldest_python('requires-python = ">=3.11"\n') == (3, 11)
    assert requirements.oldest_python(TEXT) >= (3, 11)


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.10"), ("2.5.3", "2.5.10"), ("1.26", "1.26.4"), ("5.3.7rc1", "5.4"), ("", "0.1")],
)
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    assert requirements.numbers(older) < requirements.numbers(newer)


def test_this_python_has_everything() -> None:
    found = {
        name: requirements.complaint(name, v) for name, v in requirements.required(TEXT).items()
    }
    assert not [text for text in found.values() if text]


def test_a_package_that_is_too_old_is_told_with_both_versions() -> None:
    said = requirements.complaint("numpy", "999.0")
    assert said is not None
    assert said.startswith("numpy: expected 999.0 or newer, found ")


def test_a_package_that_is_not_there_is_told() -> None:
    said = requirements.complaint("no-such-package", "1.0")
    assert said is not None
    assert "cannot be imported (No module named 'no_such_package')" in said
