"""Looking for known resonances, on spectra small enough to count by hand."""

from typing import Any

import numpy as np
import pytest

from schemas.config import KnownResonance, PostProcessing
from schemas.labels import Combination
from schemas.plan import ResonanceTest
from services.calculations.objects import Integers
from services.calculations.resonances import look_for, removal, rules_for, summarise, where_tested
from services.calculations.spectra import Grid

GRID = Grid(10.0, 20)
PROCESSING = PostProcessing(input_dir="", output_dir="")
Z, H = PROCESSING.known_resonances


def spectrum(overflow: int = 0, **entries: int) -> Integers:
    """Return the entries of a grid to 200 GeV; `from_80=5` is 5 entries in the bin from 80 GeV."""
    counts = np.zeros(GRID.n_bins + 1, dtype=np.int64)
    for name, n in entries.items():
        counts[int(name.removeprefix("from_")) // 10] = n
    counts[-1] = overflow
    return counts


def rule(**changes: Any) -> KnownResonance:
    values: dict[str, Any] = {
        "name": "X",
        "mass_gev": 5.0,
        "window_gev": (0.0, 10.0),
        "combinations": ("e0e1",),
        "action": "veto",
    }
    return KnownResonance(**(values | changes))


def test_the_background_is_the_mean_of_both_neighbours() -> None:
    counts = spectrum(from_60=10, from_70=30, from_80=50, from_90=30, from_100=20, from_110=4)
    found = look_for(counts, Z, GRID)
    # Left 60 to 80 has 40, right 100 to 120 has 24: 32 are expected in 80 to 100, 80 are there.
    assert (found.entries, found.background) == (80, 32.0)
    assert found.significance == pytest.approx(48 / 32**0.5)
    assert found.excess == 1.5
    assert found.detected
    assert found.removed


def test_the_window_that_is_removed_is_wider_than_the_one_that_is_tested() -> None:
    found = look_for(spectrum(), Z, GRID)
    assert found.window_gev == (70.0, 110.0)
    assert found.test_window_gev == (80.0, 100.0)


def test_nothing_expected_counts_as_one() -> None:
    found = look_for(spectrum(from_80=8), Z, GRID)
    assert (found.background, found.significance, found.excess) == (1.0, 7.0, 7.0)


def test_an_excess_that_is_significant_but_small_is_not_detected() -> None:
    counts = spectrum(from_60=40_000, from_70=60_000, from_80=65_000, from_90=60_000)
    counts[10:12] = 55_000, 50_000
    found = look_for(counts, Z, GRID)
    # 125,000 where 102,500 are expected: 70 standard deviations, but 22 percent.
    assert found.significance > 70
    assert found.excess == pytest.approx(22_500 / 102_500)
    assert not found.detected
    assert not found.removed


def test_an_excess_that_is_large_but_insignificant_is_not_detected() -> None:
    counts = spectrum(from_60=1, from_70=1, from_80=3, from_90=3, from_100=1, from_110=1)
    found = look_for(counts, Z, GRID)
    assert (found.background, found.excess, found.significance) == (2.0, 2.0, 4 / 2**0.5)
    assert not found.detected


def test_both_thresholds_must_be_exceeded_and_not_only_met() -> None:
    # 100 expected, 150 found: exactly 5 standard deviations and 50 percent.
    counts = spectrum(from_110=100, from_120=150, from_130=100)
    assert not look_for(counts, H, GRID).detected
    assert look_for(counts, H.model_copy(update={"min_significance": 4.999}), GRID).detected
    exact = H.model_copy(update={"min_significance": 4.0, "min_excess": 0.5})
    assert not look_for(counts, exact, GRID).detected


def test_a_neighbour_beyond_the_grid_is_left_out() -> None:
    low = look_for(spectrum(from_0=60, from_10=20), rule(), GRID)
    assert low.background == 20.0
    high = rule(mass_gev=195.0, window_gev=(190.0, 200.0))
    assert look_for(spectrum(1000, from_180=7, from_190=60), high, GRID).background == 7.0


def test_a_neighbour_partly_beyond_the_grid_counts_as_far_as_it_lies_on_it() -> None:
    wide = rule(mass_gev=20.0, window_gev=(10.0, 30.0))
    counts = spectrum(from_0=6, from_10=50, from_20=50, from_30=4, from_40=2)
    # Bins 0, 30 and 40 have 12 entries: 4 per bin, 8 in two bins.
    assert look_for(counts, wide, GRID).background == 8.0


def test_overflow_is_no_neighbour() -> None:
    counts = spectrum(overflow=10_000, from_190=3)
    last = rule(mass_gev=185.0, window_gev=(180.0, 190.0))
    assert look_for(counts, last, GRID).background == 1.5


def test_without_a_condition_a_resonance_is_removed_unseen() -> None:
    found = look_for(spectrum(), Z.model_copy(update={"only_if_detected": False}), GRID)
    assert not found.detected
    assert found.removed


def acting(action: str, low: float, high: float, *, removed: bool = True) -> ResonanceTest:
    return ResonanceTest.model_validate(
        {
            "name": "X",
            "action": action,
            "window_gev": (low, high),
            "test_window_gev": (low, high),
            "entries": 0,
            "background": 1.0,
            "significance": 0.0,
            "excess": 0.0,
            "detected": removed,
            "removed": removed,
        }
    )


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([], (0, ())),
        ([acting("floor", 70, 110)], (11, ())),
        ([acting("floor", 70, 110, removed=False)], (0, ())),
        ([acting("floor", 70, 110), acting("floor", 20, 50)], (11, ())),
        ([acting("veto", 120, 130)], (0, ((12, 13),))),
        ([acting("veto", 120, 130), acting("veto", 20, 40)], (0, ((2, 4), (12, 13)))),
        ([acting("veto", 120, 130), acting("veto", 130, 150)], (0, ((12, 15),))),
        ([acting("veto", 110, 140), acting("veto", 120, 150)], (0, ((11, 15),))),
        ([acting("floor", 70, 110), acting("veto", 20, 40)], (11, ())),
        ([acting("floor", 70, 110), acting("veto", 100, 130)], (11, ((11, 13),))),
        ([acting("veto", 180, 200)], (0, ((18, 20),))),
    ],
)
def test_removals_are_added_up(tests: list[ResonanceTest], expected: object) -> None:
    assert removal(tests, GRID) == expected


