"""Figures of the data: the numbers that they show."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from schemas.inputs import Sample
from schemas.labels import FinalState
from schemas.reports import (
    CutRow,
    Distribution,
    Distributions,
    ObjectDistributions,
    ParseReport,
)
from services.plots import overview
from services.plots.contents import Contents, SourceContents
from services.plots.style import style
from services.run_directory import chunk_report
from services.storage import reports
from tests.factory import make_config, run_pipeline, write_nanoaod
from tests.services.plots.drawing import (
    MASSES,
    OF_EVENTS,
    Run,
    bars,
    drawn,
    legend,
    pairs,
    row_names,
    steps,
)


@pytest.fixture(scope="module")
def of_two_samples(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of two events and, in simulation, three; a cut of pt leaves one and two."""
    folder = tmp_path_factory.mktemp("two")
    odd = (float("nan"), 0.0, 0.0), (-5.0, 0.0, 0.0), (600.0, 7.0, 0.0), (31.0, -1.1, 0.0)
    data = write_nanoaod(folder / "data.root", muons=[odd, [(12.0, 1.1, 0.0)]])
    simulated = write_nanoaod(
        folder / "mc.root", simulation=True, muons=[*pairs([80.0]), *pairs([90.0]), []]
    )
    parsing = {
        "local_files": {"cms-nanoaod": [str(data), str(simulated)]},
        "particle_counts": {"muons": {"min": 2}},
        "kinematic_cuts": {"muons": {"pt_min": 30.0}},
    }
    config = make_config({"parsing_task_config": parsing}, folder)
    return config, run_pipeline(config, folder / "run")


def test_events_are_shown_by_source_and_sample(of_two_samples: Run) -> None:
    figure = drawn(of_two_samples)["events"]
    [axes] = figure.axes
    assert row_names(axes) == ["local_cms-nanoaod", "local_cms-nanoaod_mc"]
    assert bars(axes, "events read") == [2, 3]
    assert bars(axes, "events kept") == [1, 2]
    assert [text.get_text() for text in axes.texts] == [
        "2 in 1 file, 1 kept (50.0%)",
        "3 in 1 file, 2 kept (66.7%)",
    ]
    assert legend(figure) == ["events read", "events kept"]
    assert "Events: 5 of 2 sources" in figure.get_suptitle()


def test_the_cut_flow_starts_with_what_was_read_and_ends_with_what_was_kept(
    of_two_samples: Run,
) -> None:
    source = Contents(*of_two_samples).sources["local_cms-nanoaod"]
    rows, columns, cells = overview.cut_flow_cells(source)
    assert columns == ["events", "Muons"]
    removed = {(rows[cell.row], columns[cell.column]): cell.removed for cell in cells}
    assert removed == {
        ("read", "events"): 2,
        ("number of muons", "events"): -1,
        ("kept", "events"): 1,
        ("read", "Muons"): 5,
        ("invalid", "Muons"): -2,
        ("pt_min", "Muons"): -1,
        ("rejected events", "Muons"): 0,
        ("kept", "Muons"): 2,
    }
    shares = {rows[cell.row]: cell.share for cell in cells if columns[cell.column] == "Muons"}
    assert shares["invalid"] == pytest.approx(2 / 5)
    assert shares["pt_min"] == pytest.approx(1 / 5)


def test_every_source_has_its_cut_flow(of_two_samples: Run) -> None:
    shown = [axes for axes in drawn(of_two_samples)["cut_flow"].axes if axes.get_visible()]
    titles = [axes.get_title() for axes in shown]
    assert titles == ["local_cms-nanoaod", "local_cms-nanoaod_mc"]
    texts = [text.get_text() for text in shown[0].texts]
    assert "−2\n40.0%" in texts


def test_a_source_without_events_is_shown_as_such() -> None:
    empty = SourceContents(
        Sample.DATA, files=1, cut_flow=(CutRow(step="trigger", of="events", before=0, removed=0),)
    )
    with style():
        overview.draw_cut_flows({"a": empty}, "").draw_without_rendering()
        [axes] = overview.draw_events({"a": empty}, "").axes
    assert axes.texts[0].get_text() == "0 in 1 file, 0 kept (0.0%)"


