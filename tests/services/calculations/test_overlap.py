"""Overlap removal on flat arrays, against pairs written out by hand."""

import math

import numpy as np
import pytest

from schemas.config import OverlapRule
from services.calculations.overlap import Directions, are_near, remove_overlaps

Points = list[list[tuple[float, float]]]


def directions(events: Points) -> Directions:
    """Return (eta, phi) of each object of each event."""
    flat = np.array([point for event in events for point in event], dtype=np.float32).reshape(-1, 2)
    offsets = np.concatenate(([0], np.cumsum([len(event) for event in events]))).astype(np.int64)
    return Directions(offsets, flat[:, 0], flat[:, 1], np.ones(len(flat), dtype=bool))


def near(objects: Points, others: Points, delta_r: float) -> list[bool]:
    found: list[bool] = are_near(directions(objects), directions(others), delta_r).tolist()
    return found


def rule(remove: str, near: str, delta_r: float = 0.4) -> OverlapRule:
    return OverlapRule.model_validate({"remove": remove, "near": near.split(), "delta_r": delta_r})


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.0, 0.0), True),
        ((0.3, 0.0), True),
        ((0.3, 0.3), False),  # 0.42 away
        ((0.25, 0.25), True),  # 0.35 away
        ((0.5, 0.0), False),
        ((0.0, -0.5), False),
    ],
)
def test_distance_is_taken_in_eta_and_phi(point: tuple[float, float], *, expected: bool) -> None:
    assert near([[point]], [[(0.0, 0.0)]], 0.4) == [expected]


def test_a_distance_of_exactly_delta_r_is_not_near() -> None:
    assert near([[(0.5, 0.0), (0.25, 0.0)]], [[(0.0, 0.0)]], 0.5) == [False, True]


@pytest.mark.parametrize(("phi", "other"), [(3.1, -3.1), (0.1, 2 * math.pi), (-3.0, 3.2)])
def test_phi_is_wrapped(phi: float, other: float) -> None:
    assert near([[(1.0, phi)]], [[(1.0, other)]], 0.2) == [True]


def test_objects_of_other_events_are_not_near() -> None:
    assert near([[(0.0, 0.0)], [(0.0, 0.0)], []], [[], [(0.0, 0.0)], [(0.0, 0.0)]], 0.4) == [
        False,
        True,
    ]


def test_any_of_several_others_counts() -> None:
    others = [[(2.0, 0.0), (-2.0, 0.0), (0.1, 0.0)]]
    assert near([[(0.0, 0.0), (1.0, 1.0)]], others, 0.4) == [True, False]


def test_no_events_and_no_objects_are_fine() -> None:
    assert near([], [], 0.4) == []
    assert near([[]], [[]], 0.4) == []


def test_a_rule_sees_what_the_ones_before_left() -> None:
    types = {"Jets": directions([[(0.0, 0.0)]]), "Electrons": directions([[(0.1, 0.0)]])}
    rules = [rule("jets", "electrons", 0.2), rule("electrons", "jets", 0.4)]
    rows = remove_overlaps(types, rules)
    assert types["Jets"].alive.tolist() == [False]
    assert types["Electrons"].alive.tolist() == [True]
    assert [(row.step, row.of, row.before, row.removed) for row in rows] == [
        ("overlap 1: jets near electrons (0.2)", "Jets", 1, 1),
        ("overlap 2: electrons near jets (0.4)", "Electrons", 1, 0),
    ]


def test_jets_means_b_jets_too_on_both_sides() -> None:
    types = {
        "Jets": directions([[(2.0, 0.0)]]),
        "BJets": directions([[(0.0, 0.0), (3.0, 0.0)]]),
        "Muons": directions([[(0.0, 0.1), (3.0, 0.3), (-2.0, 0.0)]]),
    }
    remove_overlaps(types, [rule("jets", "muons", 0.2), rule("muons", "jets", 0.4)])
    assert types["Jets"].alive.tolist() == [True]
    assert types["BJets"].alive.tolist() == [False, True]
    assert types["Muons"].alive.tolist() == [True, False, True]


def test_types_that_are_not_there_are_left_out() -> None:
    types = {"Muons": directions([[(0.0, 0.0)]])}
    assert remove_overlaps(types, [rule("jets", "muons"), rule("muons", "taus")])[0].of == "Muons"


def test_the_same_rule_twice_has_two_rows() -> None:
    types = {"Jets": directions([[(0.0, 0.0)]]), "Muons": directions([[(0.0, 0.0)]])}
    rows = remove_overlaps(types, [rule("jets", "muons"), rule("jets", "muons")])
    assert [(row.before, row.removed) for row in rows] == [(1, 1), (0, 0)]
    assert rows[0].step != rows[1].step


def test_two_objects_far_apart_beyond_the_range_of_floats_are_not_near() -> None:
    assert near([[(3e38, 0.0)]], [[(-3e38, 0.0)]], 0.4) == [False]