def test_rules_apply_in_any_final_state_to_the_combinations_they_name() -> None:
    any_pair = rule(combinations=("2e",))
    rules = (Z, H, any_pair)
    assert rules_for(Combination.parse("e0e1"), rules) == (Z, any_pair)
    assert rules_for(Combination.parse("e1e2"), rules) == (any_pair,)
    assert rules_for(Combination.parse("g0g1"), rules) == (H,)
    assert rules_for(Combination.parse("e0e1m0m1"), rules) == (H,)
    assert rules_for(Combination.parse("e0j0"), rules) == ()


def test_what_would_be_tested_is_known_without_masses() -> None:
    made = tuple(Combination.parse(label) for label in ("e0e1", "e0j0", "g0g1"))
    assert where_tested((Z, H), made) == {"Z": made[:1], "H": made[2:]}


def test_the_summary_says_what_was_removed_and_what_was_left_in() -> None:
    peak = spectrum(from_80=100)
    tested = [
        ("2e_0m/e0e1", look_for(peak, Z, GRID)),
        ("2e_1m/e0e1", look_for(spectrum(), Z, GRID)),
        ("2e_2m/e0e1", look_for(spectrum(), Z, GRID)),
    ]
    z, higgs = summarise((Z, H), tested, 1)
    assert z == (
        "Z (floor): tested in 3 channels, detected in 1, removed (everything below 110 GeV) in 1, "
        "left in 2: 2e_1m/e0e1 and 1 more"
    )
    assert higgs == (
        "H (veto): tested in 0 channels, detected in 0, removed (120 to 130 GeV) in 0, left in 0"
    )
