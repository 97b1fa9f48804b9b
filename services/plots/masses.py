"""Figures of mass spectra: what is in them, what was removed and why, and known resonances."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.inputs import Sample
from schemas.labels import Channel, mass_histogram_name
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from services.calculations.binning import RESOLUTION_LABEL
from services.calculations.excess import WINDOW_BINS, LocalExcess, largest_local_excess
from services.calculations.kinematics import Floats
from services.calculations.objects import Array, Integers
from services.calculations.spectra import CLASSES, Cuts, Grid, Spectra
from services.plots.contents import Contents
from services.plots.style import (
    LIGHT_BLUE,
    RED,
    Named,
    corner_text,
    count_axis,
    finish,
    handles_of,
    panels,
)
from services.storage.histograms import MassHistogram, read_histograms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

N_CHANNELS = 6
N_COLUMNS = 3
# A title is broken where it does not fit above its panel.
_TITLE_WIDTH = 40
# A resonance is shown with so many times its mass around it.
_AROUND = 5.0

_EXCESS_CAPTION = (
    f"n: entries of the {WINDOW_BINS} bins under the arrow. B, dashed: the mean of the "
    f"{WINDOW_BINS} bins on either side, at least 1. A guide to the eye and no discovery "
    "statistics: of so many windows in so many channels some must stand out by chance "
    "(look-elsewhere effect), and a spectrum that bends is not the straight line that B supposes."
)
_RESONANCE_CAPTION = (
    "n: entries of the test window. B, dashed: what the windows on either side let expect there. "
    "A resonance is detected if (n − B)/√B and (n − B)/B are above its thresholds."
)


class Look(NamedTuple):
    """How a region is drawn; the hatch tells it apart without colours.

    The colours are opaque: in PDF a transparent face makes its hatch as faint as itself.
    """

    label: str
    face: str
    line: str
    hatch: str


# What became of masses that are not in the main part, by their class.
LOOKS = {
    "floor": Look("resonance and below: removed", "#f6eef6", "#c69fc7", "\\\\\\\\"),
    "veto": Look("resonance: removed", "#f7eaea", "#d68a80", "xxxx"),
    "turn_on": Look("turn-on: removed", "#f4f4f5", "#b8bac0", "////"),
    "tail": Look("outliers: split off", "#fdf3eb", "#f3b17f", ".."),
}


class Region(NamedTuple):
    """Bins `first .. stop - 1` of the grid whose masses are of one class, and not main."""

    of_class: str
    first: int
    stop: int


class Resonance(NamedTuple):
    """A known resonance that was looked for in a channel."""

    mass_gev: float
    test: ResonanceTest


@dataclass(frozen=True)
class Picture:
    """One channel as it is drawn; bins are those of the grid, `width_gev` wide, from 0.

    `spectrum`: all masses below the end of the grid, shape (n_bins,), up to the last filled bin.
    `written`: edges in GeV, shape (n + 1,), and masses per `width_gev`, shape (n,), of the
    channel's histogram; None where the run has no histograms yet.
    """

    channel: Channel
    decided: ChannelPlan
    width_gev: float
    spectrum: Integers
    regions: tuple[Region, ...]
    resonances: tuple[Resonance, ...] = ()
    excess: LocalExcess | None = None
    shown: Resonance | None = None
    """The resonance that the picture is about."""
    written: tuple[Floats, Array] | None = None


def figures(contents: Contents) -> Iterator[Named]:
    """Yield the figures of the channels that have a main part."""
    plan = contents.plan
    if plan is None:
        log.info("plots: no channel is drawn: there is no plan for it yet")
        return
    masses = {
        rule.name: rule.mass_gev
        for rule in contents.config.post_processing_task_config.known_resonances
    }
    for sample, of_sources in contents.computed.sources().items():
        pictures = _pictures(plan, sample, contents.spectra[sample], contents.grid, masses)
        about = contents.about(sample, of_sources)
        choices = list(_choices(pictures, sample))
        channels = {picture.channel for choice in choices for picture in choice.pictures}
        written = _read_histograms(contents, sample, channels) if contents.has_histograms else {}
        for name, heading, caption, chosen in choices:
            complete = [
                replace(picture, written=written.get(picture.channel)) for picture in chosen
            ]
            yield Named(name, sample.suffix, draw_channels(complete, heading, about, caption))


def _pictures(
    plan: Plan, sample: Sample, spectra: Spectra, grid: Grid, masses_gev: Mapping[str, float]
) -> list[Picture]:
    """Return every channel that has a main part, with its largest excess and known resonances."""
    kept = plan.kept(sample)
    pictures = []
    for position, name in enumerate(spectra.channels):
        if name in kept:
            spectrum = spectra.dense(position, grid)[:-1]
            # A copy, so that only the part that is drawn stays in memory.
            spectrum = spectrum[: int(np.flatnonzero(spectrum)[-1]) + 1].copy()
            found = regions(kept[name], grid, len(spectrum))
            is_main = np.ones(len(spectrum), dtype=np.bool_)
            for region in found:
                is_main[region.first : region.stop] = False
            excess = largest_local_excess(spectrum, is_main)
            known = tuple(
                Resonance(masses_gev[test.name], test)
                for test in kept[name].resonances
                if test.name in masses_gev
            )
            channel = Channel.parse(name)
            picture = Picture(channel, kept[name], grid.width, spectrum, found, known, excess)
            pictures.append(picture)
    return pictures


def regions(decided: ChannelPlan, grid: Grid, n_bins: int) -> tuple[Region, ...]:
    """Return, for the first `n_bins` bins, the ranges that are not in the main part."""

    def on_grid(edge_gev: float) -> int:
        return round(edge_gev / grid.width)

    cuts = Cuts(
        peak=None if decided.peak_gev is None else on_grid(decided.peak_gev),
        low=on_grid(decided.low_gev),
        high=None if decided.high_gev is None else on_grid(decided.high_gev),
        floor=on_grid(decided.floor_gev or 0.0),
        vetoes=tuple((on_grid(low), on_grid(high)) for low, high in decided.vetoes_gev),
    )
    classes = cuts.runs(grid).class_of_bin()[:n_bins]
    edges = [0, *(np.flatnonzero(np.diff(classes)) + 1).tolist(), n_bins]
    found = [Region(CLASSES[classes[first]], first, stop) for first, stop in pairwise(edges)]
    return tuple(region for region in found if region.of_class != "main")


class _Choice(NamedTuple):
    """The channels of one figure."""

    name: str
    heading: str
    caption: str
    pictures: list[Picture]


def _choices(pictures: Sequence[Picture], sample: Sample) -> Iterator[_Choice]:
    largest = sorted(pictures, key=lambda p: (-p.decided.population, p.channel))[:N_CHANNELS]
    if largest:
        heading = f"Largest channels: {len(largest)} of {len(pictures):,}"
        plain = [replace(picture, excess=None) for picture in largest]
        yield _Choice("largest_channels", heading, "", plain)
    else:
        log.info("plots: no channel of %s is drawn: none has a main part", sample)
    found = [
        (resonance.test.significance, picture.channel, resonance, picture)
        for picture in pictures
        for resonance in picture.resonances
        if resonance.test.detected
    ]
    found.sort(key=lambda row: (-row[0], row[1], row[2].test.name))
    strongest = [replace(row[3], excess=None, shown=row[2]) for row in found[:N_CHANNELS]]
    if strongest:
        heading = f"Most significant detected resonances: {len(strongest)} of {len(found):,}"
        yield _Choice("detected_resonances", heading, _RESONANCE_CAPTION, strongest)
    else:
        log.info("plots: no resonance of %s is drawn: none was detected", sample)
    rows = [
        (-picture.excess.significance, picture.channel, picture)
        for picture in pictures
        if picture.excess is not None and picture.excess.significance > 0.0
    ]
    by_excess = [picture for *_, picture in sorted(rows, key=lambda row: row[:2])][:N_CHANNELS]
    if by_excess:
        n_searched = sum(picture.excess is not None for picture in pictures)
        heading = f"Largest local excesses: {len(by_excess)} of {n_searched:,} channels"
        yield _Choice("largest_local_excesses", heading, _EXCESS_CAPTION, by_excess)
    else:
        log.info("plots: no excess of %s is drawn: no main part has one", sample)


def _read_histograms(
    contents: Contents, sample: Sample, channels: Iterable[Channel]
) -> dict[Channel, tuple[Floats, Array]]:
    """Return what the histogram files hold of some channels, per bin width of the grid."""
    histograms = contents.config.histogram_creation_task_config
    is_fixed = histograms.binning == "fixed"
    label = str(max(histograms.bin_width_gev)) if is_fixed else RESOLUTION_LABEL
    # Opening a file of many histograms takes longer than reading some of them.
    files: dict[Path, dict[str, Channel]] = {}
    for channel in sorted(channels):
        of_state = None if histograms.single_output_file else str(channel.final_state)
        path = contents.paths.histogram_file(sample, of_state)
        name = mass_histogram_name(channel, label, template=histograms.name_template)
        files.setdefault(path, {})[name] = channel
    return {
        names[name]: per_width(histogram, contents.grid.width)
        for path, names in files.items()
        for name, histogram in read_histograms(path, names).items()
    }


def per_width(histogram: MassHistogram, width_gev: float) -> tuple[Floats, Array]:
    """Return edges, shape (n + 1,), and entries per `width_gev`, shape (n,), of a histogram.

    Bins of equal width are added up to that width, which is a multiple of theirs; others cannot be,
    and are scaled.
    """
    if histogram.edges is not None:
        return histogram.edges, histogram.counts * width_gev / np.diff(histogram.edges)
    n_bins = round((histogram.high - histogram.low) / width_gev)
    edges = histogram.low + np.arange(n_bins + 1, dtype=np.float64) * width_gev
    return edges, histogram.counts.reshape(n_bins, -1).sum(axis=1)


def draw_channels(
    pictures: Sequence[Picture], heading: str, about: str, caption: str = ""
) -> Figure:
    """Return a grid of spectra with one legend."""
    figure, all_axes = panels(len(pictures), N_COLUMNS, (5.0, 4.0))
    for axes, picture in zip(all_axes, pictures, strict=True):
        _draw_channel(axes, picture)
    finish(figure, heading, about, handles_of(all_axes), caption)
    return figure


def _draw_channel(axes: Axes, picture: Picture) -> None:
    width, decided = picture.width_gev, picture.decided
    edges = np.arange(len(picture.spectrum) + 1) * width
    if picture.written:
        in_histogram, per_bin = picture.written
        axes.stairs(per_bin, in_histogram, fill=True, color=LIGHT_BLUE, label="in the histogram")
    axes.stairs(picture.spectrum, edges, color="black", linewidth=0.8, label="all masses")
    for region in picture.regions:
        look = LOOKS[region.of_class]
        axes.axvspan(
            region.first * width,
            region.stop * width,
            facecolor=look.face,
            edgecolor=look.line,
            linewidth=0.0,
            hatch=look.hatch,
            zorder=0.5,
            label=look.label,
        )
    # A mark is looked for in the main part, which a far outlier would press into a corner.
    end = edges[-1]
    if picture.excess:
        end = min(end, 1.25 * decided.end_gev)
    if picture.shown:
        end = _AROUND * picture.shown.mass_gev
    axes.set_xlim(0.0, end)
    lines = [f"{decided.population:,} masses"]
    if decided.classes.overflow:
        lines.append(f"{decided.classes.overflow:,} overflow")
    if picture.excess:
        lines += _mark_excess(axes, picture.excess, picture)
    if picture.shown:
        lines += _mark_test(axes, picture.shown.test, picture)
    corner_text(axes, lines)
    axes.set_yscale("log")
    count_axis(axes.yaxis)
    # Room for the text above the spectrum, and for a mean of 1 in 3 bins below.
    axes.set_ylim(0.25, 8.0 * float(picture.spectrum.max()))
    _mark_resonances(axes, picture.resonances, end)
    title = f"{picture.channel.combination} in {picture.channel.final_state}"
    if len(title) > _TITLE_WIDTH:
        title = title.replace(" in ", "\nin ")
    axes.set_title(title, pad=20.0 if picture.resonances else None)
    axes.set_xlabel("m [GeV]")
    axes.set_ylabel(f"masses / {width:g} GeV")


def _mark_resonances(axes: Axes, resonances: Sequence[Resonance], end_gev: float) -> None:
    """Draw a line at each known resonance, with its name above the frame."""
    inside = sorted((r for r in resonances if r.mass_gev < end_gev), key=lambda r: r.mass_gev)
    places: list[tuple[float, list[str]]] = []
    for mass_gev, test in inside:
        axes.axvline(
            mass_gev,
            color="black",
            linestyle="dashdot" if test.detected else "dotted",
            linewidth=1.2,
            zorder=2.5,
            label="known resonance, detected" if test.detected else "known resonance, not detected",
        )
        # Names that would run into one another share one place.
        if places and mass_gev - places[-1][0] < end_gev / 12:
            places[-1][1].append(test.name)
        else:
            places.append((mass_gev, [test.name]))
    for mass_gev, names in places:
        axes.annotate(
            ", ".join(names),
            (mass_gev, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="center",
            verticalalignment="bottom",
        )


def _mark_test(axes: Axes, test: ResonanceTest, picture: Picture) -> list[str]:
    """Draw what was expected in the test window of a resonance, and return the test's numbers."""
    low, high = test.test_window_gev
    _draw_expected(axes, test.background * picture.width_gev / (high - low), low, high)
    return [
        f"{test.name}, {low:g}–{high:g} GeV:",
        f"n = {test.entries:,}, B = {test.background:,.1f}",
        f"(n − B)/√B = {test.significance:,.1f}",
    ]


def _draw_expected(axes: Axes, per_bin: float, low: float, high: float) -> None:
    """Draw the mean of what lies beside a window, across it and the windows on either side."""
    axes.hlines(
        per_bin,
        max(0.0, 2 * low - high),
        2 * high - low,
        colors=RED,
        linestyles="dashed",
        linewidth=1.5,
        label="mean of the neighbours",
    )


def _mark_excess(axes: Axes, excess: LocalExcess, picture: Picture) -> list[str]:
    """Point at the excess and return its numbers as text."""
    low, high = (excess.first_bin + np.array([0, WINDOW_BINS])) * picture.width_gev
    _draw_expected(axes, excess.background / WINDOW_BINS, low, high)
    in_window = picture.spectrum[excess.first_bin : excess.first_bin + WINDOW_BINS]
    axes.annotate(
        "",
        xy=((low + high) / 2.0, 1.2 * float(in_window.max())),
        xytext=(0, 32),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-|>", "color": RED, "linewidth": 1.5},
    )
    return [
        f"{low:g}–{high:g} GeV:",
        f"n = {excess.entries:,}, B = {excess.background:,.1f}",
        f"(n − B)/√B = {excess.significance:.1f}",
    ]
