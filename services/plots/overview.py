"""Figures of the data: events per source, cut flow, objects before and after, final states."""

from __future__ import annotations

import logging
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.inputs import Sample
from schemas.labels import Channel, FinalState
from schemas.particles import PARTICLES
from schemas.reports import Distribution, Distributions, ObjectDistributions
from services.calculations.distributions import ETA, MULTIPLICITY, PT_GEV, FixedAxis, dense
from services.calculations.objects import project_populations
from services.plots.contents import Contents, SourceContents
from services.plots.style import (
    BLUE,
    LIGHT_BLUE,
    OUTLINE,
    Named,
    corner_text,
    count_axis,
    finish,
    handles_of,
    name_rows,
    number_axis,
    panels,
    plural,
    text_beside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

N_FINAL_STATES = 25


def figures(contents: Contents) -> Iterator[Named]:
    """Yield the figures of what was read and selected so far."""
    if not contents.sources:
        log.info("plots: no events are drawn: no chunk has been parsed")
        return
    about = contents.about_all(contents.parsed)
    so_far = ", so far" if contents.parsed.absent else ""
    yield Named("events", "", draw_events(contents.sources, about, so_far))
    yield Named("cut_flow", "", draw_cut_flows(contents.sources, about, so_far))
    for sample, of_sources in contents.parsed.sources().items():
        about = contents.about(sample, of_sources)
        yield from _object_figures(contents, sample, about)
        yield from _state_figures(contents, sample, about)


def _object_figures(contents: Contents, sample: Sample, about: str) -> Iterator[Named]:
    total = Distributions()
    for source in contents.sources.values():
        if source.sample is sample:
            total += source.distributions
    types = [
        particle.name
        for particle in PARTICLES
        if _n_objects(total.before, particle.name) or _n_objects(total.after, particle.name)
    ]
    if not types:
        log.info("plots: no objects of %s are drawn: the reports of parsing tell of none", sample)
        return
    for quantity in QUANTITIES:
        yield Named(quantity.name, sample.suffix, draw_distributions(quantity, total, types, about))


def _state_figures(contents: Contents, sample: Sample, about: str) -> Iterator[Named]:
    masses = contents.config.mass_calculation_task_config
    populations = project_populations(contents.populations(sample), masses.final_state_objects)
    n_combinations = None
    if contents.plan is not None and contents.has_masses_of_parsed:
        names = contents.plan.channels.get(sample, {})
        n_combinations = Counter(Channel.parse(name).final_state for name in names)
    if populations:
        figure = draw_final_states(populations, n_combinations, about)
        yield Named("final_states", sample.suffix, figure)
    else:
        log.info("plots: no final state of %s is drawn: it has no events", sample)


def draw_events(sources: Mapping[str, SourceContents], about: str, so_far: str = "") -> Figure:
    """Return bars of the events read and kept of each source."""
    figure, (axes,) = panels(1, 1, (12.0, 0.4 + 0.6 * len(sources)))
    for row, source in enumerate(sources.values()):
        bar = {"height": 0.66, **OUTLINE}
        axes.barh(row, source.events_read, facecolor="white", label="events read", **bar)
        axes.barh(
            row,
            source.events_kept,
            facecolor=LIGHT_BLUE,
            hatch="////",
            label="events kept",
            **bar,
        )
        share = source.events_kept / source.events_read if source.events_read else 0.0
        text_beside(
            axes,
            source.events_read,
            row,
            f"{source.events_read:,} in {plural(source.files, 'file')}, "
            f"{source.events_kept:,} kept ({share:.1%})",
        )
    name_rows(axes, sources)
    most = max(source.events_read for source in sources.values())
    axes.set_xlim(0, 1.8 * max(most, 1))
    number_axis(axes.xaxis)
    axes.set_xlabel("events")
    n_read = sum(source.events_read for source in sources.values())
    heading = f"Events: {n_read:,} of {plural(len(sources), 'source')}{so_far}"
    finish(figure, heading, about, handles_of([axes]))
    return figure


class Cell(NamedTuple):
    """A number in the table of a cut flow, and which share of what was read it is."""

    row: int
    column: int
    removed: int
    share: float


def cut_flow_cells(source: SourceContents) -> tuple[list[str], list[str], list[Cell]]:
    """Return the steps, what they cut on, and how much each removed of what was read.

    The first row is what was read, the last what was kept.
    """
    columns = ["events", *(p.name for p in PARTICLES)]
    starts = {"events": source.events_read}
    left = dict(starts)
    steps = list(dict.fromkeys(row.step for row in source.cut_flow))
    for row in source.cut_flow:
        starts.setdefault(row.of, row.before)
        left[row.of] = row.after
    columns = [name for name in columns if starts.get(name) or name == "events"]
    cells = []
    for column, name in enumerate(columns):
        cells.append(Cell(0, column, starts[name], 0.0))
        cells += [
            Cell(
                1 + steps.index(row.step), column, -row.removed, row.removed / max(starts[name], 1)
            )
            for row in source.cut_flow
            if row.of == name
        ]
        cells.append(Cell(1 + len(steps), column, left[name], 0.0))
    return ["read", *steps, "kept"], columns, cells


def draw_cut_flows(sources: Mapping[str, SourceContents], about: str, so_far: str = "") -> Figure:
    """Return a table per source: steps against types, with what each step removed."""
    tables = {key: cut_flow_cells(source) for key, source in sources.items()}
    n_rows = max(len(rows) for rows, *_ in tables.values())
    figure, all_axes = panels(
        len(tables), 2, (12.0 if len(tables) == 1 else 10.0, 1.0 + 0.42 * n_rows)
    )
    for axes, (key, (rows, columns, cells)) in zip(all_axes, tables.items(), strict=True):
        _draw_table(axes, rows, columns, cells)
        axes.set_title(key)
    caption = (
        "Removed at each step; the darker, the larger the share of what was read. Objects in "
        "rejected events go with these."
    )
    finish(figure, f"Cut flow{so_far}", about, caption=caption)
    return figure


# Shares below are not written; white letters are read on shades above.
_SMALLEST_SHARE, _DARK = 0.0005, 0.55


def _draw_table(
    axes: Axes, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Cell]
) -> None:
    shades = np.zeros((len(rows), len(columns)))
    for cell in cells:
        shades[cell.row, cell.column] = cell.share
    axes.imshow(shades, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    for cell in cells:
        is_end = cell.row in (0, len(rows) - 1)
        text = f"{cell.removed:,}".replace("-", "−")
        if cell.share >= _SMALLEST_SHARE:
            text += f"\n{cell.share:.1%}"
        axes.text(
            cell.column,
            cell.row,
            text,
            horizontalalignment="center",
            verticalalignment="center",
            fontsize="small",
            fontweight="bold" if is_end else "normal",
            color="white" if cell.share > _DARK else "black",
        )
    for edge in (0.5, len(rows) - 1.5):
        axes.axhline(edge, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [textwrap.fill(name, 44) for name in rows], fontsize="small")
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)


