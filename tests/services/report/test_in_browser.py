"""The report in a real Chromium: what is seen, clicked and typed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.config import Config
from schemas.inputs import Sample
from schemas.plan import Plan
from schemas.reports import CutRow
from services import pipeline, report
from services.calculations.objects import Integers
from services.run_directory import RunDirectory
from services.storage import reports
from tests.chromium import PROGRAM, SHIFT, Page, open_page
from tests.services.report.made_run import (
    ALL,
    Entries,
    make_config,
    many_channels,
    write_run,
)

pytestmark = pytest.mark.skipif(
    PROGRAM is None,
    reason="there is no Chromium here: install it (Debian, Ubuntu: apt-get install chromium)",
)

N_BINS = 50
HOSTILE = """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">"""


def counted(first: int, *counts: int, overflow: int = 0) -> Integers:
    """Return the entries of the grid of 10 GeV, of which the first bins are empty."""
    entries = np.zeros(N_BINS + 1, dtype=np.int64)
    entries[first : first + len(counts)] = counts
    entries[-1] = overflow
    return entries


# A Z in 80-100; all below 110 GeV is removed; from there it falls until 230, behind which two lie.
Z_CHANNEL = counted(4, 5, 10, 20, 40, 400, 400, 40, 30, 20, 15, 12, 10, 8, 6, 5, 4, 3, 2, 1)
Z_CHANNEL[25] = 2
# Diphotons with a veto in 120-130.
H_CHANNEL = counted(5, 3, 100, 90, 80, 70, 60, 55, 90, 50, 45, 40, 35, 30, 25, 20, overflow=7)
PLAIN = counted(8, 50, 40, 30, 20, 10)
LONG = counted(5, *range(40, 5, -1))
NOTHING_LEFT = counted(8, 300, 300)

CHANNELS: Entries = {
    Sample.DATA: {
        "2e_0m_0j_0g/e0e1": Z_CHANNEL,
        "0e_0m_0j_2g/g0g1": H_CHANNEL,
        "0e_2m_0j_0g/m0m1": NOTHING_LEFT,
        "0e_0m_10j_0g/j0j1": PLAIN,
        "0e_0m_2j_0g/j0j1": LONG,
        **{f"1e_{m}m_0j_0g/e0m0": PLAIN * m for m in range(1, 40)},
    },
    Sample.SIMULATION: {"2e_0m_0j_0g/e0e1": PLAIN * 7},
}
N_CHANNELS = 45


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(
        tmp_path_factory.mktemp("config"),
        post_processing_task_config={"max_mass_gev": 10.0 * N_BINS},
    )


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    steps = [CutRow(step=HOSTILE, of="events", before=10**6, removed=3)]
    root = tmp_path_factory.mktemp("run") / "<img src=x onerror=window.hacked=1>"
    paths = write_run(
        root,
        config,
        CHANNELS,
        source="demo",
        failures=[f"/data/mc.root: {HOSTILE}"],
        steps=steps,
        notes=[HOSTILE],
    )
    report.run(config, paths, ALL, pipeline.progress(config, paths))
    return paths


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Page, run: RunDirectory) -> Iterator[Page]:
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.open(run.report_file)
    chromium.wait_for("document.querySelector('#outline') !== null")
    yield chromium
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith(("file:", "data:"))] == []


def names(page: Page) -> list[str]:
    """Return the channels at the top of the list."""
    rows: list[str] = page.evaluate(
        """[...document.querySelectorAll("[role=option]")]
            .sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)
            .map((row) => row.querySelector(".state-name").textContent
                + "/" + row.querySelector(".combination").textContent)"""
    )
    return rows


def search(page: Page, text: str) -> None:
    page.click("#search")
    page.evaluate("document.querySelector('#search').select()")
    page.type(text)


def show(page: Page, text: str) -> None:
    """Choose the first channel that a search finds."""
    search(page, text)
    [name, *_] = names(page)
    state, combination = name.split("/")
    page.wait_for(f"document.querySelector('#channel-name').textContent.endsWith(' in {state}')")
    assert page.text("#channel-name") == f"{combination} in {state}"
    # The spectrum is unpacked a moment later.
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")


def values(page: Page) -> list[list[str]]:
    """Return the table of the values in view."""
    page.evaluate("document.querySelector('#values').open = true")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")
    rows: list[list[str]] = page.evaluate(
        """[...document.querySelectorAll("#value-rows tr")].map(
            (row) => [...row.cells].map((cell) => cell.textContent))"""
    )
    return rows


