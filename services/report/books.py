"""The books of a run: what went in must have come out, or be told where it went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from schemas.config import HistogramCreation
from schemas.labels import Channel
from schemas.plan import Plan
from schemas.reports import CutRow, HistogramReport
from schemas.statistics import StageStatistics


@dataclass(frozen=True)
class Part:
    """One thing that became of what went in; `kind` says how it is coloured."""

    name: str
    count: int
    kind: str


@dataclass(frozen=True)
class Balance:
    """One line of the books: `total`, counted on one side, and its parts, counted on the other."""

    what: str
    total: int
    of: str
    parts: tuple[Part, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is missing, and nothing came from nowhere."""
        return self.total == sum(part.count for part in self.parts)


def of_files(planned: int, parsed: StageStatistics, *, is_complete: bool) -> Balance:
    """Return what became of the planned files."""
    read = parsed.taken.get("files", 0)
    failed, partial = (parsed.lost.get(unit, 0) for unit in ("files", "partial files"))
    parts = [
        Part("read", read - failed - partial, "kept"),
        Part("read in part", partial, "warn"),
        Part("failed", failed, "lost"),
    ]
    if not is_complete:
        # Of a run that was begun with other files, more may have been read.
        planned = max(planned, read)
        parts.append(Part("not read yet", planned - read, "open"))
    return Balance("Files", planned, "planned", tuple(parts))


def of_events(parsed: StageStatistics) -> Balance:
    """Return which cuts the events of all sources were rejected by."""
    removed: dict[str, int] = {}
    for row in chain.from_iterable(parsed.cut_flows.values()):
        if row.of == "events":
            removed[row.step] = removed.get(row.step, 0) + row.removed
    cuts = (Part(step, count, "cut") for step, count in removed.items())
    kept = Part("kept", parsed.made.get("events", 0), "kept")
    return Balance("Events", parsed.taken.get("events", 0), "read", (kept, *cuts))


def of_final_states(events: int, computed: StageStatistics, plan: Plan) -> Balance:
    """Return which events have masses: in every channel of a final state there is each once."""
    populations = {
        (sample, Channel.parse(name).final_state): decided.population
        for sample, channels in plan.channels.items()
        for name, decided in channels.items()
    }
    lost = (
        Part(unit.removeprefix("events "), count, "cut") for unit, count in computed.lost.items()
    )
    used = Part("with masses", sum(populations.values()), "kept")
    return Balance("Final states", events, "events", (used, *lost))


def of_masses(computed: StageStatistics, processed: StageStatistics) -> Balance:
    """Return which class the masses are of."""
    kinds = {"below resonances": "floor", "in vetoes": "veto", "turn-on": "turn_on"}
    parts = (
        Part("main", processed.made.get("main", 0), "main"),
        Part("outliers", processed.made.get("outliers", 0), "tail"),
        *(Part(unit, count, kinds.get(unit, "cut")) for unit, count in processed.lost.items()),
    )
    return Balance("Masses", computed.made.get("masses", 0), "computed", parts)


def of_histograms(
    processed: StageStatistics, written: Sequence[HistogramReport], config: HistogramCreation
) -> Iterator[Balance]:
    """Yield, per bin width, where the masses are, and how many histograms BumpNet is given."""
    masses = processed.made.get("main", 0)
    if not config.exclude_outliers:
        masses += processed.made.get("outliers", 0)
    overflow = sum(report.overflow for report in written)
    for label in dict.fromkeys(chain.from_iterable(report.entries for report in written)):
        filled = sum(report.entries.get(label, 0) for report in written)
        what = f"Histograms, {_width(label)}"
        parts = (Part("filled", filled, "main"), Part("overflow", overflow, "cut"))
        yield Balance(what, masses, "masses", parts)
    if config.use_bumpnet_naming:
        accepted = sum(report.roi_copies for report in written)
        rejected = sum(len(report.rejected) for report in written)
        parts = (Part("accepted", accepted, "kept"), Part("rejected", rejected, "cut"))
        n_histograms = sum(report.histograms for report in written)
        yield Balance("For BumpNet", n_histograms, "histograms", parts)


def _width(label: str) -> str:
    try:
        return f"{float(label):g} GeV"
    except ValueError:
        return "by resolution"


def rows_that_cut(flows: Mapping[str, Sequence[CutRow]]) -> dict[str, tuple[CutRow, ...]]:
    """Return the rows of each cut flow that are of events, or that removed objects."""
    return {
        source: tuple(row for row in flow if row.removed or row.of == "events")
        for source, flow in flows.items()
    }
