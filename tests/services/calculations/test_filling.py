"""Counting into bins: additive, whatever the pieces."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts
from services.calculations.filling import Bins, Counts, Moments, add, main_bins, unprocessed_bins
from services.calculations.objects import Array
from services.calculations.spectra import Grid

GRID = Grid(10.0, 30)
NAME = "2e_0m/e0e1"


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "population": 20,
        "vetoes_gev": ((120.0, 130.0),),
        "peak_gev": 100.0,
        "low_gev": 100.0,
        "high_gev": 200.0,
        "last_gev": 260.0,
        "classes": ClassCounts(main=9, tail=2, overflow=1, turn_on=8),
        "dropped": None,
    }
    decided = ChannelPlan(**(values | changes))
    return Plan(bin_width_gev=10.0, max_mass_gev=300.0, channels={Sample.DATA: {NAME: decided}})


def creation(**changes: Any) -> HistogramCreation:
    values: dict[str, Any] = {"input_dir": "", "output_dir": "", "bin_width_gev": (5.0, 10.0)}
    return HistogramCreation(**(values | changes))


def counted(masses: list[float] | Array, bins: Bins) -> Counts:
    counts = Counts.empty(bins)
    counts.fill(np.array(masses, dtype=np.float32), bins, GRID)
    return counts


def test_bins_come_from_the_plan() -> None:
    bins = main_bins(plan(), Sample.DATA, creation())[NAME]
    assert [(axis.edges[0], axis.edges[-1], axis.n_bins) for axis in bins.axes] == [
        (100.0, 200.0, 20),
        (100.0, 200.0, 10),
    ]
    # The veto is from 120 to 130: the longer stretch is the one above.
    assert bins.stretches == ((6, 20), (3, 10))
    assert bins.planned == 9


def test_with_outliers_the_bins_reach_the_last_filled_one() -> None:
    bins = main_bins(plan(), Sample.DATA, creation(exclude_outliers=False))[NAME]
    assert bins.axes[1].edges[-1] == 260.0
    assert bins.planned == 12


def test_without_a_cut_the_bins_reach_the_last_filled_one() -> None:
    bins = main_bins(plan(high_gev=None), Sample.DATA, creation())[NAME]
    assert bins.axes[1].edges[-1] == 260.0


def test_a_dropped_channel_has_bins_only_unprocessed() -> None:
    dropped = plan(dropped="no peak", peak_gev=None)
    assert main_bins(dropped, Sample.DATA, creation()) == {}
    bins = unprocessed_bins(dropped, Sample.DATA, creation())[NAME]
    assert (bins.axes[1].edges[0], bins.axes[1].edges[-1]) == (0.0, 300.0)
    assert bins.planned == 20


def test_another_sample_has_no_bins() -> None:
    assert main_bins(plan(), Sample.SIMULATION, creation()) == {}


def test_masses_are_counted_once_per_width() -> None:
    bins = main_bins(plan(), Sample.DATA, creation())[NAME]
    counts = counted([100.0, 104.0, 105.0, 199.0], bins)
    assert counts.of_axes[0].tolist() == [2, 1, *[0] * 16, 0, 1]
    assert counts.of_axes[1].tolist() == [3, *[0] * 8, 1]
    assert (counts.masses, counts.overflow) == (4, 0)


def test_overflow_is_counted_and_not_filled() -> None:
    bins = main_bins(plan(high_gev=None), Sample.DATA, creation(exclude_outliers=False))[NAME]
    counts = counted([150.0, 300.0, 9000.0, float("inf"), float("nan")], bins)
    assert (counts.masses, counts.overflow) == (5, 4)
    assert counts.of_axes[1].sum() == 1
    assert (counts.whole.sum_m, counts.whole.sum_m2) == (150.0, 22500.0)


def test_the_moments_of_a_stretch_are_those_of_its_masses() -> None:
    bins = main_bins(plan(), Sample.DATA, creation())[NAME]
    counts = counted([101.0, 119.0, 131.0, 199.0], bins)
    assert counts.whole.sum_m == 550.0
    for of_stretch in counts.of_stretches:
        assert (of_stretch.sum_m, of_stretch.sum_m2) == (330.0, 131.0**2 + 199.0**2)


def test_a_resolution_bin_that_a_veto_overlaps_is_in_no_stretch() -> None:
    config = creation(binning="resolution", min_bin_width_gev=7.0)
    bins = main_bins(plan(), Sample.DATA, config)[NAME]
    # Edges are multiples of 7 here: cuts go out to 98 and 203, the veto to 119 and 133.
    assert (bins.axes[0].edges[0], bins.axes[0].edges[-1]) == (98.0, 203.0)
    first, stop = bins.stretches[0]
    assert (bins.axes[0].edges[first], bins.axes[0].edges[stop]) == (133.0, 203.0)
    counts = counted([118.0, 131.0, 134.0], bins)
    assert counts.whole.sum_m == 383.0
    assert counts.of_stretches[0].sum_m == 134.0


MASSES = st.lists(st.floats(100, 199, width=32), max_size=40)


@given(MASSES, st.integers(1, 5))
def test_the_sum_of_pieces_is_the_whole(masses: list[float], n_pieces: int) -> None:
    bins = {NAME: main_bins(plan(), Sample.DATA, creation())[NAME]}
    whole = counted(masses, bins[NAME])
    pieces = [{NAME: counted(masses[i::n_pieces], bins[NAME])} for i in range(n_pieces)]
    total = add(reversed(pieces), bins)[NAME]
    for one, other in zip(total.of_axes, whole.of_axes, strict=True):
        assert one.tolist() == other.tolist()
    assert (total.masses, total.overflow) == (whole.masses, whole.overflow)
    for mine, others in [
        (total.whole, whole.whole),
        *zip(total.of_stretches, whole.of_stretches, strict=True),
    ]:
        assert mine.sum_m == pytest.approx(others.sum_m, rel=1e-12)
        assert mine.sum_m2 == pytest.approx(others.sum_m2, rel=1e-12)


SUMS = st.lists(st.floats(1e-300, 1e300), max_size=20)


@given(SUMS, st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order_and_are_rounded_once(
    values: list[float], rng: random.Random
) -> None:
    shuffled = rng.sample(values, len(values))
    totals = [Moments(), Moments()]
    for total, order in zip(totals, (values, shuffled), strict=True):
        for value in order:
            total += Moments.of_sums(value, -value)  # noqa: PLW2901 - in place
    assert totals[0] == totals[1]
    assert (totals[0].sum_m, totals[0].sum_m2) == (math.fsum(values), -math.fsum(values))


@given(MASSES)
def test_counts_are_those_of_numpy(masses: list[float]) -> None:
    bins = main_bins(plan(), Sample.DATA, creation())[NAME]
    counts = counted(masses, bins)
    for axis, contents in zip(bins.axes, counts.of_axes, strict=True):
        expected, _ = np.histogram(np.array(masses, dtype=np.float32), axis.edges)
        assert contents.tolist() == expected.tolist()