class Quantity(NamedTuple):
    """One quantity of the objects, and how its axes are labelled."""

    name: str
    of: Callable[[ObjectDistributions], Distribution]
    axis: FixedAxis
    heading: str
    x_label: str
    y_label: str
    is_log: bool
    unit: str = ""


QUANTITIES = (
    Quantity(
        "multiplicities",
        lambda of_type: of_type.multiplicity,
        MULTIPLICITY,
        "Multiplicities",
        "objects in an event",
        "events",
        is_log=True,
    ),
    Quantity(
        "pt",
        lambda of_type: of_type.pt,
        PT_GEV,
        "Transverse momenta",
        "$p_\\mathrm{T}$ [GeV]",
        "objects / 5 GeV",
        is_log=True,
        unit=" GeV",
    ),
    Quantity(
        "eta",
        lambda of_type: of_type.eta,
        ETA,
        "Pseudorapidities",
        "$\\eta$",
        "objects / 0.25",
        is_log=False,
    ),
)


def _n_objects(types: Mapping[str, ObjectDistributions], name: str) -> int:
    return types.get(name, ObjectDistributions()).pt.total


def draw_distributions(
    quantity: Quantity, of_sample: Distributions, types: Sequence[str], about: str
) -> Figure:
    """Return one quantity of each type, as read and after the selection."""
    figure, all_axes = panels(len(types), 3, (5.0, 3.6))
    for axes, name in zip(all_axes, types, strict=True):
        none = ObjectDistributions()
        before = quantity.of(of_sample.before.get(name, none))
        after = quantity.of(of_sample.after.get(name, none))
        _draw_distribution(axes, quantity, before, after)
        axes.set_title(name)
    finish(figure, f"{quantity.heading} of all objects", about, handles_of(all_axes))
    return figure


