"""Reports whose books do not balance are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.reports import (
    ClassCounts,
    CutRow,
    Distribution,
    Distributions,
    FileOutcome,
    FileStatus,
    HistogramReport,
    MassReport,
    ObjectDistributions,
    Output,
    ParseReport,
    PostProcessingReport,
    add_cut_flows,
    check_classes,
    check_cut_flow,
)

OUTPUT = Output(name="out", size=1, xxh128="0" * 32)
CHUNK = {
    "chunk": "parsed_demo_chunk1",
    "sample": Sample.DATA,
    "source": "demo",
    "inputs": "1" * 64,
    "seconds": 1.0,
    "peak_memory_bytes": 1,
    "output": OUTPUT,
}


def row(step: str, before: int, removed: int, of: str = "events") -> CutRow:
    return CutRow(step=step, of=of, before=before, removed=removed)


def parse_report(**changes: Any) -> ParseReport:
    """Return books that balance - 10 events read, 3 and then 1 cut away - but for `changes`."""
    balanced = {
        "layout": "cms-nanoaod",
        "files": (
            FileOutcome(url="a", status=FileStatus.DONE, events=6),
            FileOutcome(url="b", status=FileStatus.PARTIAL, events=4, reason="cut short"),
            FileOutcome(url="c", status=FileStatus.FAILED, events=0, reason="not ROOT"),
        ),
        "events_read": 10,
        "events_kept": 6,
        "cut_flow": (row("number of muons", 10, 3), row("number of jets", 7, 1)),
        "objects_kept": {"Muons": 8},
        "populations": {"0e_2m": 2, "0e_1m": 4},
    }
    return ParseReport(**{**CHUNK, **balanced, **changes})


def test_parsing_that_balances_is_returned() -> None:
    assert parse_report().check(3) == parse_report()


EIGHT = Distribution(bins=(5, 0, 1), below=1, not_a_number=1)


def seen(**changes: Distribution) -> Distributions:
    """Return distributions of the 8 muons kept in 6 events, but for `changes`."""
    of_events = Distribution(bins=(0, 4, 2))
    right = {"pt": EIGHT, "eta": EIGHT, "multiplicity": of_events}
    return Distributions(after={"Muons": ObjectDistributions(**{**right, **changes})})


def test_distributions_of_all_objects_balance() -> None:
    report = parse_report(distributions=seen())
    assert report.check(3) == report


def test_distributions_add_up_bin_by_bin() -> None:
    one = Distribution(bins=(1, 2), below=1, above=2, not_a_number=3)
    total = Distribution(bins=(6, 2, 1), below=2, above=2, not_a_number=4)
    assert one + EIGHT == EIGHT + one == total
    assert total.total == one.total + EIGHT.total
    before = Distributions(before={"Jets": ObjectDistributions(eta=one)})
    both = seen() + before
    assert both.after == seen().after
    assert both.before == before.before


UNBALANCED_PARSING: dict[str, tuple[dict[str, Any], str]] = {
    "more read than the files have": ({"events_read": 11}, "events of the files: 11 against 10"),
    "jump between cuts": (
        {"cut_flow": (row("number of muons", 10, 3), row("number of jets", 8, 2))},
        "events before number of jets: 7 against 8",
    ),
    "first cut sees fewer": (
        {"cut_flow": (row("number of muons", 9, 3),)},
        "events before number of muons: 10 against 9",
    ),
    "cuts leave more than was kept": (
        {"cut_flow": (row("number of muons", 10, 3),)},
        "events kept: 7 against 6",
    ),
    "no cut but fewer kept": ({"cut_flow": ()}, "events kept: 10 against 6"),
    "an object without pt": (
        {"distributions": seen(pt=Distribution(bins=(0, 7)))},
        "objects and their pt, Muons kept: 8 against 7",
    ),
    "an object without eta": (
        {"distributions": seen(eta=Distribution(bins=(8,), below=1))},
        "objects and their eta, Muons kept: 8 against 9",
    ),
    "an event without multiplicity": (
        {"distributions": seen(multiplicity=Distribution(bins=(0, 3), above=2))},
        "events and multiplicities, Muons kept: 6 against 5",
    ),
    "an object that was never read": (
        {"distributions": Distributions(before={"Muons": ObjectDistributions(pt=EIGHT)})},
        "objects and their pt, Muons read: 0 against 8",
    ),
    "population lost": ({"populations": {"0e_2m": 5}}, "populations: 6 against 5"),
}


@pytest.mark.parametrize(
    ("changes", "complaint"), UNBALANCED_PARSING.values(), ids=UNBALANCED_PARSING
)
def test_parsing_that_does_not_balance_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=f"parsing of parsed_demo_chunk1: .*{complaint}"):
        parse_report(**changes).check(3)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"output": Output(name="out", size=2, xxh128="2" * 32), "seconds": 9.0}, True),
        ({"inputs": "2" * 32}, False),
        ({"files": (FileOutcome(url="a", status=FileStatus.DONE, events=10),)}, False),
    ],
    ids=["other bytes and time", "other inputs", "other files"],
)
def test_what_parsing_made_is_known_by_inputs_and_outcomes(
    changes: dict[str, Any], *, same: bool
) -> None:
    assert (parse_report(**changes).content == parse_report().content) is same


def test_only_files_read_to_their_end_are_complete() -> None:
    done = FileOutcome(url="a", status=FileStatus.DONE, events=10)
    partial = done.model_copy(update={"status": FileStatus.PARTIAL})
    failed = done.model_copy(update={"status": FileStatus.FAILED})
    assert parse_report(files=(done,)).is_complete
    assert not parse_report(files=(done, partial)).is_complete
    assert not parse_report(files=(done, failed)).is_complete


def test_a_failed_file_takes_its_events_with_it() -> None:
    failed = FileOutcome(url="a", status=FileStatus.FAILED, events=10, reason="cut short")
    with pytest.raises(DataError, match="events of the files: 10 against 0"):
        parse_report(files=(failed,)).check(1)


def test_a_file_that_is_unaccounted_for_is_noticed() -> None:
    with pytest.raises(DataError, match="files planned and accounted for: 4 against 3"):
        parse_report().check(4)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/passwd", "..", "a/b", "a\\b", ""])
def test_no_name_of_a_chunk_leads_out_of_its_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="chunk"):
        parse_report(chunk=name)


def test_a_cut_flow_is_followed_for_one_kind_only() -> None:
    flow = (row("pt_min", 50, 20, "Muons"), row("number of muons", 10, 3))
    check_cut_flow("here", flow, "Muons", 50, 30)
    check_cut_flow("here", flow, "events", 10, 7)


def stored(n_masses: int) -> Output:
    return OUTPUT.model_copy(update={"size": 4 * n_masses})


def mass_report(**changes: int) -> MassReport:
    balanced = {
        "events_in": 10,
        "events_below_minimum": 3,
        "events_without_combination": 2,
        "events_used": 5,
        "channels": 2,
        "masses": 8,
        "output": stored(8),
    }
    return MassReport(**{**CHUNK, **balanced, **changes})


def test_masses_that_balance_are_returned() -> None:
    counts = {"2e_0m/e0e1": 5, "3e_0m/e0e1": 3}
    assert mass_report().check_channels(counts, counts) == mass_report()


def test_what_the_masses_are_is_known_by_their_output() -> None:
    assert mass_report().content == OUTPUT.xxh128


def test_an_event_that_was_never_used_is_noticed() -> None:
    with pytest.raises(DataError, match="events in and used: 10 against 9"):
        mass_report(events_used=4).check_channels({}, {})


@pytest.mark.parametrize(
    ("expected", "found", "complaint"),
    [
        ({"2e/e0e1": 5}, {"2e/e0e1": 4}, "2e/e0e1: 5 against 4"),
        ({"2e/e0e1": 5}, {}, "2e/e0e1: 5 against 0"),
        ({}, {"2e/e0e1": 4}, "2e/e0e1: 0 against 4"),
    ],
    ids=["mass lost", "channel lost", "channel from nowhere"],
)
def test_a_channel_has_one_mass_per_event(
    expected: dict[str, int], found: dict[str, int], complaint: str
) -> None:
    with pytest.raises(DataError, match=f"events and masses of {complaint}"):
        mass_report().check_channels(expected, found)


def test_a_mass_that_was_computed_but_not_stored_is_noticed() -> None:
    counts = {"2e_0m/e0e1": 5, "3e_0m/e0e1": 4}
    with pytest.raises(DataError, match="masses and masses stored: 9 against 8"):
        mass_report(masses=9).check_channels(counts, counts)


CLASSES = ClassCounts(main=5, tail=2, overflow=1, floor=30, veto=20, turn_on=4)


def test_classes_exclude_one_another() -> None:
    assert (CLASSES.outliers, CLASSES.removed, CLASSES.total) == (3, 54, 62)


def test_classes_add_up() -> None:
    total = CLASSES + ClassCounts(main=1, veto=1, turn_on=1)
    assert total == ClassCounts(main=6, tail=2, overflow=1, floor=30, veto=21, turn_on=5)


def test_classes_that_spectrum_and_masses_agree_on_are_accepted() -> None:
    check_classes("here", "2e/e0e1", CLASSES, CLASSES)


def test_a_mass_in_another_class_than_by_its_spectrum_is_noticed() -> None:
    found = CLASSES + ClassCounts(main=1)
    complaint = "here: .*main of 2e/e0e1, by spectrum and by mass: 5 against 6"
    with pytest.raises(DataError, match=complaint):
        check_classes("here", "2e/e0e1", CLASSES, found)


def post_processing_report(masses_in: int, n_stored: int = 8) -> PostProcessingReport:
    return PostProcessingReport(
        **{**CHUNK, "channels": 1, "masses_in": masses_in, "output": stored(n_stored)},
        classes=CLASSES,
    )


def test_post_processing_that_balances_is_returned() -> None:
    assert post_processing_report(62).check(62) == post_processing_report(62)


def test_a_mass_that_was_not_read_is_noticed() -> None:
    with pytest.raises(DataError, match="masses made and read: 63 against 62"):
        post_processing_report(62).check(63)


def test_a_mass_without_a_class_is_noticed() -> None:
    with pytest.raises(DataError, match="masses in and out: 63 against 62"):
        post_processing_report(63).check(63)


def test_a_mass_that_was_classified_but_not_stored_is_noticed() -> None:
    with pytest.raises(DataError, match="main and outliers, and masses stored: 8 against 7"):
        post_processing_report(62, n_stored=7).check(62)


def histogram_report(entries: dict[str, int]) -> HistogramReport:
    return HistogramReport(
        sample=Sample.DATA,
        channels=1,
        histograms=2,
        masses_in=10,
        entries=entries,
        overflow=1,
        outputs=(OUTPUT,),
    )


def test_histograms_that_balance_are_returned() -> None:
    report = histogram_report({"10.0": 9, "5.0": 9})
    assert report.check(10) is report


def test_each_bin_width_holds_every_mass() -> None:
    with pytest.raises(DataError, match=r"bin width 5\.0: .*masses in and filled: 10 against 9"):
        histogram_report({"10.0": 9, "5.0": 8}).check(10)


def test_a_planned_mass_that_was_not_read_is_noticed() -> None:
    with pytest.raises(DataError, match="masses planned and read: 11 against 10"):
        histogram_report({"10.0": 9}).check(11)


def test_cut_flows_add_row_by_row() -> None:
    one = (row("invalid", 5, 1, "Muons"), row("number of muons", 4, 2))
    other = (row("invalid", 7, 0, "Muons"), row("invalid", 3, 3, "Jets"))
    assert add_cut_flows([one, other]) == (
        row("invalid", 12, 1, "Muons"),
        row("number of muons", 4, 2),
        row("invalid", 3, 3, "Jets"),
    )


def test_large_numbers_are_readable_in_complaints() -> None:
    with pytest.raises(DataError, match="1,234,567 against 10"):
        parse_report(events_read=1_234_567).check(3)
