"""The examples of the pages, typed in one after the other, and the files of a run as described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from matplotlib import pyplot as plt

from docs import examples
from main import main
from services import plots
from tests.docs.pages import CHECKOUT, table_after, text_of


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the shipped configuration, as the pages ask for."""
    root = tmp_path_factory.mktemp("demo") / "output" / "demo"
    assert main(["--config", str(CHECKOUT / "config.yaml"), "--run-dir", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small merged run of two jobs."""
    folder = tmp_path_factory.mktemp("merged")
    blocks = {
        "run_metadata": {"barrier_wait_seconds": 0.0},
        "parsing_task_config": {
            "release_years": ["demo"],
            "demo_events": 2000,
            "chunk_input_bytes": 50_000,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 20, "parallel_processes": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(blocks))
    of_run = ["--run-dir", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        # The figures are those of the other run.
        patch.setattr(plots, "run", lambda *_: ())
        for index in ("2", "1"):
            job = ["--batch-job-index", index, "--total-batch-jobs", "2"]
            assert main(["--config", str(folder / "config.yaml"), *of_run, *job]) == 0
        assert main(["--merge-only", *of_run]) == 0
    return folder / "run"


@pytest.fixture
def folder(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, empty but for a run in output/demo."""
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "demo").symlink_to(demo)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


@pytest.mark.parametrize("page", ["README.md", "docs/library.md", "docs/run-directory.md"])
def test_examples_run_and_print_what_the_page_shows(folder: Path, page: str) -> None:
    n_examples = 0
    for example in examples.run(CHECKOUT / page):
        assert example.printed == example.said, example.source
        n_examples += 1
    assert n_examples == len(re.findall(r"^```python$", text_of(page), re.MULTILINE)) > 0
    assert folder == Path.cwd()


def test_the_page_of_the_library_ends_with_a_picture(folder: Path) -> None:
    [*_] = examples.run(CHECKOUT / "docs" / "library.md")
    picture = plt.imread(folder / "spectrum.png")
    shown = plt.imread(CHECKOUT / "docs" / "figures" / "library.png")
    assert picture.shape == shown.shape
    # Something is drawn on it.
    assert picture.std() > 0.05


def test_an_example_that_prints_something_else_is_noticed(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    [example] = examples.run(page)
    assert (example.said, example.printed) == ("3\n", "2\n")
    assert "```text\n2\n```" in examples.with_outputs(page)


# The files of a run


def described() -> list[str]:
    """Return what the page says that there is, as written: with names in braces."""
    rows = table_after(text_of("docs/run-directory.md"), "## All files")
    return [row[0].strip("`") for row in rows]


def matches(name: str, pattern: str) -> bool:
    """Return whether a file is of a kind."""
    parts = re.split(r"\{\w+\}", pattern)
    return re.fullmatch("[^/]+".join(map(re.escape, parts)), name) is not None


def files_of(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["demo", "merged"])
def test_every_file_of_a_run_is_described(request: pytest.FixtureRequest, kind: str) -> None:
    for name in files_of(request.getfixturevalue(kind)):
        assert any(matches(name, pattern) for pattern in described()), name


def test_every_file_that_is_described_is_in_a_run(demo: Path, merged: Path) -> None:
    found = {*files_of(demo), *files_of(merged)}
    for pattern in described():
        assert any(matches(name, pattern) for name in found), pattern


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("im_arrays/a/2e/e0.npy", "im_arrays/{chunk}/{fs}/{combination}.npy", True),
        ("im_arrays/a/e0.npy", "im_arrays/{chunk}/{fs}/{combination}.npy", False),
        ("logs/state.json", "logs/state.json", True),
        ("logs/state_json", "logs/state.json", False),
    ],
)
def test_names_in_braces_stand_for_one_part_of_a_path(
    name: str, pattern: str, *, expected: bool
) -> None:
    assert matches(name, pattern) is expected


def test_every_json_field_is_described(demo: Path, merged: Path) -> None:
    words = set(re.findall(r"`(\w+)`", text_of("docs/run-directory.md")))
    for name in files_of(merged):
        if name.endswith(".json"):
            assert set(json.loads((merged / name).read_text())) <= words, name
    assert set(json.loads((demo / "logs" / "state.json").read_text())) <= words


def test_the_numbers_of_the_pictures_are_those_of_the_demo_release(demo: Path) -> None:
    plan = json.loads((demo / "im_arrays_processed" / "plan.json").read_text())
    page = text_of("docs/post-processing.md")
    for name, sentence in (
        (
            "2e_0m_0j_0g/e0e1",
            "are {:,} masses where the orange ones beside it lead to expect {:,.0f}",
        ),
        ("0e_0m_0j_2g/g0g1", "{:,} where {:,.0f} are expected"),
    ):
        [test] = plan["channels"]["data"][name]["resonances"]
        assert sentence.format(test["entries"], test["background"]) in page


def test_the_readme_shows_the_folders_of_a_run(demo: Path) -> None:
    shown = set(re.findall(r"^    ([\w.]+)/? {2,}", text_of("README.md"), re.MULTILINE))
    assert shown == {path.name for path in demo.iterdir()}
