"""Reports and histograms -> plots/: figures of a run, drawn from its files alone."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.config import Config
from schemas.inputs import Sample, Slice
from schemas.labels import Channel, FinalState, mass_histogram_name
from schemas.plan import ChannelPlan, Plan
from schemas.reports import MassReport, ParseReport, SliceReport
from services.barriers import completed_slices, missing_slices
from services.calculations.binning import RESOLUTION_LABEL
from services.calculations.excess import WINDOW_BINS, LocalExcess, largest_local_excess
from services.calculations.kinematics import Floats
from services.calculations.objects import Array, Integers, add_counts, project_populations
from services.calculations.spectra import CLASSES, Cuts, Grid, Spectra
from services.contents import are_filled_of, is_made_of, origin_note, sources, sum_spectra
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.atomic import appearing
from services.storage.histograms import MassHistogram, read_histograms

if TYPE_CHECKING:
    # A second of imports, for those alone who draw.
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

N_CHANNELS = 6
N_COLUMNS = 3
N_FINAL_STATES = 25

# Without a time and a version: the same run gives the same bytes.
_METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_STYLE = {
    "font.size": 11,
    "axes.titlesize": "large",
    "axes.labelsize": "medium",
    "axes.labelpad": 4,
    "axes.autolimit_mode": "data",
    "axes.formatter.limits": (-5, 6),
    "axes.formatter.use_mathtext": False,
    "xtick.labelsize": "medium",
    "xtick.minor.visible": False,
    "ytick.labelsize": "medium",
    "ytick.major.size": 6,
    "ytick.minor.visible": False,
    "ytick.right": False,
    "xtick.top": False,
    "figure.titlesize": "x-large",
    "figure.titleweight": "bold",
    "hatch.linewidth": 0.6,
    "savefig.dpi": 110,
}
_EXCESS_CAPTION = (
    f"n: entries of the {WINDOW_BINS} bins under the arrow. B, dashed: the mean of the "
    f"{WINDOW_BINS} bins on either side, at least 1. A guide to the eye and no discovery "
    "statistics: of so many windows in so many channels\nsome must stand out by chance "
    "(look-elsewhere effect), and a spectrum that bends is not the straight line that B supposes."
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
    excess: LocalExcess | None = None
    written: tuple[Floats, Array] | None = None


def run(config: Config, paths: RunDirectory, part: Slice) -> tuple[Path, ...]:
    """Draw what the run's files allow, each figure as PNG and PDF, and return the files.

    Raises:
        DataError: a file of the run is damaged.
        StorageError: a figure cannot be written.
    """
    started = time.monotonic()
    drawn: list[Path] = []
    with _style():
        for name, figure in figures(config, paths):
            figure.draw_without_rendering()
            # The layout is settled now; working it out again for each file takes half of the time.
            figure.set_layout_engine("none")
            for kind, metadata in _METADATA.items():
                path = paths.plots / f"{name}.{kind}"
                with appearing(path, part) as temporary:
                    figure.savefig(temporary, format=kind, metadata=metadata)
                drawn.append(path)
    log.info("plots: %d files in %.1f s", len(drawn), time.monotonic() - started)
    return tuple(drawn)


def _style() -> AbstractContextManager[None]:
    """Return the style of all figures; neither it nor a user's own settings leak."""
    import matplotlib.style
    import mplhep

    return matplotlib.style.context([mplhep.style.ATLAS, _STYLE], after_reset=True)


def figures(config: Config, paths: RunDirectory) -> Iterator[tuple[str, Figure]]:
    """Yield every figure that the run's files allow, with its name; say why one is missing.

    Raises:
        DataError: a file of the run is damaged.
    """
    parsed = _completed(paths.masses_input, "parsing")
    computed = _completed(paths.processing_input, "mass_calculating")
    processed = _completed(paths.processed, "post_processing")
    plan = None
    if is_made_of(processed, computed, config, "post_processing"):
        plan = reports.read(paths.plan_file, Plan)
        filled = _completed(paths.histograms, "histogram_creation")
        has_histograms = are_filled_of(filled, processed, config)
        yield from _channel_figures(config, paths, plan, computed, has_histograms=has_histograms)
    elif computed and processed:
        log.info("plots: no channel is drawn: the plan is out of date; run post_processing")
    if not is_made_of(computed, parsed, config, "mass_calculating"):
        plan = None
    yield from _state_figures(config, paths, parsed, plan)