def _draw_distribution(
    axes: Axes, quantity: Quantity, before: Distribution, after: Distribution
) -> None:
    axis = quantity.axis
    read, kept = dense(before, axis), dense(after, axis)
    edges = axis.edges - (0.5 if axis is MULTIPLICITY else 0.0)
    axes.stairs(
        kept,
        edges,
        fill=True,
        facecolor=LIGHT_BLUE,
        edgecolor=BLUE,
        hatch="////",
        linewidth=0.0,
        label="after the selection",
    )
    if before.total:
        axes.stairs(read, edges, color="black", linewidth=1.4, label="as read")
    lines = [
        f"{words}: {_both(getattr(before, part), getattr(after, part), before.total)}"
        for part, words in (
            ("above", f"from {axis.edges[-1]:g}{quantity.unit}"),
            ("below", f"below {axis.edges[0]:g}{quantity.unit}"),
            ("not_a_number", "not a number"),
        )
        if getattr(before, part) or getattr(after, part)
    ]
    if lines:
        corner_text(axes, lines)
    highest = float(max(read.max(), kept.max(), 1))
    if quantity.is_log:
        axes.set_yscale("log")
        count_axis(axes.yaxis)
        axes.set_ylim(0.5, 20.0 * highest)
        filled = np.flatnonzero(read + kept)
        last = int(filled[-1]) + 1 if len(filled) else 1
        axes.set_xlim(edges[0], edges[max(last, 4)])
    else:
        number_axis(axes.yaxis)
        axes.set_ylim(0.0, (1.4 if lines else 1.1) * highest)
        axes.set_xlim(edges[0], edges[-1])
    if axis is MULTIPLICITY:
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel(quantity.x_label)
    axes.set_ylabel(quantity.y_label)


def _both(before: int, after: int, n_read: int) -> str:
    return f"{before:,} read, {after:,} kept" if n_read else f"{after:,} kept"


def draw_final_states(
    populations: Mapping[FinalState, int],
    n_combinations: Mapping[FinalState, int] | None,
    about: str,
) -> Figure:
    """Return bars of the events in the largest final states, with their numbers of combinations.

    Without `n_combinations` (no masses yet) the events alone are shown.
    """
    largest = sorted(populations, key=lambda state: (-populations[state], state))[:N_FINAL_STATES]
    figure, (axes,) = panels(1, 1, (11.0, 0.4 + 0.3 * len(largest)))
    for position, state in enumerate(largest):
        events, text = populations[state], f"{populations[state]:,}"
        is_used = n_combinations is None or n_combinations.get(state, 0) > 0
        if n_combinations is not None:
            number = n_combinations.get(state, 0)
            text += f" · {plural(number, 'combination')}"
        axes.barh(
            position,
            events,
            height=0.75,
            facecolor=BLUE if is_used else "white",
            hatch="" if is_used else "////",
            label="with masses" if is_used else "without: too few objects, or too few events",
            **OUTLINE,
        )
        text_beside(axes, events, position, text)
    axes.set_xscale("log")
    count_axis(axes.xaxis)
    most = max(populations.values())
    # Room for the numbers beside the longest bars, however long these are.
    axes.set_xlim(0.5, most * max(20.0, (2.0 * most) ** 0.5))
    name_rows(axes, map(str, largest))
    axes.set_xlabel("selected events")
    heading = f"Largest final states: {len(largest)} of {len(populations):,}"
    finish(figure, heading, about, handles_of([axes]) if n_combinations is not None else None)
    return figure
