"""Figures of what BumpNet can be given: accepted and rejected histograms, and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.config import Acceptance, HistogramCreation
from schemas.labels import Channel, mass_histogram_name
from schemas.plan import ChannelPlan
from schemas.reports import HistogramReport
from services.calculations.bumpnet import kind_of
from services.plots.contents import Contents
from services.plots.style import (
    MARKS,
    OUTLINE,
    Mark,
    Named,
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

ACCEPTED = "accepted"
# Histograms of entries have so many bins for a factor of ten.
_BINS_PER_DECADE = 4
# So many points are drawn one by one; more would make the file large.
_MANY_POINTS = 5_000


@dataclass(frozen=True)
class Judged:
    """One histogram: what became of it, its entries, and how many GeV it spans."""

    verdict: str
    """`accepted`, or why not, without the histogram's own numbers."""
    entries: int
    range_gev: float


def figures(contents: Contents) -> Iterator[Named]:
    """Yield the figure of the verdicts on each sample's histograms."""
    if contents.plan is None or not contents.histograms:
        log.info("plots: nothing of BumpNet is drawn: there are no histograms of this plan yet")
        return
    config = contents.config.histogram_creation_task_config
    of_sources = contents.computed.sources()
    for report in contents.histograms:
        about = contents.about(report.sample, of_sources.get(report.sample, set()))
        judged = judge_all(contents.plan.kept(report.sample), report, config)
        if report.roi_copies + len(report.rejected):
            figure = draw_verdicts(judged, config, about)
            yield Named("bumpnet", report.sample.suffix, figure)
        else:
            log.info(
                "plots: nothing of BumpNet is drawn of %s: no histogram was judged", report.sample
            )


def judge_all(
    kept: Mapping[str, ChannelPlan], report: HistogramReport, config: HistogramCreation
) -> list[Judged]:
    """Return what became of every histogram of the kept channels, by the report."""
    judged = []
    for name, decided in kept.items():
        channel = Channel.parse(name)
        is_tail_in = not config.exclude_outliers
        entries = decided.classes.main + (decided.classes.tail if is_tail_in else 0)
        end = decided.last_gev if is_tail_in else decided.end_gev
        for label in report.entries:
            key = mass_histogram_name(channel, label, template=config.name_template)
            reason = report.rejected.get(key)
            verdict = ACCEPTED if reason is None else kind_of(reason)
            judged.append(Judged(verdict, entries, end - decided.low_gev))
    return judged


def draw_verdicts(judged: Sequence[Judged], config: HistogramCreation, about: str) -> Figure:
    """Return numbers and shares of the verdicts, entries, and entries against range."""
    counts = Counter(one.verdict for one in judged)
    others = sorted(counts.keys() - {ACCEPTED}, key=lambda verdict: (-counts[verdict], verdict))
    looks = dict(zip([ACCEPTED, *others], MARKS, strict=False))
    figure, (in_numbers, in_entries, in_range) = panels(3, 3, (5.2, 4.4))
    _draw_numbers(in_numbers, counts, looks)
    _draw_entries(in_entries, judged)
    _draw_range(in_range, judged, looks, config)
    heading = f"BumpNet: {counts[ACCEPTED]:,} of {plural(len(judged), 'histogram')} accepted"
    finish(figure, heading, about, handles_of([in_range, in_entries]))
    return figure


def _draw_numbers(axes: Axes, counts: Mapping[str, int], looks: Mapping[str, Mark]) -> None:
    total = sum(counts.values())
    for row, (verdict, mark) in enumerate(looks.items()):
        axes.barh(
            row,
            counts[verdict],
            height=0.7,
            facecolor=mark.face,
            hatch=mark.hatch,
            **OUTLINE,
        )
        text_beside(
            axes, counts[verdict], row, f"{counts[verdict]:,} ({counts[verdict] / total:.1%})"
        )
    name_rows(axes, looks)
    axes.set_xlim(0, 1.6 * max(counts.values()))
    number_axis(axes.xaxis)
    axes.set_xlabel("histograms")


def _draw_entries(axes: Axes, judged: Sequence[Judged]) -> None:
    logarithms = np.log10([max(one.entries, 1) for one in judged])
    is_accepted = np.array([one.verdict == ACCEPTED for one in judged])
    first, last = np.floor(logarithms.min()), np.floor(logarithms.max()) + 1.0
    edges = np.linspace(first, last, _BINS_PER_DECADE * round(last - first) + 1)
    accepted, rejected = (
        np.histogram(logarithms[mask], edges)[0] for mask in (is_accepted, ~is_accepted)
    )
    look = {"fill": True, **OUTLINE}
    axes.stairs(
        accepted + rejected, 10.0**edges, facecolor="white", hatch="xxxx", label="rejected", **look
    )
    axes.stairs(accepted, 10.0**edges, facecolor=MARKS[0].face, label=ACCEPTED, **look)
    axes.set_xscale("log")
    count_axis(axes.xaxis)
    number_axis(axes.yaxis)
    axes.set_ylim(0, 1.1 * max(1, int((accepted + rejected).max())))
    axes.set_xlabel("entries of the histogram")
    axes.set_ylabel("histograms")


def _draw_range(
    axes: Axes, judged: Sequence[Judged], looks: Mapping[str, Mark], config: HistogramCreation
) -> None:
    for verdict, mark in looks.items():
        points = [(one.range_gev, max(one.entries, 1)) for one in judged if one.verdict == verdict]
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none",
            marker=mark.marker,
            markersize=4.5,
            markerfacecolor=mark.face,
            markeredgecolor="black",
            markeredgewidth=0.6,
            label=verdict,
            rasterized=len(judged) > _MANY_POINTS,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    count_axis(axes.xaxis)
    count_axis(axes.yaxis)
    _draw_limits(axes, config.bumpnet_acceptance, config)
    axes.margins(0.05)
    axes.set_xlabel("range of the histogram [GeV]")
    axes.set_ylabel("entries")


def _draw_limits(axes: Axes, rule: Acceptance, config: HistogramCreation) -> None:
    line: dict[str, Any] = {"color": "black", "linestyle": "dashed", "linewidth": 1.0}
    axes.axhline(max(rule.min_sum, 1.0), label="least that is accepted", **line)
    if config.binning == "fixed":
        for width in config.bin_width_gev:
            axes.axvline(rule.min_bins * width, **line)