def _channel_figures(
    config: Config,
    paths: RunDirectory,
    plan: Plan,
    computed: Sequence[SliceReport],
    *,
    has_histograms: bool,
) -> Iterator[tuple[str, Figure]]:
    grid = Grid.of(config.post_processing_task_config)
    spectra = sum_spectra(paths.processing_input, computed, grid)
    for sample, found in sources(paths.processing_input, computed, MassReport).items():
        pictures = _pictures(plan, sample, spectra[sample], grid)
        note = origin_note(found, sample)
        for name, heading, caption, chosen in _choices(pictures, sample):
            complete = _with_histograms(config, paths, sample, chosen) if has_histograms else chosen
            figure = draw_channels(complete, heading, note, caption)
            yield f"{name}{sample.suffix}", figure


def _state_figures(
    config: Config, paths: RunDirectory, parsed: Sequence[SliceReport], plan: Plan | None
) -> Iterator[tuple[str, Figure]]:
    for sample, found in sources(paths.masses_input, parsed, ParseReport).items():
        populations = project_populations(
            add_counts(summary.populations.get(sample, {}) for summary in parsed),
            config.mass_calculation_task_config.final_state_objects,
        )
        n_combinations = None
        if plan is not None:
            names = plan.channels.get(sample, {})
            n_combinations = Counter(Channel.parse(name).final_state for name in names)
        if populations:
            figure = draw_final_states(populations, n_combinations, origin_note(found, sample))
            yield f"03_final_states{sample.suffix}", figure
        else:
            log.info("plots: no final state of %s is drawn: it has no events", sample)


def _completed(folder: Path, stage: str) -> tuple[SliceReport, ...]:
    missing = missing_slices(folder, stage, Slice())
    if missing:
        log.info("plots: nothing is drawn of %s: %s", stage, missing)
        return ()
    return completed_slices(folder, stage, Slice())


def _pictures(plan: Plan, sample: Sample, spectra: Spectra, grid: Grid) -> list[Picture]:
    """Return every channel that has a main part, with its largest excess."""
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
            channel = Channel.parse(name)
            pictures.append(Picture(channel, kept[name], grid.width, spectrum, found, excess))
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
        yield _Choice("01_largest_channels", heading, "", plain)
    else:
        log.info("plots: no channel of %s is drawn: none has a main part", sample)
    rows = [
        (-picture.excess.significance, picture.channel, picture)
        for picture in pictures
        if picture.excess is not None and picture.excess.significance > 0.0
    ]
    by_excess = [picture for *_, picture in sorted(rows, key=lambda row: row[:2])][:N_CHANNELS]
    if by_excess:
        n_searched = sum(picture.excess is not None for picture in pictures)
        heading = f"Largest local excesses: {len(by_excess)} of {n_searched:,} channels"
        yield _Choice("02_largest_local_excesses", heading, _EXCESS_CAPTION, by_excess)
    else:
        log.info("plots: no excess of %s is drawn: no main part has one", sample)


