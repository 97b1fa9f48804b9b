"""The house stands as it was drawn: who may import whom, read from the sources."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from schemas.config import TASK_NAMES
from schemas.state import State
from services.pipeline import STAGES

CHECKOUT = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [
        CHECKOUT / "main.py",
        *sorted(CHECKOUT.glob("bumphunt/*.py")),
        *sorted(CHECKOUT.glob("schemas/**/*.py")),
        *sorted(CHECKOUT.glob("services/**/*.py")),
    ]
}
STAGE_MODULES = tuple(dict.fromkeys(stage.run.__module__ for stage in STAGES))
STAGE_NAMES = frozenset(stage.name for stage in STAGES)

# The rooms, and for each those that it may import from.
MAY_IMPORT = {
    "schemas": {"schemas"},
    "calculations": {"calculations", "schemas"},
    "storage": {"storage", "calculations", "schemas"},
    "catalogs": {"catalogs", "storage", "calculations", "schemas"},
    "shared": {"shared", "catalogs", "storage", "calculations", "schemas"},
    "stage": {"shared", "catalogs", "storage", "calculations", "schemas"},
    "pipeline": {"stage", "shared", "catalogs", "storage", "calculations", "schemas"},
    "main": {"pipeline", "shared", "schemas"},
    "bumphunt": {"bumphunt", "pipeline", "shared", "storage", "calculations", "schemas"},
}
# Calculations are arrays in, arrays out.
OUTSIDE_WORLD = frozenset(
    [
        "asyncio",
        "builtins",
        "glob",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "requests",
        "shutil",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "tqdm",
        "uproot",
        "urllib",
        "yaml",
    ]
)


def room_of(module: str) -> str:
    """Return the room of one of our modules."""
    if module.partition(".")[0] in ("main", "bumphunt", "schemas"):
        return module.partition(".")[0]
    if module in STAGE_MODULES:
        return "stage"
    _, _, inner = module.partition(".")
    room, _, _ = inner.partition(".")
    return room if room in ("calculations", "storage", "catalogs", "pipeline") else "shared"


def imported(source: str, package: str = "services") -> set[str]:
    """Return what a source imports, wherever the statement stands: modules and their members."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.add("importlib.import_module")
    return found


def our_modules(names: Iterable[str]) -> set[str]:
    """Return those names that are modules of ours; packages only where they have code."""
    return {name for name in names if name in SOURCES and name not in ("services", "schemas")}


def wrong_imports(module: str, source: str) -> set[str]:
    """Return the modules of ours that a module must not import."""
    room = room_of(module)
    package = module.rpartition(".")[0]
    return {
        other
        for other in our_modules(imported(source, package))
        if room_of(other) not in MAY_IMPORT[room]
    }


def prints(source: str) -> bool:
    """Return whether a source calls print."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        for node in ast.walk(ast.parse(source))
    )


def orders_stages(source: str) -> bool:
    """Return whether a source has a list, tuple, set or dict that names three stages or more."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            words = {
                part.value
                for part in ast.walk(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
            if len(words & STAGE_NAMES) >= 3:
                return True
    return False


def touches_outside_world(source: str) -> set[str]:
    """Return the modules for paths, logs and files that a source imports, and a call of open."""
    found = {name.partition(".")[0] for name in imported(source)} & OUTSIDE_WORLD
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return found | {"open" for call in calls if isinstance(call, ast.Name) and call.id == "open"}


def text_of(module: str) -> str:
    return SOURCES[module].read_text(encoding="utf-8")


# The house


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_one_way(module: str) -> None:
    assert wrong_imports(module, text_of(module)) == set()


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) == "calculations"])
def test_calculations_touch_no_path_no_log_and_no_file(module: str) -> None:
    assert touches_outside_world(text_of(module)) == set()


@pytest.mark.parametrize("module", [name for name in SOURCES if name != "main"])
def test_only_the_command_line_prints(module: str) -> None:
    assert not prints(text_of(module))


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) != "schemas"])
def test_the_order_of_the_stages_is_written_in_the_pipeline_alone(module: str) -> None:
    assert orders_stages(text_of(module)) is (module == "services.pipeline")