def test_it_asks_nobody_for_anything(page: Page) -> None:
    assert page.requests[0].startswith("file:")
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_hostile_names_do_nothing(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.text("h1") == "<img src=x onerror=window.hacked=1>"
    assert HOSTILE in page.text("#files")
    assert HOSTILE in page.text("#notes")


def test_generated_events_are_called_so_above_and_in_the_spectrum(page: Page) -> None:
    assert "Generated, not data" in page.text("#generated")
    assert "generated, not data" in page.texts("#plot text")


# The list


def test_all_channels_are_listed_but_only_those_in_view_are_in_the_document(page: Page) -> None:
    assert page.text("#count") == f"{N_CHANNELS} of {N_CHANNELS} channels"
    assert 10 < len(names(page)) < 40
    assert page.evaluate("document.querySelector('[role=option]').ariaSetSize") == str(N_CHANNELS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e0e1", ["2e_0m_0j_0g/e0e1", "2e_0m_0j_0g/e0e1"]),
        ("2e_0m e0e1", ["2e_0m_0j_0g/e0e1", "2e_0m_0j_0g/e0e1"]),
        # Neither 12m nor 22m, nor 32m.
        ("2m_0j e0m0", ["1e_2m_0j_0g/e0m0"]),
        # Ten jets are not no jets, and one.
        ("0j_0g j0j1", ["0e_0m_10j_0g/j0j1"][:0]),
        ("10j", ["0e_0m_10j_0g/j0j1"]),
        ("g0g1", ["0e_0m_0j_2g/g0g1"]),
        ("nothing", []),
    ],
)
def test_a_search_finds_channels_by_their_words(page: Page, text: str, expected: list[str]) -> None:
    search(page, text)
    assert names(page) == expected
    assert page.text("#count") == f"{len(expected)} of {N_CHANNELS} channels"


def test_where_nothing_is_found_it_is_said(page: Page) -> None:
    search(page, "nothing")
    assert "No channel fits" in page.text("#list")
    assert page.evaluate("document.querySelector('#detail').hidden") is True


@pytest.mark.parametrize(
    ("filter_by", "value", "expected"),
    [
        ("by-state", "2e_0m_0j_0g", {"2e_0m_0j_0g/e0e1"}),
        ("by-combination", "j0j1", {"0e_0m_10j_0g/j0j1", "0e_0m_2j_0g/j0j1"}),
        ("by-sample", "mc", {"2e_0m_0j_0g/e0e1"}),
        ("by-verdict", "dropped", {"0e_2m_0j_0g/m0m1"}),
        # 36 bins are enough, and their sum is above 100.
        ("by-verdict", "accepted", {"0e_0m_2j_0g/j0j1"}),
        ("by-verdict", "unknown", set()),
    ],
)
def test_filters_choose_channels(
    page: Page, filter_by: str, value: str, expected: set[str]
) -> None:
    page.choose(f"#{filter_by}", value)
    assert set(names(page)) == expected
    page.click("#filters button[type=reset]")
    page.wait_for(f"document.querySelector('#count').textContent.startsWith('{N_CHANNELS} ')")


def test_the_rejected_are_told_why(page: Page) -> None:
    page.choose("#by-verdict", "rejected")
    assert page.text("#count") == f"43 of {N_CHANNELS} channels"
    show(page, "2e_0m")
    # Of simulation, which has more entries, a Z is removed: 110-120 and 120-130 GeV are left.
    assert "not for BumpNet: 2 bins, fewer than 25" in page.text("#facts")


def test_the_dropped_are_told_why(page: Page) -> None:
    show(page, "m0m1")
    assert "dropped: no peak" in page.text("#facts")


def test_lists_are_sorted(page: Page) -> None:
    page.choose("#sort", "entries")
    entries = page.texts("[role=option] .entries")
    numbers = [int(text.replace(",", "")) for text in entries]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == 150 * 39
    page.choose("#sort", "name")
    assert names(page)[:3] == ["0e_0m_0j_2g/g0g1", "0e_0m_10j_0g/j0j1", "0e_0m_2j_0g/j0j1"]


def test_detected_resonances_come_first_if_asked_the_most_significant_first(
    page: Page, run: RunDirectory
) -> None:
    plan = reports.read(run.plan_file, Plan)
    found = {
        name: max(test.significance for test in decided.resonances if test.detected)
        for name, decided in plan.channels[Sample.DATA].items()
        if any(test.detected for test in decided.resonances)
    }
    assert len(found) >= 2
    page.choose("#by-sample", "data")
    page.choose("#sort", "significance")
    assert names(page)[: len(found)] == sorted(found, key=lambda name: -found[name])


