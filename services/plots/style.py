"""How all figures look: style, headings, legends, and the files they are saved as."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.inputs import Slice
from services.storage.atomic import appearing

if TYPE_CHECKING:
    # A second of imports, for those alone who draw.
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

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
    # Letters are as wide where the layout is settled as in both files.
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "text.hinting": "none",
    "figure.constrained_layout.w_pad": 0.08,
}

BLUE, LIGHT_BLUE, RED = "#3f90da", "#8bbce9", "#bd1f01"

# How bars are outlined, so that they can be told apart in grey.
OUTLINE: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.8}

# What a legend takes for the symbol of an entry, and at most for a letter of its label.
_SYMBOL_INCHES, _LETTER_INCHES = 0.85, 0.085
# Characters of a heading that fit into an inch of a figure.
_HEADING_PER_INCH = 8


class Mark(NamedTuple):
    """What tells one series of bars or points from another, without colours too."""

    face: str
    hatch: str
    marker: str


MARKS = (
    Mark("#3f90da", "", "o"),
    Mark("#ffdf9e", "////", "s"),
    Mark("#bd1f01", "", "^"),
    Mark("#c9d1d0", "....", "D"),
    Mark("#832db6", "", "v"),
    Mark("white", "xxxx", "P"),
)


class Named(NamedTuple):
    """A figure, by its name in the table of figures and what tells the samples apart."""

    name: str
    suffix: str
    figure: Figure


def style() -> AbstractContextManager[None]:
    """Return the style of all figures; neither it nor a user's own settings leak."""
    import matplotlib.style
    import mplhep

    return matplotlib.style.context([mplhep.style.ATLAS, _STYLE], after_reset=True)


def save(figure: Figure, folder: Path, name: str, part: Slice) -> list[Path]:
    """Write a figure as PNG and PDF, and return the files.

    Raises:
        StorageError: a file cannot be written.
    """
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    # With the layout settled nothing is drawn but the files: 2 times, instead of 5.
    figure.set_layout_engine(None)
    saved = []
    for kind, metadata in _METADATA.items():
        path = folder / f"{name}.{kind}"
        with appearing(path, part) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
        saved.append(path)
    return saved


def finish(
    figure: Figure,
    heading: str,
    about: str,
    labelled: Mapping[str, Artist] | None = None,
    caption: str = "",
) -> None:
    """Put heading and `about`, run and sample, above the axes; below them caption and legend."""
    width = int(_HEADING_PER_INCH * figure.get_figwidth())
    lines = [line for text in (heading, about) for line in textwrap.wrap(text, width)]
    caption = textwrap.fill(caption, int(figure.get_figwidth() / _LETTER_INCHES))
    figure.suptitle("\n".join(lines), x=0.01, horizontalalignment="left")
    if labelled:
        figure.legend(
            labelled.values(),
            labelled.keys(),
            title=caption or None,
            alignment="left",
            loc="outside lower left",
            ncols=_n_columns(figure, labelled),
        )
    elif caption:
        figure.supxlabel(caption, x=0.01, horizontalalignment="left", fontsize="medium")


def _n_columns(figure: Figure, labels: Iterable[str]) -> int:
    """Return into how many columns a legend is put to be no wider than its figure."""
    inches = [_SYMBOL_INCHES + _LETTER_INCHES * len(label) for label in labels]
    if sum(inches) < figure.get_figwidth():
        return len(inches)
    return max(1, int(figure.get_figwidth() / max(inches)))


def handles_of(all_axes: Iterable[Axes]) -> dict[str, Artist]:
    """Return what is labelled in some axes, each label once."""
    labelled: dict[str, Artist] = {}
    for axes in all_axes:
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(map(str, labels), handles, strict=True))
    return labelled


def panels(n_panels: int, n_columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many axes in rows, each about so many inches wide and high."""
    from matplotlib.figure import Figure

    n_columns = min(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    width, height = size
    # A lone panel is made wider, so that heading and legend find room.
    figsize = (max(width * n_columns, 9.0), 1.7 + height * n_rows)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for unused in axes[n_panels:]:
        unused.set_visible(False)
    return figure, axes[:n_panels]


def count_axis(axis: Axis) -> None:
    """Label a logarithmic axis of counts with the counts themselves."""
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    # The ticks between would take a third of the time of a whole figure.
    axis.set_minor_locator(NullLocator())


def log_numbers(axis: Axis) -> None:
    """Label a logarithmic axis, made wide enough for three of them, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    if high < _LEAST_RATIO * low:
        low, high = low / _LEAST_RATIO**0.5, high * _LEAST_RATIO**0.5
        axis.set_view_interval(low, high, ignore=True)
    subs = (1.0,) if high > _LEAST_RATIO**3 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axis.set_minor_locator(NullLocator())


_LEAST_RATIO = 10.0


def number_axis(axis: Axis) -> None:
    """Label a linear axis of counts with few, whole numbers."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def corner_text(axes: Axes, lines: Iterable[str]) -> None:
    """Write lines into the upper right corner of axes."""
    axes.text(
        *(0.97, 0.96, "\n".join(lines)),
        transform=axes.transAxes,
        horizontalalignment="right",
        verticalalignment="top",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2.0},
    )


def text_beside(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a text to the right of where a bar ends."""
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center")


def name_rows(axes: Axes, names: Iterable[str]) -> None:
    """Label the rows of horizontal bars, the first on top."""
    labels = [textwrap.fill(name, 40) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    # Half a marker's width and more, which may stand on the axis.
    axes.tick_params(axis="y", length=0, pad=8)


def plural(count: int, word: str) -> str:
    """Return for example `1 channel` or `1,200 channels`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
