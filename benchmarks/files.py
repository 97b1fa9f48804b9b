"""What a file costs beside its events: a thousand small ones, and one of 1,300 branches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import uproot

from benchmarks.measuring import Setting, Spread, divided, seconds_of, taking_turns
from benchmarks.results import Result, Row, at_most
from benchmarks.runs import FETCHING, PARSING, new_run, read_plainly
from benchmarks.samples import make_physlite, make_sample
from schemas.config import Parsing
from schemas.releases import load_layout
from services.catalogs.local import list_files
from services.storage.events import open_events

SMALL_FILES = 1000
EVENTS_OF_SMALL = 500
EVENTS_OF_PHYSLITE = 20_000
PHYSLITE = "2024r-pp"
TYPES = ("Electrons", "Muons", "Jets", "Photons", "Taus")


def open_plainly(paths: Sequence[Path]) -> None:
    """Open files and find their tree, with uproot alone."""
    for path in paths:
        with uproot.open(path) as file:
            assert file["Events"].num_entries == EVENTS_OF_SMALL


def small_files(setting: Setting) -> Result:
    """Return what a small file costs beside opening it."""
    n_files = setting.size(SMALL_FILES)
    n_events = n_files * EVENTS_OF_SMALL
    paths = make_sample(setting.samples, n_events, n_files)
    opening, reading, ours = [], [], []
    for _ in range(max(1, setting.repeat // 2)):
        opening.append(seconds_of(lambda: open_plainly(paths), setting.clock))
        reading.append(seconds_of(lambda: read_plainly(paths), setting.clock))
        run = new_run(paths, setting.new_folder(), 1)
        ours.append(sum(run.seconds(setting.clock, (FETCHING, PARSING)).values()))

    def each_ms(above: Sequence[float], below: Sequence[float]) -> Spread:
        pairs = zip(above, below, strict=True)
        return Spread.of([1e3 * (one - other) / n_files for one, other in pairs])

    what = f"{n_files:,} files of {EVENTS_OF_SMALL} events, each"
    rows = (
        Row(
            f"{what}: listed and parsed, beside opening", each_ms(ours, opening), "ms", at_most(15)
        ),
        Row(f"{what}: plain uproot reading, beside opening", each_ms(reading, opening), "ms"),
    )
    return Result(rows, {"opening": opening, "reading": reading, "ours": ours})


def list_and_read(path: Path) -> None:
    """Find out what a file is, open it and read it in ranges, as fetching and parsing do."""
    n_bytes = Parsing.model_fields["chunk_yield_threshold_bytes"].default
    (listed,) = list_files({PHYSLITE: [str(path)]}, ())
    with open_events(listed.url, load_layout(PHYSLITE), (), TYPES) as file:
        for start, stop in file.ranges(n_bytes):
            file.read(start, stop)


def many_branches(setting: Setting) -> Result:
    """Return what opening and reading few of many branches costs against plain uproot."""
    path, names = make_physlite(setting.samples, setting.size(EVENTS_OF_PHYSLITE))
    taken = taking_turns(
        {
            "ours": lambda: list_and_read(path),
            "uproot": lambda: read_plainly([path], names),
        },
        setting.repeat,
        setting.clock,
    )
    row = Row(
        f"a file of 1,300 branches, {len(names)} needed: opening and reading, against uproot",
        Spread.of(divided(taken["ours"], taken["uproot"])),
        "times",
        at_most(1.2),
    )
    return Result((row,), {"seconds": taken})
