"""The report of a run: what stands in the file, of single, merged and unfinished runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import main
from schemas.config import DEMO, Config
from schemas.errors import DataError, StorageError
from schemas.inputs import Sample
from schemas.reports import SliceReport
from schemas.summary import RunSummary
from services import pipeline, report, run_directory
from services.report import page
from services.report.reading import Browser, Content, Picture, read_run
from services.run_directory import RunDirectory, slice_report
from services.storage import reports
from tests import factory
from tests.services.report.made_run import ALL, BEGUN, Entries, make_config, write_run

# 55 is turn-on, 65 the peak, 105 an outlier behind an empty bin, on a grid of 10 GeV.
MASSES = [55.0, *[65.0] * 4, *[75.0] * 3, *[85.0] * 2, 105.0]
LATER = ("mass_calculating", "post_processing", "histogram_creation")


class Text(HTMLParser):
    """Collects the text of a page, and its elements by id."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.scripts: dict[str, str] = {}
        self.kinds: list[str] = []
        self._script: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.append(tag)
        found = dict(attrs)
        self._script = (found.get("id") or tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None
        if tag in ("p", "li", "td", "th", "tr", "h3", "section"):
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data


def written(paths: RunDirectory) -> str:
    return paths.report_file.read_text(encoding="utf-8")


def channels_in(text: str) -> dict[str, Any]:
    packed = Text(text).scripts["channel-data"]
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def two_muons(folder: Path, masses: list[float], n_files: int = 1, **blocks: Any) -> Config:
    pairs = [[(mass / 2, 0.0, 0.0), (mass / 2, 0.0, np.pi)] for mass in masses]
    files = []
    for number in range(n_files):
        part = pairs[number::n_files]
        files.append(str(factory.write_nanoaod(folder / f"{number}.root", muons=part)))
    parsing = {"local_files": {"cms-nanoaod": files}, "chunk_input_bytes": 1}
    return factory.make_config({"parsing_task_config": parsing} | blocks, folder)


def told(config: Config, paths: RunDirectory) -> str:
    """Return the report alone, as drawing figures takes longer."""
    report.run(config, paths, ALL, pipeline.progress(config, paths))
    return written(paths)


def done(config: Config, root: Path) -> str:
    return told(config, factory.run_pipeline(config, root))


def test_a_run_ends_with_its_report_in_which_the_books_balance(tmp_path: Path) -> None:
    text = Text(done(two_muons(tmp_path, MASSES), tmp_path / "run")).text
    assert "Complete Every stage of this run is done." in text
    assert "The books balance" in text
    assert "does not balance" not in text
    # One below the peak, nine in the main part, one beyond the first empty bin.
    for part in ("11 computed", "9 main", "1 outliers", "1 turn-on", "1 planned", "11 read"):
        assert part in text


def test_channels_are_those_of_the_plan(tmp_path: Path) -> None:
    [channel] = channels_in(done(two_muons(tmp_path, MASSES), tmp_path / "run"))["channels"]
    assert (channel["state"], channel["combination"]) == ("0e_2m_0j_0g", "m0m1")
    assert (channel["low"], channel["high"], channel["peak"]) == (60.0, 90.0, 60.0)
    assert channel["verdicts"] == [["10.0", "3 bins, fewer than 25"]]


def test_events_of_the_demo_release_are_called_generated(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = told(config, write_run(tmp_path / "run", config, entries(), source=DEMO))
    assert "Generated, not data" in Text(text).text
    assert channels_in(text)["notes"]["data"] == "generated, not data"


def test_collision_data_are_not_called_generated(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = told(config, write_run(tmp_path / "run", config, entries()))
    assert "Generated" not in Text(text).text
    notes = channels_in(text)["notes"]
    assert notes == {"data": "", "mc": "simulation, unweighted"}


def test_a_run_writes_its_report_and_drawing_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES)
    paths = factory.run_pipeline(config, tmp_path / "run", draws=True)
    before = paths.report_file.read_bytes()
    assert pipeline.draw_run(config, paths, ALL)[-1] == paths.report_file
    assert paths.report_file.read_bytes() == before


def test_the_last_lines_of_a_run_name_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    main.tell(pipeline.Done(()), config, paths)
    assert "report:" not in capsys.readouterr().out
    told(config, paths)
    main.tell(pipeline.Done(()), config, paths)
    assert f"report: {paths.report_file}" in capsys.readouterr().out.splitlines()


# Unfinished and merged runs


def batch(folder: Path, index: int | None, total: int = 2, **tasks: bool) -> Config:
    jobs = {"batch_job_index": index, "total_batch_jobs": total}
    return two_muons(folder, MASSES, n_files=4, run_metadata=jobs, tasks=tasks)


def test_a_run_that_only_parses_shows_what_it_has(tmp_path: Path) -> None:
    tasks = {f"do_{task}": False for task in LATER}
    config = two_muons(tmp_path, MASSES, tasks=tasks)
    text = Text(done(config, tmp_path / "run")).text
    # Nothing else is asked for.
    assert "Complete Every stage of this run is done." in text
    assert "The masses are not complete yet: run mass_calculating." in text
    assert "disabled" in text


def test_stages_that_are_still_to_be_done_are_named(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES)
    paths = factory.run_pipeline(config, tmp_path / "run")
    for folder in (paths.processed, paths.histograms):
        shutil.rmtree(folder)
    text = Text(told(config, paths)).text
    assert "Unfinished What is missing:" in text
    assert "post_processing is not done, or out of date" in text
    assert "histogram_creation is not done, or out of date" in text
    assert "Nothing is decided about the channels yet: run post_processing." in text


def test_missing_jobs_are_named_by_their_numbers(tmp_path: Path) -> None:
    paths = factory.run_pipeline(batch(tmp_path, 2), tmp_path / "run")
    text = Text(told(batch(tmp_path, None), paths)).text
    assert "parsing: 1 of 2 slices are not done, or out of date: 1" in text
    assert "mass_calculating: 2 of 2 slices are not done, or out of date: 1, 2" in text
    # Two files of four, which is no fault as long as a job is missing.
    assert "2 not read yet" in text
    assert "The books balance" in text


def test_a_failed_run_says_why_and_which_stage(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES, n_files=2)
    (tmp_path / "1.root").write_bytes(b"damaged")
    paths = run_directory.open_run(config, tmp_path / "run", BEGUN)
    with pytest.raises(DataError, match="1 of 2 files failed"):
        pipeline.run(config, paths, ALL)
    content = read_run(config, paths, pipeline.progress(config, paths))
    summary = reports.read(paths.summary_file(ALL), RunSummary)
    assert content.why_failed == (summary.reason,)
    assert content.failures == tuple(file.reason for file in summary.failed_files)
    assert content.software == summary.software
    # The files that could be read are on the books all the same.
    assert all(balance.is_balanced for balance in content.balances) is summary.balanced is True
    statuses = {line.name: line.status for line in content.stages}
    assert statuses == {
        "fetching": "done",
        "parsing": "failed",
        **dict.fromkeys(LATER, "not begun"),
    }
    text = Text(told(config, paths)).text
    assert "✗Failed" in text
    assert "Unfinished" not in text
    for part in ("2 planned", "1 read", "1 failed", "1 file could not be read whole"):
        assert part in text


def test_a_failure_that_was_mended_is_told_no_more(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES, n_files=2)
    good = (tmp_path / "1.root").read_bytes()
    (tmp_path / "1.root").write_bytes(b"damaged")
    paths = run_directory.open_run(config, tmp_path / "run", BEGUN)
    with pytest.raises(DataError, match="1 of 2 files failed"):
        pipeline.run(config, paths, ALL)
    (tmp_path / "1.root").write_bytes(good)
    pipeline.run(config, paths, ALL, draws=False)
    text = Text(told(config, paths)).text
    assert "Complete Every stage of this run is done." in text
    assert "Failed:" not in text
    assert "✗" not in text


def test_a_failed_job_is_named(tmp_path: Path) -> None:
    config = batch(tmp_path, 2)
    (tmp_path / "3.root").write_bytes(b"damaged")
    paths = run_directory.open_run(config, tmp_path / "run", BEGUN)
    pipeline.run(config, paths, pipeline.slice_of(config))
    other = batch(tmp_path, 1)
    (tmp_path / "3.root").write_bytes(b"damaged")
    with pytest.raises(DataError, match="files failed"):
        pipeline.run(other, paths, pipeline.slice_of(other))
    whole = batch(tmp_path, None)
    [why] = read_run(whole, paths, pipeline.progress(whole, paths)).why_failed
    assert why.startswith("job 1: ")
    assert "files failed" in why


def test_a_run_that_was_killed_before_it_could_say_why_names_its_log(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES, n_files=2)
    (tmp_path / "1.root").write_bytes(b"damaged")
    paths = run_directory.open_run(config, tmp_path / "run", BEGUN)
    with pytest.raises(DataError, match="1 of 2 files failed"):
        pipeline.run(config, paths, ALL)
    paths.summary_file(ALL).unlink()
    [why] = read_run(config, paths, pipeline.progress(config, paths)).why_failed
    assert "pipeline.log" in why


def test_jobs_that_are_not_merged_are_unfinished(tmp_path: Path) -> None:
    for task in ("parsing", *LATER):
        only = {f"do_{other}": other == task for other in ("parsing", *LATER)}
        for index in (1, 2):
            paths = factory.run_pipeline(batch(tmp_path, index, **only), tmp_path / "run")
    config = batch(tmp_path, None)
    content = read_run(config, paths, pipeline.progress(config, paths))
    assert content.missing == ("the histograms of the jobs are not merged",)
    assert content.browser is not None
    # Before the sum is known, nobody can judge.
    assert [row["verdicts"] for row in content.browser.channels] == [None]


def test_a_merged_run_has_the_books_of_all_jobs(tmp_path: Path) -> None:
    paths = factory.run_pipeline(batch(tmp_path, 1), tmp_path / "run")
    config = batch(tmp_path, None)
    pipeline.merge_run(config, paths, draws=False)
    text = told(config, paths)
    shown = Text(text).text
    assert "Complete" in shown
    assert "2 of 2" in shown
    for part in ("4 planned", "11 read", "11 computed", "9 main", "9 filled"):
        assert part in shown
    [channel] = channels_in(text)["channels"]
    assert channel["population"] == 11
    # The whole and a run of one job show the same channels.
    single = done(two_muons(tmp_path / "one", MASSES), tmp_path / "single")
    assert channels_in(single) == channels_in(text)


def test_what_was_merged_of_other_jobs_is_not_shown(tmp_path: Path) -> None:
    paths = factory.run_pipeline(batch(tmp_path, 1), tmp_path / "run")
    config = batch(tmp_path, None)
    pipeline.merge_run(config, paths, draws=False)
    merged = reports.read(paths.merge_report, SliceReport)
    reports.write(paths.merge_report, merged.model_copy(update={"inputs": "of others"}), ALL)
    content = read_run(config, paths, pipeline.progress(config, paths))
    assert content.missing == ("the histograms of the jobs are not merged",)
    assert not any(line.what.startswith("Histograms") for line in content.balances)


def test_a_plan_of_another_configuration_is_not_shown(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES)
    paths = factory.run_pipeline(config, tmp_path / "run")
    other = config.post_processing_task_config.model_copy(update={"remove_turn_on": False})
    changed = config.model_copy(update={"post_processing_task_config": other})
    text = Text(told(changed, paths)).text
    assert "The plan is out of date; run post_processing again." in text
    assert "post_processing_task_config.remove_turn_on: True in config.yaml, False now" in text


def test_a_run_directory_without_anything_has_a_report(tmp_path: Path) -> None:
    config = two_muons(tmp_path, MASSES)
    paths = run_directory.open_run(config, tmp_path / "run", BEGUN)
    text = Text(told(config, paths)).text
    assert "No books yet" in text
    assert "parsing is not done, or out of date" in text
    assert "Nothing has been parsed yet." in text
    assert "There are no figures yet." in text


# By hand: books, hostile names, size


def entries(n: int = 1) -> Entries:
    counts = np.zeros(51, dtype=np.int64)
    counts[11:23] = [30, 20, 15, 12, 10, 8, 6, 5, 4, 3, 2, 1]
    channels = {f"{k}e_2m/m0m1": counts for k in range(n)}
    return {Sample.DATA: channels}


def config_of(folder: Path) -> Config:
    return make_config(folder, post_processing_task_config={"max_mass_gev": 500.0})


def test_books_that_do_not_balance_are_red(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    assert "The books balance" in Text(told(config, paths)).text
    file = slice_report(paths.processed, ALL)
    summary = reports.read(file, SliceReport)
    more = {"made": summary.made | {"main": summary.made["main"] + 1}}
    reports.write(file, summary.model_copy(update=more), ALL)
    text = told(config, paths)
    assert "The books do not balance Look at: Masses" in Text(text).text
    assert text.count('<span class="sign bad">✗</span>') == 2


def test_events_that_were_lost_between_two_stages_are_red(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    file = slice_report(paths.parsed_data, ALL)
    parsed = reports.read(file, SliceReport)
    more = {
        "taken": parsed.taken | {"events": parsed.taken["events"] + 1},
        "made": parsed.made | {"events": parsed.made["events"] + 1},
    }
    reports.write(file, parsed.model_copy(update=more), ALL)
    text = Text(told(config, paths)).text
    assert "The books do not balance Look at: Final states." in text


HOSTILE = """</script></style><script>alert(1)</script><img src=x onerror="alert('2')">&"""


def test_hostile_text_is_shown_and_makes_no_element(tmp_path: Path) -> None:
    plain = config_of(tmp_path)
    expected = Text(told(plain, write_run(tmp_path / "plain", plain, entries())))
    folder = tmp_path / "<img src=x onerror='alert(3)'>&\""
    folder.mkdir()
    # The folder is in the configuration, and the name of the run in the title.
    config = config_of(folder)
    paths = write_run(folder / "<b>&amp;", config, entries(), failures=[HOSTILE], notes=[HOSTILE])
    text = Text(told(config, paths))
    assert text.text.count(HOSTILE) == 2
    assert text.text.count("<b>&amp;") == 2
    # YAML folds a long line at a space.
    assert folder.name in " ".join(text.text.split())
    # The list of failures is all that the other page has not.
    assert set(text.kinds) == {*expected.kinds, "ol"}
    assert text.kinds.count("script") == expected.kinds.count("script") == 3


def test_only_the_programs_own_code_and_style_are_allowed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = told(config, write_run(tmp_path / "run", config, entries()))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    for kind, start in (("script", '<script type="module">'), ("style", "<style>")):
        [content] = re.findall(f"{start}(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy.replace("&#x27;", "'")
    assert policy.startswith("default-src")


def test_nothing_is_fetched(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = told(config, write_run(tmp_path / "run", config, entries()))
    pattern = r"""(?:src|href)=["']([^"']*)["']|url\(([^)]*)\)|(@import)"""
    addresses = ["".join(match) for match in re.findall(pattern, text)]
    assert len(addresses) > 10
    assert all(address.startswith("#") for address in addresses)


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02" + bytes(20)


def test_figures_are_shown_in_the_order_of_their_names(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    paths.plots.mkdir()
    for name in ("10_last.png", "02_first_of_all_mc.png", "02_first_of_all_mc.pdf", "a&b c.png"):
        (paths.plots / name).write_bytes(PNG)
    text = told(config, paths)
    titles = re.findall(r"<figcaption><b>(.*?)</b>", text)
    assert titles == ["First of all (simulation)", "Last", "A&amp;b c"]
    assert 'href="a%26b%20c.png"' in text
    assert text.count('width="3" height="2"') == 3


def bare_content(**parts: Any) -> Content:
    content = Content(
        name="run",
        started=None,
        ended=None,
        is_generated=False,
        missing=(),
        why_failed=(),
        stages=(),
        balances=(),
        cut_flows={},
        failures=(),
        notes=(),
        configuration="",
        changed=(),
        software={},
        pictures=(),
        browser=None,
        no_browser="",
    )
    return replace(content, **parts)


def test_a_picture_that_would_make_the_page_too_large_is_left_in_its_file() -> None:
    # In base64 each takes a third more: three of 3 MB do not fit into 10.
    pictures = tuple(Picture(name, PNG + bytes(3_000_000), (f"{name}.png",)) for name in "abc")
    text = page.render(bare_content(pictures=pictures))
    assert len(text.encode()) < page.MOST_BYTES
    assert text.count("<img") == 2
    assert text.count("<figure>") == 3
    assert 'href="c.png"' in text


def test_the_largest_channels_keep_their_spectra_where_not_all_fit() -> None:
    spectra = tuple(letter * 3_000_000 for letter in "ABCD")
    channels = tuple({"population": n} for n in (5, 9, 1, 7))
    browser = Browser(10.0, channels, spectra, {})
    text = page.render(bare_content(browser=browser))
    assert len(text.encode()) < page.MOST_BYTES
    lines = Text(text).scripts["spectrum-data"].split("\n")
    assert [line[:1] for line in lines] == ["A", "B", "", "D"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61.4, "1 min 01 s"), (7384, "2 h 03 min")],
)
def test_times_are_written_for_people(seconds: float, expected: str) -> None:
    assert page._duration(seconds) == expected  # noqa: SLF001 - it is in many cells


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, "–"),
        (0, 5, "0.0 %"),
        (1, 5000, "< 0.1 %"),
        (1, 3, "33.3 %"),
        (4999, 5000, "> 99.9 %"),
        (5, 5, "100.0 %"),
    ],
)
def test_only_all_is_a_hundred_percent(part: int, whole: int, expected: str) -> None:
    assert page._share(part, whole) == expected  # noqa: SLF001 - it is in many cells


def test_a_damaged_file_fails_the_report_and_is_named(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    paths.plan_file.write_text("{")
    with pytest.raises(DataError, match=re.escape(str(paths.plan_file))):
        told(config, paths)
    assert not paths.report_file.exists()


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    paths = write_run(tmp_path / "run", config, entries())
    paths.plots.touch()
    with pytest.raises(StorageError, match=r"index\.html"):
        told(config, paths)
