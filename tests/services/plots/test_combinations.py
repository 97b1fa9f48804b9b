"""The figure of combinations: what is where."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemas.plan import ChannelPlan
from schemas.reports import ClassCounts
from services.plots import combinations
from services.plots.style import style
from tests.services.plots.drawing import legend, row_names


def plan(population: int, dropped: str | None = None) -> ChannelPlan:
    return ChannelPlan(
        population=population,
        peak_gev=None if dropped else 60.0,
        low_gev=60.0,
        high_gev=None,
        last_gev=110.0,
        classes=ClassCounts(main=population),
        dropped=dropped,
    )


def points(axes: Axes, label: str) -> list[tuple[str, str]]:
    """Return the final state and the combination of each mark."""
    [line] = [line for line in axes.lines if line.get_label() == label]
    columns = [tick.get_text() for tick in axes.get_xticklabels()]
    rows = row_names(axes)
    return [(rows[int(y)], columns[int(x)]) for x, y in line.get_xydata().tolist()]


def test_every_channel_is_a_mark_by_its_masses() -> None:
    channels = {
        "2e_1j/e0e1": plan(50),
        "2e_1j/e0e1j0": plan(50),
        "2e_0j/e0e1": plan(7000),
        "1e_2j/j0j1": plan(3, "no peak"),
    }
    with style():
        figure = combinations.draw_combinations(channels, "run")
    above, _, table, beside = figure.axes
    assert points(table, "10 to 100 masses") == [("2e_1j", "e0e1"), ("2e_1j", "e0e1j0")]
    assert points(table, "1,000 to 10,000 masses") == [("2e_0j", "e0e1")]
    assert points(table, "dropped: nothing is left to histogram") == [("1e_2j", "j0j1")]
    # Pairs first, then three objects; final states by their masses.
    assert [tick.get_text() for tick in table.get_xticklabels()] == ["e0e1", "j0j1", "e0e1j0"]
    assert row_names(table) == ["2e_0j", "2e_1j", "1e_2j"]
    assert [patch.get_height() for patch in above.patches] == [2, 1, 1]
    assert [patch.get_width() for patch in beside.patches] == [7000, 100, 3]
    assert beside.texts[1].get_text() == "100 · 2 channels"
    assert "3 of 3, in 3 of 3 final states" in figure.get_suptitle()
    assert "4 channels, 7,103 masses" in figure.get_suptitle()
    assert len(legend(figure)) == 3


def test_of_very_many_the_largest_are_shown() -> None:
    channels = {f"{n}e_{n}j/j{k}j{k + 1}": plan(n + k + 1) for n in range(40) for k in range(70)}
    with style():
        figure = combinations.draw_combinations(channels, "run")
        figure.draw_without_rendering()
    assert "60 of 70, in 25 of 40 final states" in figure.get_suptitle()
    table = figure.axes[2]
    assert row_names(table)[0] == "39e_39j"
    assert table.get_xticklabels()[-1].get_text() == "j69j70"


def test_the_demo_has_its_channels(demo_figures: dict[str, Figure]) -> None:
    assert "109 channels, 200,494 masses" in demo_figures["combinations"].get_suptitle()