def test_the_words_of_the_command_line_follow_the_order_of_the_stages() -> None:
    assert tuple(dict.fromkeys(stage.task for stage in STAGES)) == TASK_NAMES


def test_the_states_follow_the_order_of_the_stages() -> None:
    of_stages = [stage.state for stage in STAGES]
    assert [state for state in State if state in of_stages] == of_stages


def test_every_stage_is_a_module_of_its_own() -> None:
    assert STAGE_MODULES == (
        "services.fetch",
        "services.parse",
        "services.masses",
        "services.post_processing",
        "services.histograms",
    )


def test_all_rooms_are_found() -> None:
    assert {room_of(module) for module in SOURCES} == set(MAY_IMPORT)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    top = [
        node
        for node in ast.parse(text_of("main")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = set().union(*(imported(ast.unparse(node)) for node in top))
    assert not {name for name in names if name.startswith("services")}


# The guard itself: houses that do not stand


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("schemas.labels", "from services.storage import reports", "services.storage.reports"),
        ("schemas.labels", "import services.pipeline", "services.pipeline"),
        ("services.parse", "from services import masses", "services.masses"),
        ("services.parse", "def f():\n    from services.masses import run", "services.masses"),
        ("services.parse", "from . import masses", "services.masses"),
        ("services.parse", "from services.pipeline import STAGES", "services.pipeline"),
        ("services.workers", "from services.parse import run", "services.parse"),
        ("services.storage.arrays", "from services import run_directory", "services.run_directory"),
        ("services.storage.arrays", "import services.catalogs.demo", "services.catalogs.demo"),
        (
            "services.calculations.spectra",
            "from services.storage.arrays import read_array",
            "services.storage.arrays",
        ),
        ("services.catalogs.local", "from services import fetch", "services.fetch"),
        ("services.pipeline", "import main", "main"),
        ("services.pipeline", "import bumphunt", "bumphunt"),
        ("bumphunt.runs", "from services.masses import run", "services.masses"),
        ("bumphunt.runs", "import main", "main"),
        ("main", "import bumphunt", "bumphunt"),
        ("main", "from services import parse", "services.parse"),
        ("main", "from services.storage import reports", "services.storage.reports"),
    ],
    ids=lambda value: value.replace("\n", " ") if isinstance(value, str) else None,
)
def test_an_arrow_that_points_back_is_seen(module: str, source: str, wrong: str) -> None:
    assert wrong in wrong_imports(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("services.parse", "from services.storage.events import open_events"),
        ("services.parse", "from schemas.config import Config\nimport numpy"),
        ("services.pipeline", "from services import fetch, parse"),
        ("services.calculations.spectra", "from services.calculations.objects import Array"),
        ("main", "from services import pipeline, run_directory"),
        ("bumphunt.runs", "from services.storage.arrays import open_arrays"),
    ],
)
def test_an_arrow_that_points_on_is_none_of_these(module: str, source: str) -> None:
    assert wrong_imports(module, source) == set()


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import logging", {"logging"}),
        ("import os.path as p", {"os"}),
        ("from pathlib import Path", {"pathlib"}),
        ("def f():\n    import uproot", {"uproot"}),
        ("text = open('a').read()", {"open"}),
        ("import numpy as np\nimport math", set()),
        ("def opened(): ...\nopened()", set()),
    ],
)
def test_the_outside_world_is_seen(source: str, seen: set[str]) -> None:
    assert touches_outside_world(source) == seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [("print('x')", True), ("def f():\n    print(1)", True), ("printer(1)", False)],
)
def test_a_print_is_seen(source: str, *, seen: bool) -> None:
    assert prints(source) is seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("order = ['parsing', 'mass_calculating', 'post_processing']", True),
        ("order = (('parsing', 1), ('mass_calculating', 2), ('histogram_creation', 3))", True),
        ("of = {'fetching': 1, 'parsing': 2, 'post_processing': 3}", True),
        ("one = ['parsing', 'masses']", False),
        ("first = 'parsing'\nsecond = 'mass_calculating'\nthird = 'post_processing'", False),
    ],
)
def test_a_second_order_of_the_stages_is_seen(source: str, *, seen: bool) -> None:
    assert orders_stages(source) is seen
