"""Bins of equal width and bins that grow with the resolution."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import HistogramCreation, PtResolution, PtResolutions
from schemas.labels import Combination
from services.calculations.binning import (
    axes,
    fixed_axis,
    mass_resolution,
    resolution_axis,
    resolution_edges,
)

TWO_ELECTRONS = (("e", 2),)
END = 10_000.0


def test_fixed_bins_are_multiples_of_the_width() -> None:
    axis = fixed_axis(2.5, 20.0, 30.0)
    assert axis.edges.tolist() == [20.0, 22.5, 25.0, 27.5, 30.0]
    assert (axis.label, axis.n_bins) == ("2.5", 4)
    assert axis.bins(np.array([20.0, 22.4, 22.5, 29.9])).tolist() == [0, 0, 1, 3]


def test_a_mass_that_rounding_puts_outside_is_not_lost() -> None:
    # 0.3 / 0.1 is 2.9999999999999996 in floating point.
    assert fixed_axis(0.1, 0.3, 0.6).bins(np.array([0.3])).tolist() == [0]


def test_a_vetoed_window_touches_the_bins_it_overlaps() -> None:
    fixed = fixed_axis(5.0, 100.0, 200.0)
    assert fixed.touched_by(120.0, 130.0) == (4, 6)
    assert fixed.touched_by(80.0, 110.0) == (0, 2)
    assert fixed.touched_by(0.0, 90.0) == (0, 0)
    growing = resolution_axis(np.array([0.0, 7.0, 15.0, 24.0, 34.0]), 0.0, 34.0)
    assert growing.touched_by(15.0, 24.0) == (2, 3)
    assert growing.touched_by(14.0, 25.0) == (1, 4)


def test_a_part_of_an_axis_keeps_its_edges() -> None:
    part = fixed_axis(2.5, 20.0, 30.0).part(1, 3)
    assert part.edges.tolist() == [22.5, 25.0, 27.5]
    assert part.bins(np.array([22.5, 27.4])).tolist() == [0, 1]


def test_the_resolution_of_two_objects_is_that_of_one_over_the_square_root_of_two() -> None:
    # Each with 2 percent: sqrt(0.02^2 + 0.02^2) / 2 of 100 GeV.
    two = [(PtResolution(constant=0.02), 2)]
    assert mass_resolution(100.0, two) == pytest.approx(100.0 * 0.02 / 2**0.5)


def test_the_terms_are_taken_at_the_share_of_each_object() -> None:
    # Four objects of 25 GeV: (1 / 25)^2, 0.5^2 / 25, 0.03^2 and (0.001 * 25)^2, each four times.
    full = PtResolution(noise_gev=1.0, stochastic=0.5, constant=0.03, linear_per_gev=0.001)
    relative = (4 * (0.04**2 + 0.25 / 25 + 0.03**2 + 0.025**2)) ** 0.5 / 4
    assert mass_resolution(100.0, [(full, 4)]) == pytest.approx(100.0 * relative)


def test_different_types_are_added_in_quadrature() -> None:
    mixed = [(PtResolution(constant=0.03), 1), (PtResolution(constant=0.04), 1)]
    assert mass_resolution(100.0, mixed) == pytest.approx(100.0 * 0.05 / 2)


def test_edges_grow_by_half_the_resolution_and_at_least_by_the_smallest_width() -> None:
    resolutions = PtResolutions(electrons=PtResolution(constant=0.2 * 2**0.5))
    # sigma(m) is 0.2 m: half is 0.1 m, which is more than 2 GeV from 20 GeV on.
    edges = resolution_edges(TWO_ELECTRONS, resolutions, 2.0, 30.0)
    expected = [*range(0, 21, 2), 22.0, 24.2, 26.62, 29.282, 30.0]
    np.testing.assert_allclose(edges, expected, rtol=1e-12)


@given(
    st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(lambda n: sum(n) >= 2),
    st.sampled_from([0.5, 1.0, 10.0]),
)
def test_resolution_bins_cover_the_grid_and_never_shrink(
    numbers: list[int], smallest: float
) -> None:
    content = tuple((letter, n) for letter, n in zip("emjgtb", numbers, strict=True) if n)
    edges = resolution_edges(content, PtResolutions(), smallest, END)
    widths = np.diff(edges)
    assert edges[0] == 0.0
    assert edges[-1] == END
    assert (widths > 0).all()
    # The last bin ends with the grid; the others grow.
    assert all(later >= earlier * (1 - 1e-9) for earlier, later in pairwise(widths[:-1]))
    assert widths[0] >= min(smallest, END)


def test_cuts_are_rounded_outward_to_the_edges() -> None:
    edges = np.array([0.0, 7.0, 15.0, 24.0, 34.0, 45.0])
    assert resolution_axis(edges, 10.0, 30.0).edges.tolist() == [7.0, 15.0, 24.0, 34.0]
    assert resolution_axis(edges, 15.0, 34.0).edges.tolist() == [15.0, 24.0, 34.0]


def test_edges_depend_on_the_content_alone_and_not_on_the_range() -> None:
    config = HistogramCreation(input_dir="", output_dir="", binning="resolution")

    def edges(label: str, low: float, high: float) -> list[float]:
        (axis,) = axes(Combination.parse(label), config, END, (low, high))
        assert axis.label == "res"
        return axis.edges.tolist()

    whole = edges("e0e1", 0.0, END)
    part = edges("e0e1", 110.0, 500.0)
    first = whole.index(part[0])
    assert part == whole[first : first + len(part)]
    assert part[0] <= 110.0 < part[1]
    assert part[-2] < 500.0 <= part[-1]
    assert edges("e1e2", 0.0, END) == whole
    assert edges("e0e1j0", 0.0, END) != whole


@given(st.lists(st.floats(0, 9999, width=32), min_size=1, max_size=50))
def test_a_mass_lies_between_the_edges_of_its_bin(masses: list[float]) -> None:
    edges = resolution_edges((("j", 2),), PtResolutions(), 1.0, END)
    axis = resolution_axis(edges, 0.0, END)
    for mass, number in zip(masses, axis.bins(np.array(masses)).tolist(), strict=True):
        assert edges[number] <= mass < edges[number + 1]