def _with_histograms(
    config: Config, paths: RunDirectory, sample: Sample, pictures: Sequence[Picture]
) -> list[Picture]:
    """Return the pictures with what the histogram files hold, per bin width of the grid."""
    histograms = config.histogram_creation_task_config
    is_fixed = histograms.binning == "fixed"
    label = str(max(histograms.bin_width_gev)) if is_fixed else RESOLUTION_LABEL
    complete = []
    for picture in pictures:
        channel = picture.channel
        name = mass_histogram_name(channel, label, template=histograms.name_template)
        of_state = None if histograms.single_output_file else str(channel.final_state)
        path = paths.histogram_file(sample, of_state)
        written = per_width(read_histograms(path, [name])[name], picture.width_gev)
        complete.append(replace(picture, written=written))
    return complete


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
    pictures: Sequence[Picture], heading: str, note: str, caption: str = ""
) -> Figure:
    """Return a grid of spectra with one legend; the note, if there is one, is in the heading."""
    from matplotlib.figure import Figure

    n_rows = -(-len(pictures) // N_COLUMNS)
    n_columns = min(len(pictures), N_COLUMNS)
    figure = Figure(figsize=(15.0, 1.5 + 4.0 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    labelled: dict[str, Artist] = {}
    for one, picture in zip(axes, pictures, strict=False):
        _draw_channel(one, picture)
        handles, labels = one.get_legend_handles_labels()
        labelled |= dict(zip(map(str, labels), handles, strict=True))
    for unused in axes[len(pictures) :]:
        unused.set_visible(False)
    _finish(figure, labelled, heading, note, caption)
    return figure


def _finish(
    figure: Figure, labelled: Mapping[str, Artist], heading: str, note: str, caption: str = ""
) -> None:
    """Put the heading above the axes, and below them the legend under the caption."""
    text = f"{heading} ({note})" if note else heading
    figure.suptitle(text, x=0.01, horizontalalignment="left")
    if labelled:
        figure.legend(
            labelled.values(),
            labelled.keys(),
            title=caption or None,
            alignment="left",
            loc="outside lower left",
            ncols=len(labelled),
        )


def _count_axis(axis: Axis) -> None:
    """Label a logarithmic axis of counts with the counts themselves."""
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    # The ticks between would take a third of the time of a whole figure.
    axis.set_minor_locator(NullLocator())


def _draw_channel(axes: Axes, picture: Picture) -> None:
    width, decided = picture.width_gev, picture.decided
    edges = np.arange(len(picture.spectrum) + 1) * width
    if picture.written:
        in_histogram, per_bin = picture.written
        axes.stairs(per_bin, in_histogram, fill=True, color="#8bbce9", label="in the histogram")
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
    text = f"{decided.population:,} masses"
    if decided.classes.overflow:
        text += f"\n{decided.classes.overflow:,} overflow"
    if picture.excess:
        text += f"\n{_mark(axes, picture.excess, picture)}"
    axes.text(
        *(0.97, 0.96, text),
        transform=axes.transAxes,
        horizontalalignment="right",
        verticalalignment="top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.0},
    )
    axes.set_yscale("log")
    _count_axis(axes.yaxis)
    # A mark is looked for in the main part, which a far outlier would press into a corner.
    until = 1.25 * decided.end_gev if picture.excess else edges[-1]
    axes.set_xlim(0.0, min(until, edges[-1]))
    # Room for the text above the spectrum, and for a mean of 1 in 3 bins below.
    axes.set_ylim(0.25, 8.0 * float(picture.spectrum.max()))
    axes.set_title(f"{picture.channel.combination} in {picture.channel.final_state}")
    axes.set_xlabel("m [GeV]")
    axes.set_ylabel(f"masses / {width:g} GeV")


def _mark(axes: Axes, excess: LocalExcess, picture: Picture) -> str:
    """Point at the excess and return its numbers as text."""
    width = picture.width_gev
    low, high = (excess.first_bin + np.array([0, WINDOW_BINS])) * width
    side = WINDOW_BINS * width
    axes.hlines(
        excess.background / WINDOW_BINS,
        low - side,
        high + side,
        colors="#bd1f01",
        linestyles="dashed",
        linewidth=1.5,
        label="mean of the neighbours",
    )
    in_window = picture.spectrum[excess.first_bin : excess.first_bin + WINDOW_BINS]
    axes.annotate(
        "",
        xy=((low + high) / 2.0, 1.2 * float(in_window.max())),
        xytext=(0, 32),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-|>", "color": "#bd1f01", "linewidth": 1.5},
    )
    return (
        f"{low:g}–{high:g} GeV:\n"
        f"n = {excess.entries:,}, B = {excess.background:,.1f}\n"
        f"(n − B)/√B = {excess.significance:.1f}"
    )


def draw_final_states(
    populations: Mapping[FinalState, int],
    n_combinations: Mapping[FinalState, int] | None,
    note: str,
) -> Figure:
    """Return bars of the events in the largest final states, with their numbers of combinations.

    Without `n_combinations` (no masses yet) the events alone are shown.
    """
    from matplotlib.figure import Figure

    largest = sorted(populations, key=lambda state: (-populations[state], state))[:N_FINAL_STATES]
    figure = Figure(figsize=(11.0, 1.8 + 0.3 * len(largest)), layout="constrained")
    axes = figure.subplots()
    for position, state in enumerate(largest):
        events, text = populations[state], f"{populations[state]:,}"
        is_used = n_combinations is None or n_combinations.get(state, 0) > 0
        if n_combinations is not None:
            number = n_combinations.get(state, 0)
            text += f" · {number} combination{'' if number == 1 else 's'}"
        axes.barh(
            position,
            events,
            height=0.75,
            facecolor="#3f90da" if is_used else "white",
            edgecolor="black",
            hatch="" if is_used else "////",
            linewidth=0.8,
            label="with masses" if is_used else "without: too few objects, or too few events",
        )
        axes.annotate(
            text, (events, position), xytext=(5, 0), textcoords="offset points", va="center"
        )
    axes.set_xscale("log")
    _count_axis(axes.xaxis)
    axes.set_xlim(0.5, 20.0 * max(populations.values()))
    axes.set_ylim(len(largest) - 0.4, -0.6)
    axes.set_yticks(range(len(largest)), [str(state) for state in largest])
    axes.set_xlabel("selected events")
    heading = f"Largest final states: {len(largest)} of {len(populations):,}"
    handles, labels = axes.get_legend_handles_labels()
    labelled = dict(zip(map(str, labels), handles, strict=True))
    _finish(figure, labelled if n_combinations is not None else {}, heading, note)
    return figure
