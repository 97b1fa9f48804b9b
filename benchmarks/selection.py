"""Cost of the selection against reading the columns, with and without overlap removal."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.measuring import Setting, Spread, divided, taking_turns
from benchmarks.results import Result, Row, at_most
from benchmarks.samples import make_sample
from schemas import config as configuration
from schemas.inputs import Sample
from schemas.releases import load_layout
from services.calculations.objects import Events
from services.calculations.selection import Selection, select
from services.selections import selection_of
from services.storage.events import open_events

EVENTS = 400_000
LAYOUT = "cms-nanoaod"
TYPES = ("Electrons", "Muons", "Jets", "Photons")
# Of reading, at most so much.
AIMS = {"none": 1 / 3, "cms": 1.0}


def read(paths: list[Path]) -> list[Events]:
    """Read the files as the pipeline does."""
    parts = []
    for path in paths:
        with open_events(str(path), load_layout(LAYOUT), (), TYPES) as file:
            parts.append(file.read(0, file.n_events))
    return parts


def selection_with(overlap_removal: str) -> Selection:
    """Return the shipped cuts, with a preset of overlap removal."""
    data = {"parsing_task_config": {"release_years": ["demo"], "overlap_removal": overlap_removal}}
    config = configuration.from_dict(data, where="benchmark", folder=Path())
    return selection_of(config.parsing_task_config, "demo", LAYOUT, Sample.DATA).selection


def select_all(parts: list[Events], selection: Selection) -> None:
    """Select of every file."""
    for events in parts:
        select(events, selection)


def measure(setting: Setting) -> Result:
    """Return what selecting costs of what reading does."""
    paths = make_sample(setting.samples, setting.size(EVENTS))
    parts = read(paths)
    works = {name: partial(select_all, parts, selection_with(name)) for name in AIMS}
    taken = taking_turns({"reading": partial(read, paths), **works}, setting.repeat, setting.clock)
    rows = tuple(
        Row(
            f"selection, overlap removal {name}, against reading",
            Spread.of(divided(taken[name], taken["reading"])),
            "times",
            at_most(aim),
        )
        for name, aim in AIMS.items()
    )
    return Result(rows, {"seconds": taken})
