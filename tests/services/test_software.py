from importlib.metadata import version

import pytest

from services import software


def test_versions_are_those_of_the_installed_libraries() -> None:
    found = software.versions()
    assert found["numpy"] == version("numpy")
    assert found["uproot"] == version("uproot")


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_LIBRARIES", ("numpy", "no-such-library"))
    found = software.versions()
    assert "numpy" in found
    assert "no-such-library" not in found