# The spectrum


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("e0e1 2e_0m", "2e_0m_0j_0g/e0e1"),
        ("g0g1", "0e_0m_0j_2g/g0g1"),
        ("10j", "0e_0m_10j_0g/j0j1"),
    ],
)
def test_the_values_are_those_of_the_spectrum(page: Page, text: str, name: str) -> None:
    page.choose("#by-sample", "data")
    show(page, text)
    page.click("#show-all")
    entries = CHANNELS[Sample.DATA][name][:-1]
    n_bins = int(np.flatnonzero(entries)[-1]) + 1
    expected = [[str(10 * k), str(10 * k + 10), str(entries[k])] for k in range(n_bins)]
    assert [row[:3] for row in values(page)] == expected


def test_regions_are_marked(page: Page) -> None:
    page.choose("#by-sample", "data")
    show(page, "e0e1")
    page.click("#show-all")
    found = [row[3] for row in values(page)]
    # Below 110 GeV, up to the empty bin at 230, and behind.
    assert found == ["resonance and below"] * 11 + ["main"] * 12 + ["outliers"] * 3
    bands = page.evaluate(
        """[...document.querySelectorAll("#plot [data-region]")].map((band) =>
            [band.dataset.region, band.x.baseVal.value, band.width.baseVal.value])"""
    )
    left, width = bands[0][1], bands[0][2] / 11
    assert [band[0] for band in bands] == ["floor", "tail"]
    assert bands[1][1] == pytest.approx(left + 23 * width, abs=0.1)
    assert page.texts("#legend li") == ["116 main", "2 outliers", "915 resonance and below"]


def test_a_vetoed_window_is_marked_inside_the_main_part(page: Page) -> None:
    show(page, "g0g1")
    page.click("#show-all")
    found = [row[3] for row in values(page)]
    assert found == ["turn-on"] * 6 + ["main"] * 6 + ["resonance"] + ["main"] * 7
    assert page.texts("#plot [data-resonance] + text") == ["H"]
    assert "7 overflow" in page.texts("#legend li")


def test_resonances_are_listed_with_their_numbers(page: Page) -> None:
    page.choose("#by-sample", "data")
    show(page, "e0e1")
    # 800 in 80-100; beside it 20 + 40 and 40 + 30, so 65: 735 / sqrt(65) and 735 / 65.
    assert page.texts("#resonances td") == [
        *("Z", "80–100", "800", "65", "91.2", "1,130.8 %", "detected, removed"),
    ]


def outline(page: Page) -> list[float]:
    """Return the heights of the bins of the drawn spectrum, in pixels above the axis."""
    path = page.evaluate("document.querySelector('#outline').getAttribute('d')")
    base = float(re.match(r"M[0-9.]+ ([0-9.]+)", path)[1])  # type: ignore[index]
    return [base - float(height) for height in re.findall(r"V([0-9.]+)", path)]


def test_on_a_linear_scale_heights_are_as_the_entries(page: Page) -> None:
    page.choose("#by-sample", "data")
    show(page, "g0g1")
    page.click("#show-all")
    page.click("#log")
    assert page.evaluate("document.querySelector('#log').ariaPressed") == "false"
    heights = np.array(outline(page))
    entries = H_CHANNEL[:20]
    assert heights == pytest.approx(entries * heights.max() / entries.max(), abs=0.02)


def test_on_a_logarithmic_scale_equal_ratios_are_equal_heights(page: Page) -> None:
    page.choose("#by-sample", "data")
    show(page, "e0e1")
    page.click("#show-all")
    heights = outline(page)
    # 5, 10, 20 and 40 in the bins from 40 GeV; nothing below.
    assert np.diff(heights[4:8]) == pytest.approx([heights[5] - heights[4]] * 3, abs=0.03)
    assert heights[:4] == [0, 0, 0, 0]


def test_a_spectrum_can_be_saved(page: Page, tmp_path: Path) -> None:
    page.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    show(page, "g0g1")
    page.evaluate("document.querySelector('#values').open = true")
    page.click("#save")
    file = tmp_path / "0e_0m_0j_2g_g0g1.csv"
    deadline = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    header, *lines = file.read_text().splitlines()
    assert header == "low_gev,high_gev,entries,class"
    assert lines[5:7] == ["50,60,3,turn-on", "60,70,100,main"]
    assert [int(line.split(",")[2]) for line in lines] == H_CHANNEL[:20].tolist()


