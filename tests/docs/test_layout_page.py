"""The walk through a new data layout, step by step, in a copy of the program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from schemas.releases import Layout
from tests.docs.pages import CHECKOUT, Block, blocks, text_of

PAGE = text_of("docs/adding-a-layout.md")
SCRIPTS = blocks(PAGE, "python")


def file_of(block: Block) -> str:
    """Return the name of the file that a block is, from its first line."""
    return block.text.splitlines()[0].removeprefix("# ")


# Drawing takes most of the time of a small run, and is tested elsewhere.
WITHOUT_FIGURES = """
import sys
import main
from services import plots
plots.run = lambda *_: ()
sys.exit(main.main())
"""
LAYOUT, CONFIGURATION = blocks(PAGE, "yaml")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the program in which the first script of the page was run."""
    folder = tmp_path_factory.mktemp("program")
    for name in ("bumphunt", "schemas", "services"):
        shutil.copytree(CHECKOUT / name, folder / name)
    shutil.copy(CHECKOUT / "main.py", folder)
    python(folder, "-c", SCRIPTS[0].text)
    return folder


def python(folder: Path, *arguments: str) -> str:
    """Return what Python prints in a folder."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layout_is_valid() -> None:
    name = Path(file_of(LAYOUT))
    assert name.parent == Path("schemas/releases")
    layout = Layout.model_validate({"key": name.stem, **yaml.safe_load(LAYOUT.text)})
    assert layout.energy_unit == "MeV"


def test_every_key_that_must_be_there_is_explained() -> None:
    needed = {name for name, field in Layout.model_fields.items() if field.is_required()}
    explained = PAGE.partition("What has to be there:")[2].partition("All other keys")[0]
    # The key is the file's name, and the description is for people.
    for name in needed - {"key", "description"}:
        assert f"`{name}`" in explained, name


def test_the_file_fits_no_layout_before_and_the_new_one_after(program: Path) -> None:
    path = program / file_of(LAYOUT)
    path.unlink(missing_ok=True)
    before = python(program, "main.py", "--inspect", "lab.root")
    path.write_text(LAYOUT.text)
    after = python(program, "main.py", "--inspect", "lab.root")
    assert "none of the known ones fits" in before
    assert "layout: student-lab\n" in after
    assert "fields found: score" in after


def test_a_run_reads_the_file_and_gives_the_masses_of_the_page(program: Path) -> None:
    for block in (LAYOUT, CONFIGURATION):
        (program / file_of(block)).write_text(block.text)
    dry = python(program, "main.py", "--config", "lab.yaml", "--dry-run")
    assert dry.endswith("OK\n")
    table = python(
        program, "-c", WITHOUT_FIGURES, "--config", "lab.yaml", "--run-dir", "output/lab"
    )
    assert "200 events" in table
    [expected] = [block.text for block in blocks(PAGE, "text")]
    assert python(program, "-c", "\n".join(block.text for block in SCRIPTS)) == expected