def test_objects_are_shown_as_read_and_after_the_selection(of_two_samples: Run) -> None:
    figures = drawn(of_two_samples)
    [axes] = figures["pt"].axes
    read, edges = steps(axes, "as read")
    kept, _ = steps(axes, "after the selection")
    assert edges == [5.0 * k for k in range(101)]
    assert {edges[k]: n for k, n in enumerate(read) if n} == {10.0: 1, 30.0: 1}
    assert {edges[k]: n for k, n in enumerate(kept) if n} == {30.0: 1}
    assert axes.texts[0].get_text().splitlines() == [
        "from 500 GeV: 1 read, 1 kept",
        "below 0 GeV: 1 read, 0 kept",
        "not a number: 1 read, 0 kept",
    ]
    [axes] = figures["eta"].axes
    read, edges = steps(axes, "as read")
    assert {edges[k]: n for k, n in enumerate(read) if n} == {-1.25: 1, 0.0: 2, 1.0: 1}
    assert axes.texts[0].get_text() == "from 5: 1 read, 1 kept"
    [axes] = figures["multiplicities_mc"].axes
    read, edges = steps(axes, "as read")
    kept, _ = steps(axes, "after the selection")
    # Bins lie around their numbers.
    assert {edges[k] + 0.5: n for k, n in enumerate(read) if n} == {0: 1, 2: 2}
    assert {edges[k] + 0.5: n for k, n in enumerate(kept) if n} == {2: 2}


def test_a_type_that_only_the_selection_makes_has_no_line_of_what_was_read() -> None:
    tagged = Distributions(
        after={"BJets": ObjectDistributions(eta=Distribution(bins=(1,), above=2))}
    )
    quantity = overview.QUANTITIES[-1]
    figure = overview.draw_distributions(quantity, tagged, ["BJets"], "")
    assert legend(figure) == ["after the selection"]
    assert figure.axes[0].texts[0].get_text() == "from 5: 2 kept"


def test_reports_without_distributions_have_no_figures_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs(MASSES))
    parsing = {"local_files": {"cms-nanoaod": [str(file)]}}
    config = make_config({"parsing_task_config": parsing}, tmp_path)
    paths = run_pipeline(config, tmp_path / "run")
    [chunk] = Contents(config, paths).parsed.chunks
    old = chunk.model_copy(update={"distributions": Distributions()})
    path = chunk_report(paths.parsed_data, chunk.chunk)
    path.write_text(old.model_dump_json(exclude_defaults=True))
    assert reports.read(path, ParseReport) == old
    with caplog.at_level(logging.INFO):
        assert not {"pt", "eta", "multiplicities"} & {*drawn((config, paths))}
    assert "no objects of data are drawn" in caplog.text


def test_chunks_of_a_slice_that_is_not_complete_are_shown_so_far(tmp_path: Path) -> None:
    for number in range(3):
        write_nanoaod(tmp_path / f"{number}.root", muons=pairs(MASSES[: number + 1]))
    parsing = {"local_files": {"cms-nanoaod": [str(tmp_path / "?.root")]}, "chunk_input_bytes": 1}
    config = make_config({"parsing_task_config": parsing}, tmp_path)
    paths = run_pipeline(config, tmp_path / "run")
    # As if the program had been killed before its last chunk.
    for path in paths.root.glob("*/slice_*.json"):
        path.unlink()
    (paths.parsed_data / "parsed_local_cms-nanoaod_chunk3.json").unlink()
    figures = drawn((config, paths))
    assert [*figures] == ["stages", "chunks", *OF_EVENTS[1:]]
    assert "Events: 3 of 1 source, so far" in figures["events"].get_suptitle()
    [axes] = figures["final_states"].axes
    assert [patch.get_width() for patch in axes.patches] == [3]


def test_the_numbers_of_the_largest_final_states_have_room() -> None:
    populations = {FinalState.parse(f"{n}e_0m"): 10**n for n in range(12)}
    with style():
        figure = overview.draw_final_states(populations, dict.fromkeys(populations, 1000), "")
        figure.draw_without_rendering()
    [axes] = figure.axes
    assert max(text.get_window_extent().x1 for text in axes.texts) <= axes.bbox.x1


def test_final_states_are_ranked_with_their_combinations(demo_figures: dict[str, Figure]) -> None:
    [axes] = demo_figures["final_states"].axes
    widths = [patch.get_width() for patch in axes.patches]
    assert len(widths) == 25
    assert widths == sorted(widths, reverse=True)
    shown = dict(zip(row_names(axes), [text.get_text() for text in axes.texts], strict=True))
    # One combination of two objects, three of three (two pairs and all), none of one.
    assert shown["0e_0m_1j_1g"].endswith(" · 1 combination")
    assert shown["2e_0m_1j_0g"].endswith(" · 3 combinations")
    assert shown["0e_0m_1j_0g"].endswith(" · 0 combinations")
