"""Figures of combinations: which there are in which final state, and their masses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from schemas.labels import Channel, Combination, FinalState
from schemas.plan import ChannelPlan
from services.plots.contents import Contents
from services.plots.style import (
    BLUE,
    LIGHT_BLUE,
    OUTLINE,
    Named,
    count_axis,
    finish,
    handles_of,
    name_rows,
    number_axis,
    plural,
    text_beside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

N_FINAL_STATES = 25
N_COMBINATIONS = 60


def figures(contents: Contents) -> Iterator[Named]:
    """Yield the figure of the combinations of each sample that has a plan."""
    if contents.plan is None:
        return
    for sample, of_sources in contents.computed.sources().items():
        channels = contents.plan.channels.get(sample, {})
        if channels:
            figure = draw_combinations(channels, contents.about(sample, of_sources))
            yield Named("combinations", sample.suffix, figure)
        else:
            log.info("plots: no combination of %s is drawn: it has no channel", sample)


def draw_combinations(channels: Mapping[str, ChannelPlan], about: str) -> Figure:
    """Return a table of final states against combinations, and the sums of both.

    A dot is a channel, the larger the more masses it has; a cross is one that was dropped.
    """
    from matplotlib.figure import Figure

    plans = {Channel.parse(name): decided for name, decided in channels.items()}
    of_states: dict[FinalState, list[ChannelPlan]] = {}
    of_combinations: dict[Combination, list[ChannelPlan]] = {}
    for channel, decided in plans.items():
        of_states.setdefault(channel.final_state, []).append(decided)
        of_combinations.setdefault(channel.combination, []).append(decided)
    states = sorted(of_states, key=lambda state: (-_masses(of_states[state]), state))
    states = states[:N_FINAL_STATES]
    combinations = sorted(of_combinations, key=lambda c: (-_masses(of_combinations[c]), c))
    combinations = sorted(combinations[:N_COMBINATIONS], key=lambda c: (c.n_objects, c))

    figure = Figure(
        figsize=(7.5 + 0.27 * len(combinations), 5.2 + 0.28 * len(states)), layout="constrained"
    )
    (above, unused), (table, beside) = figure.subplots(
        2,
        2,
        gridspec_kw={
            "height_ratios": [1.8, max(1.0, 0.28 * len(states))],
            "width_ratios": [max(2.0, 0.27 * len(combinations)), 3.2],
        },
    )
    unused.set_visible(False)
    _draw_table(table, plans, states, combinations)
    positions = range(len(combinations))
    counts = [len(of_combinations[combination]) for combination in combinations]
    above.bar(positions, counts, facecolor=LIGHT_BLUE, hatch="////", **OUTLINE)
    above.set_xlim(-0.7, len(combinations) - 0.3)
    above.set_xticks([])
    above.set_ylim(0, 1.1 * max(counts))
    number_axis(above.yaxis)
    above.set_ylabel("final states")
    for row, state in enumerate(states):
        masses = _masses(of_states[state])
        beside.barh(row, masses, height=0.75, facecolor=BLUE, **OUTLINE)
        text_beside(beside, masses, row, f"{masses:,} · {plural(len(of_states[state]), 'channel')}")
    name_rows(beside, [""] * len(states))
    beside.set_xscale("log")
    count_axis(beside.xaxis)
    most, fewest = (pick(_masses(of_states[state]) for state in states) for pick in (max, min))
    # A power of ten below the smallest, and room for the numbers beside the largest.
    low = max(0.5, fewest / 10.0)
    beside.set_xlim(low, most * (most / low) ** 1.3 * 10.0)
    beside.set_xticks(
        [10.0**n for n in range(int(np.ceil(np.log10(low))), int(np.log10(most)) + 1, 2)]
    )
    beside.set_xlabel("masses")
    heading = (
        f"Combinations: {len(combinations):,} of {len(of_combinations):,}, in {len(states):,} of "
        f"{plural(len(of_states), 'final state')}"
    )
    about = f"{about}: {plural(len(plans), 'channel')}, {_masses(list(plans.values())):,} masses"
    finish(figure, heading, about, handles_of([table]))
    return figure


def _masses(decided: Sequence[ChannelPlan]) -> int:
    return sum(plan.population for plan in decided)


def _draw_table(
    axes: Axes,
    plans: Mapping[Channel, ChannelPlan],
    states: Sequence[FinalState],
    combinations: Sequence[Combination],
) -> None:
    rows = {state: row for row, state in enumerate(states)}
    columns = {combination: column for column, combination in enumerate(combinations)}
    shown = [
        (columns[channel.combination], rows[channel.final_state], decided)
        for channel, decided in plans.items()
        if channel.combination in columns and channel.final_state in rows
    ]
    kept = [(column, row, plan.population) for column, row, plan in shown if plan.dropped is None]
    dropped = [(column, row) for column, row, plan in shown if plan.dropped is not None]
    decades = sorted({int(np.log10(max(n, 1))) for *_, n in kept})
    for decade in decades:
        points = [(column, row) for column, row, n in kept if int(np.log10(max(n, 1))) == decade]
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none",
            marker="o",
            markersize=4.0 + 2.5 * (decade - decades[0]),
            markerfacecolor=BLUE,
            markeredgecolor="black",
            label=f"{10**decade:,} to {10 ** (decade + 1):,} masses",
        )
    if dropped:
        axes.plot(
            *zip(*dropped, strict=True),
            linestyle="none",
            marker="x",
            color="black",
            label="dropped: nothing is left to histogram",
        )
    axes.grid(visible=True, color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    name_rows(axes, map(str, states))
    axes.set_xlim(-0.7, len(combinations) - 0.3)
    axes.set_xticks(range(len(combinations)), map(str, combinations), rotation=90, fontsize="small")
    axes.tick_params(length=0)
