"""b-tag discriminants."""

import math

import numpy as np

from services.calculations.btagging import (
    NO_LINK,
    is_computed,
    linked,
    links_fit,
    log_ratio,
    without_sentinels,
)


def f(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_log_ratio_is_that_of_the_probabilities() -> None:
    # ln(0.8 / (0.25 * 0.12 + 0.75 * 0.08)) = ln(0.8 / 0.09)
    score = log_ratio(f(0.8), f(0.12), f(0.08), 0.25)
    assert math.isclose(score[0], math.log(0.8 / 0.09), rel_tol=1e-6)


def test_probabilities_of_zero_are_no_fault() -> None:
    scores = log_ratio(f(0.0, 1.0, 0.0), f(0.5, 0.0, 0.0), f(0.5, 0.0, 0.0), 0.018)
    assert scores[:2].tolist() == [-math.inf, math.inf]
    assert is_computed(scores).tolist() == [True, True, False]


def test_sentinels_are_not_computed() -> None:
    values = without_sentinels(f(-3000, -1, 0.3), (-3000, -1))
    assert is_computed(values).tolist() == [False, False, True]
    assert values.dtype == np.float32


def test_whole_numbers_can_be_scores() -> None:
    assert without_sentinels(np.array([1, 5]), ()).tolist() == [1.0, 5.0]


def test_each_jet_has_the_score_that_it_links_to_in_its_own_event() -> None:
    jets, offsets = np.array([0, 2, 2, 4]), np.array([0, 2, 3, 4])
    position = np.array([1, 0, 0, NO_LINK], dtype=np.uint32)
    assert links_fit(position, jets, offsets)
    scores = linked(f(0.1, 0.2, 0.3, 0.4), offsets, position, jets)
    np.testing.assert_array_equal(scores, f(0.2, 0.1, 0.4, np.nan))


def test_a_link_beyond_its_event_does_not_fit() -> None:
    assert not links_fit(np.array([1], dtype=np.uint32), np.array([0, 1, 1]), np.array([0, 1, 3]))
