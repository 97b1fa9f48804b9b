"""What the pages say is so: links lead somewhere, commands exist, tables are true."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import __main__ as benchmarks
from docs import generate
from main import parse_arguments, refuse_wrong_combinations
from schemas import config, releases
from schemas.config import OVERLAP_PRESETS
from schemas.particles import PARTICLES, MassSource
from services.pipeline import STAGES
from tests.docs.pages import (
    CHECKOUT,
    NAMES,
    anchors,
    blocks,
    code,
    links,
    prose,
    table_after,
    text_of,
)
from tests.test_architecture import MAY_IMPORT

# Options of programs that are not ours.
FOREIGN_OPTIONS = {"--user", "--platform"}
PAGE_OF_BENCHMARKS = "docs/performance.md"


# Links


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    for link in links(text_of(page)):
        if re.match(r"https?://", link):
            assert link.startswith("https://")
            continue
        path, _, anchor = link.partition("#")
        target = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_linked_in_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(text_of("README.md"))}
    assert {name for name in NAMES if name != "README.md"} <= linked


def test_every_picture_is_shown() -> None:
    shown = {
        ((CHECKOUT / page).parent / link).resolve()
        for page in NAMES
        for link in links(text_of(page))
    }
    assert set((CHECKOUT / "docs" / "figures").glob("*")) <= shown


def test_pictures_are_small() -> None:
    for picture in (CHECKOUT / "docs" / "figures").glob("*"):
        assert picture.stat().st_size < 100_000, picture


# Commands


def options_of(parse: Callable[[list[str]], object]) -> frozenset[str]:
    """Return the options of a command line, as its help lists them."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        parse(["--help"])
    return frozenset(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", output.getvalue(), re.MULTILINE))


@cache
def our_options() -> frozenset[str]:
    """Return the options of the program."""
    return options_of(parse_arguments)


def options_for(page: str) -> frozenset[str]:
    """Return the options that a page may name: the benchmarks' only where those are explained."""
    if page == PAGE_OF_BENCHMARKS:
        return our_options() | options_of(benchmarks.parse_arguments)
    return our_options() | FOREIGN_OPTIONS


def words_of(line: str) -> list[str]:
    """Return the words of a line of shell, without comment."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def arguments_in(line: str) -> list[str] | None:
    """Return what a line gives to our program; None for any other line."""
    words = words_of(line)
    if words[:2] == ["make", "run"]:
        return arguments_of_make(words)
    if "main.py" in words and words[words.index("main.py") - 1].endswith("python"):
        return words[words.index("main.py") + 1 :]
    return None


def arguments_of_make(words: list[str]) -> list[str]:
    """Return what `make` hands on to the program that it starts."""
    return shlex.split("".join(w.removeprefix("ARGS=") for w in words if w.startswith("ARGS=")))


def commands(page: str) -> list[list[str]]:
    found = [arguments_in(line) for line in code(text_of(page))]
    return [arguments for arguments in found if arguments is not None]


def benchmark_commands(page: str) -> list[list[str]]:
    """Return what the lines of a page give to the benchmarks."""
    lines = [words_of(line) for line in code(text_of(page))]
    by_make = [arguments_of_make(words) for words in lines if words[:2] == ["make", "bench"]]
    return by_make + [words[3:] for words in lines if words[:3] == ["python", "-m", "benchmarks"]]


@pytest.mark.parametrize("page", [name for name in NAMES if commands(name)])
def test_the_program_takes_every_command_that_is_shown(page: str) -> None:
    for arguments in commands(page):
        if arguments != ["--help"]:
            refuse_wrong_combinations(parse_arguments(arguments))


def test_commands_are_found_in_pages() -> None:
    assert ["--run-dir", "DIR"] in commands("README.md")
    assert ["--config", "config.yaml", "--log-level", "WARNING"] in commands("README.md")
    assert ["--config", "docs/figures.yaml", "--run-dir", "output/figures"] in commands(
        "docs/post-processing.md"
    )


@pytest.mark.parametrize("page", [name for name in NAMES if benchmark_commands(name)])
def test_the_benchmarks_take_every_command_that_is_shown(page: str) -> None:
    for arguments in benchmark_commands(page):
        benchmarks.parse_arguments(arguments)


def test_commands_of_benchmarks_are_found() -> None:
    assert ["chain", "memory"] in benchmark_commands(PAGE_OF_BENCHMARKS)
    assert [] in benchmark_commands("README.md")


@pytest.mark.parametrize("page", NAMES)
def test_options_in_the_text_exist(page: str) -> None:
    for words in re.findall(r"`(--[^`\n]+)`", prose(text_of(page))):
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert option in options_for(page), words


@pytest.mark.parametrize("page", NAMES)
def test_targets_and_variables_of_make_exist(page: str) -> None:
    makefile = text_of("Makefile")
    for line in code(text_of(page)):
        words = words_of(line)
        if words[:1] != ["make"]:
            continue
        for word in words[1:]:
            name, is_variable, _ = word.partition("=")
            pattern = rf"^{name} \?=" if is_variable else rf"^{re.escape(word)}:"
            assert re.search(pattern, makefile, re.MULTILINE), line


@pytest.mark.parametrize("page", NAMES)
def test_what_is_said_of_submit_exists(page: str) -> None:
    script = text_of("submit.sh")
    for line in code(text_of(page)):
        words = words_of(line)
        if "submit.sh" not in words or "bash" not in words:
            continue
        for word in words[: words.index("bash")]:
            assert f"{word.partition('=')[0]}=${{" in script, line
        for word in words[words.index("submit.sh") + 1 :]:
            assert not word.startswith("--") or word in script, line


@pytest.mark.parametrize("page", NAMES)
def test_scripts_that_are_run_exist(page: str) -> None:
    for line in code(text_of(page)):
        for script in re.findall(r"python ((?:docs|benchmarks)/\S+\.py)", line):
            assert (CHECKOUT / script).is_file(), line


def test_the_readme_has_every_option_and_no_other() -> None:
    rows = table_after(text_of("README.md"), "## Options")
    listed = [re.match(r"`(--[a-z-]+)", row[0]) for row in rows]
    assert sorted(match[1] for match in listed if match) == sorted(our_options())


def test_the_readme_names_the_exit_codes() -> None:
    said = re.search(r"^Exit codes: (.*?)\n\n", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert said
    sources = "".join(path.read_text(encoding="utf-8") for path in program())
    names = "FAILURE|USAGE_ERROR|INTERRUPTED|OUTPUT_CUT_OFF|TERMINATED"
    codes = re.findall(rf"^(?:{names}) = (\d+)$", sources, re.MULTILINE)
    assert len(codes) == 5
    assert sorted(re.findall(r"\b(\d+) ", said[1])) == sorted([*codes, "0"])


def test_the_readme_names_the_layouts() -> None:
    rows = table_after(text_of("README.md"), "## Real data")
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row[0])}
    assert named == set(releases.layout_names())


# Messages


@cache
def sentences() -> tuple[str, ...]:
    """Return the texts in the sources; a line break stands for what is filled in."""
    of_program = [text for path in program() for text in literals(path)]
    return (text_of("Makefile"), text_of("submit.sh"), *of_program)


def program() -> list[Path]:
    """Return the sources of the program."""
    folders = (CHECKOUT / "schemas", CHECKOUT / "services")
    return [CHECKOUT / "main.py", *(path for folder in folders for path in folder.rglob("*.py"))]


def literals(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "\n" for v in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


MESSAGES = [
    row[0].strip("`") for row in table_after(text_of("README.md"), "## When something goes wrong")
]


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_that_are_explained_are_those_of_the_program(message: str) -> None:
    pattern = re.compile(".*?".join(map(re.escape, message.split("…"))), re.DOTALL)
    assert any(pattern.search(sentence) for sentence in sentences())


def test_a_message_that_no_longer_exists_would_be_noticed() -> None:
    assert len(MESSAGES) > 20
    assert not any("this is said nowhere" in sentence for sentence in sentences())


# Configuration

PAGE_OF_LAYOUTS = "docs/adding-a-layout.md"


@pytest.mark.parametrize(
    "page", [n for n in NAMES if n != PAGE_OF_LAYOUTS and blocks(text_of(n), "yaml")]
)
def test_snippets_of_configuration_are_valid(page: str) -> None:
    for block in blocks(text_of(page), "yaml"):
        data: dict[str, Any] = yaml.safe_load(block.text)
        config.from_dict(data, where=f"{page}, line {block.line}", folder=CHECKOUT)


def test_the_readme_shows_configurations() -> None:
    assert len(blocks(text_of("README.md"), "yaml")) >= 3


@pytest.mark.parametrize("page", generate.pages())
def test_what_is_made_of_the_sources_is_up_to_date(page: str) -> None:
    """`make docs` writes it."""
    assert generate.generated(page) == text_of(f"docs/{page}")


def test_the_reference_has_every_key_of_the_configuration() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", text_of("docs/configuration.md"), re.MULTILINE)
    pending, seen = [config.Config], set()
    while pending:
        block = pending.pop()
        seen.add(block)
        for key, field in block.model_fields.items():
            inner = config.blocks_in(field.annotation)
            assert block is config.Config or key in rows, f"{block.__name__}.{key}"
            pending += [one for one in inner if one not in seen]
    assert len(seen) > 12


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("bin_width_gev", ("GeV", "`[10.0]`", "histogram_creation")),
        ("min_events_per_fs", ("", "`100`", "mass_calculating")),
        ("threads", ("", "`8`", "—")),
        ("chunk_input_bytes", ("bytes", "`500000000`", "fixed")),
        ("particle_counts", ("", "see config.yaml", "parsing")),
        ("run_name", ("", "`atlas_opendata`", "—")),
    ],
)
def test_the_reference_says_unit_default_and_what_is_redone(
    key: str, said: tuple[str, str, str]
) -> None:
    [row] = re.findall(
        rf"^\| `{key}` \|.*\| [\w—]+ \|$", text_of("docs/configuration.md"), re.MULTILINE
    )
    _, _, unit, default, _, redoes = [c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]]
    assert (unit, default, redoes) == said


def test_keys_in_gev_have_that_unit() -> None:
    for line in text_of("docs/configuration.md").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 5 and re.search(r"\bin GeV\b", cells[4]) and "[Kinematic" not in cells[1]:
            assert cells[2] == "GeV", line


# Definitions


def test_the_masses_are_those_of_the_particle_table() -> None:
    rows = table_after(text_of("docs/physics.md"), "## Objects")
    assert [(row[0], row[1]) for row in rows] == [(p.name, p.letter) for p in PARTICLES]
    for row, particle in zip(rows, PARTICLES, strict=True):
        if particle.name != "BJets":
            assert re.findall(r"\d[\d.]*", row[2])[-1] == f"{particle.mass_gev:.12g}".rstrip(".")
            assert ("stored" in row[2]) is (particle.mass_source is MassSource.STORED)


def test_the_presets_of_overlap_removal_are_those_of_the_program() -> None:
    rows = table_after(text_of("docs/physics.md"), "### Overlap removal")
    said = {row[0].strip("`"): row[1] for row in rows}
    for name, rules in OVERLAP_PRESETS.items():
        assert said.pop(name) == ("; ".join(map(str, rules)) or "no rules")
    assert not said


# Architecture


@pytest.mark.parametrize("page", NAMES)
def test_modules_that_are_named_exist(page: str) -> None:
    pattern = r"\b(?:services|schemas|tests|docs|benchmarks)/[\w/-]+\.(?:py|yaml|json|md|txt)\b"
    invented = {"schemas/releases/student-lab.yaml"}
    for name in set(re.findall(pattern, text_of(page))) - invented:
        assert (CHECKOUT / name).exists(), name


def test_the_diagram_has_only_arrows_that_the_house_allows() -> None:
    [diagram] = blocks(text_of("docs/architecture.md"), "mermaid")
    rooms = {"library": "bumphunt", "stages": "stage"}
    arrows = re.findall(r"^ {4}(\w+) --> (\w+)$", diagram.text, re.MULTILINE)
    assert len(arrows) >= 9
    for start, end in arrows:
        assert rooms.get(end, end) in MAY_IMPORT[rooms.get(start, start)], (start, end)
    assert {rooms.get(name, name) for arrow in arrows for name in arrow} == set(MAY_IMPORT)


def test_the_diagram_has_the_stages_in_their_order() -> None:
    [diagram] = blocks(text_of("docs/architecture.md"), "mermaid")
    modules = [stage.run.__module__.rpartition(".")[2] for stage in STAGES]
    assert " -.-> ".join(modules) in diagram.text