def test_axes_have_units(page: Page) -> None:
    show(page, "g0g1")
    texts = page.texts("#plot text")
    assert "m [GeV]" in texts
    assert "entries / 10 GeV" in texts
    page.choose("#rebin", "2")
    assert "entries / 20 GeV" in page.texts("#plot text")
    # 100 and 90 of 60-80 GeV.
    assert values(page)[3][:3] == ["60", "80", "190"]


def test_the_mouse_reads_values_and_zooms(page: Page) -> None:
    show(page, "g0g1")
    page.click("#show-all")
    left, top, width, height = page.box("#plot")
    edges = page.evaluate(
        """(() => { const axis = document.querySelector("#frame rect");
            return [axis.x.baseVal.value, axis.width.baseVal.value]; })()"""
    )

    def at(bins: float) -> tuple[float, float]:
        return left + edges[0] + edges[1] * bins / 20, top + height / 2

    assert width > edges[1]
    page.mouse("mouseMoved", *at(7.5))
    assert page.text("#readout") == "70–80 GeV: 90 entries (main)"
    page.mouse("mousePressed", *at(6.2))
    page.mouse("mouseMoved", *at(8), buttons=1)
    page.mouse("mouseMoved", *at(11.8), buttons=1)
    page.mouse("mouseReleased", *at(11.8))
    assert [row[0] for row in values(page)] == ["60", "70", "80", "90", "100", "110"]
    page.click("#show-all")
    assert len(values(page)) == 20


def test_a_wheel_zooms_the_spectrum_in_use_around_the_mouse(page: Page) -> None:
    show(page, "g0g1")
    page.click("#show-all")
    page.evaluate("document.querySelector('#plot').focus()")
    left, top, width, height = page.box("#plot")
    page.mouse("mouseWheel", left + width / 2, top + height / 2, deltaX=0, deltaY=-100)
    page.wait_for("document.querySelectorAll('#plot').length === 1")
    shown = values(page)
    assert len(shown) == 16
    assert 0 < int(shown[0][0]) < int(shown[-1][0]) < 190


# Keys


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))


def test_all_is_reached_with_tab_in_the_order_of_reading_and_seen(page: Page) -> None:
    reached = []
    for _ in range(27):
        page.press("Tab")
        reached.append(focused(page))
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", reached[-1]
    wanted = ["Skip to the channels", "Summary", "search", "by-state", "by-combination"]
    wanted += ["by-sample", "by-verdict", "sort", "list", "log", "zoom-in", "show-all", "rebin"]
    wanted += ["plot"]
    assert [reached.index(name) for name in wanted] == sorted(map(reached.index, wanted))


def chosen_option(page: Page) -> tuple[str, str]:
    """Return the position of the option that is announced, and that of the selected one."""
    announced, selected = page.evaluate(
        """(() => {
            const list = document.querySelector("[role=listbox]");
            const at = document.getElementById(list.getAttribute("aria-activedescendant"));
            const all = list.querySelectorAll("[aria-selected=true]");
            return [at.ariaPosInSet, [...all].map((option) => option.ariaPosInSet).join()];
        })()"""
    )
    return announced, selected


def test_arrow_keys_walk_through_the_list(page: Page) -> None:
    page.evaluate("document.querySelector('#list').focus()")
    assert chosen_option(page) == ("1", "1")
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert chosen_option(page) == ("2", "2")
    page.press("End")
    assert chosen_option(page) == (str(N_CHANNELS), str(N_CHANNELS))
    page.press("ArrowDown")
    assert chosen_option(page) == (str(N_CHANNELS), str(N_CHANNELS))
    page.press("Home", "PageDown")
    assert int(chosen_option(page)[0]) > 5
    page.press("Home")
    assert chosen_option(page) == ("1", "1")
    page.wait_for("document.querySelector('#channel-name').textContent === 'e0m0 in 1e_39m_0j_0g'")


def test_the_chosen_row_is_in_view(page: Page) -> None:
    page.evaluate("document.querySelector('#list').focus()")
    page.press("End")
    inside = page.evaluate(
        """(() => {
            const list = document.querySelector("#list").getBoundingClientRect();
            const row = document.querySelector("[aria-selected=true]").getBoundingClientRect();
            return row.top >= list.top - 1 && row.bottom <= list.bottom + 1;
        })()"""
    )
    assert inside


def test_keys_read_move_and_zoom_the_spectrum(page: Page) -> None:
    show(page, "g0g1")
    page.evaluate("document.querySelector('#plot').focus()")
    page.press("0", "Home")
    assert page.text("#readout") == "0–10 GeV: 0 entries (turn-on)"
    page.press(*["ArrowRight"] * 6)
    assert page.text("#readout") == "60–70 GeV: 100 entries (main)"
    page.press("+")
    assert len(values(page)) == 13
    first = int(values(page)[0][0])
    page.evaluate("document.querySelector('#plot').focus()")
    page.press("ArrowRight", modifiers=SHIFT)
    assert int(values(page)[0][0]) == first + 20
    page.evaluate("document.querySelector('#plot').focus()")
    page.press("-", "-", "l")
    assert len(values(page)) == 20
    assert page.evaluate("document.querySelector('#log').ariaPressed") == "false"


# Looks

# Of all text that is seen, the smallest contrast with what is behind it (WCAG 2.1, 1.4.3).
CONTRAST = """(() => {
    const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).map((value) => value / 255).map(
            (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    let worst = [99, ""];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(
            (node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.getClientRects().length) continue;
        if (["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
        const both = [luminance(colour), luminance(behind(element))].sort((a, b) => b - a);
        const contrast = (both[0] + 0.05) / (both[1] + 0.05);
        if (contrast < worst[0]) worst = [contrast, element.outerHTML.slice(0, 200)];
    }
    return worst;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    show(page, "g0g1")
    contrast, where = page.evaluate(CONTRAST)
    assert 4.5 <= contrast < 99, where
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")


def test_on_a_telephone_nothing_is_wider_than_the_page(page: Page) -> None:
    page.resize(360, 740, mobile=True)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    for text in ("g0g1", "e0e1"):
        show(page, text)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    outside = page.evaluate(
        """[...document.querySelectorAll("h1, h2, p, li, #plot, #list, input, select, button")]
            .filter((part) => part.getClientRects().length && !part.closest(".hidden, .skip"))
            .filter((part) => part.getBoundingClientRect().right > 361)
            .map((part) => part.outerHTML.slice(0, 100))"""
    )
    assert outside == []


def test_on_paper_the_spectrum_is_shown_without_the_tools(page: Page) -> None:
    page.prefer("light", media="print")
    for part in ("nav", "#filters", "#list", ".toolbar"):
        assert page.evaluate(f"document.querySelector('{part}').getClientRects().length") == 0
    assert page.evaluate("document.querySelector('#plot').getClientRects().length") == 1


def test_on_paper_no_table_is_cut_off(page: Page) -> None:
    # A4 upright, without its margins.
    page.resize(718, 1000)
    page.prefer("light", media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 718


def test_without_a_plan_the_page_says_what_to_do(
    chromium: Page, config: Config, tmp_path: Path
) -> None:
    paths = write_run(tmp_path / "run", config, CHANNELS)
    paths.plan_file.unlink()
    for path in paths.processed.iterdir():
        path.unlink()
    report.run(config, paths, ALL, pipeline.progress(config, paths))
    chromium.open(paths.report_file)
    assert "run post_processing" in chromium.text("#no-browser")
    assert chromium.evaluate("document.querySelector('#browser')") is None
    assert "post_processing" in chromium.text("#missing")
    assert chromium.complaints == []


# Size

MOST_SECONDS_TO_MAKE = 20.0
MOST_MILLISECONDS_TO_PAINT = 1000.0


@pytest.mark.slow
def test_two_thousand_channels_are_usable(chromium: Page, tmp_path: Path) -> None:
    blocks: dict[str, Any] = {
        "post_processing_task_config": {
            "peak_detection_bin_width_gev": 1.0,
            "max_mass_gev": 3000.0,
        },
        "histogram_creation_task_config": {"bin_width_gev": 1.0},
    }
    config = make_config(tmp_path, **blocks)
    entries = many_channels(config, 2000, 3000)
    paths = write_run(tmp_path / "run", config, entries)
    started = time.monotonic()
    report.run(config, paths, ALL, pipeline.progress(config, paths))
    assert time.monotonic() - started < MOST_SECONDS_TO_MAKE
    assert paths.report_file.stat().st_size < 10_000_000
    chromium.resize(1280, 900)
    chromium.prefer("light")
    painted = []
    for _ in range(3):
        chromium.open(paths.report_file)
        chromium.wait_for("document.querySelector('#outline') !== null")
        painted.append(
            chromium.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
    # What else the machine does can only make it slower.
    assert min(painted) < MOST_MILLISECONDS_TO_PAINT
    search(chromium, "m0m1")
    chromium.wait_for("!document.querySelector('#count').textContent.startsWith('2,000')")
    [name, *_] = names(chromium)
    chromium.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
    chromium.click("#show-all")
    shown = [int(row[2].replace(",", "")) for row in values(chromium)]
    assert shown == entries[Sample.DATA][name][: len(shown)].tolist()
    assert len(shown) == 2000
    assert chromium.complaints == []
