"""Invariant masses, against the library `vector` and cases worked out by hand."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import vector
from hypothesis import given
from hypothesis import strategies as st

from schemas.labels import Combination, FinalState
from services.calculations.combinatorics import Additions
from services.calculations.kinematics import (
    four_vectors,
    group_events,
    masses,
    order_by_pt,
    state_masses,
)
from services.calculations.objects import KINEMATICS, Objects, offsets_of

# One object: pt, eta, phi, mass.
Item = tuple[float, float, float, float]


def objects_of(events: Sequence[Sequence[Item]]) -> Objects:
    flat = np.array([item for event in events for item in event], dtype=np.float32).reshape(-1, 4)
    columns = {name: np.ascontiguousarray(flat[:, i]) for i, name in enumerate(KINEMATICS)}
    return Objects(offsets_of(np.array([len(event) for event in events], dtype=np.int64)), columns)


def channel_masses(
    objects: Mapping[str, Objects], wanted: Mapping[FinalState, Sequence[Combination]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the masses of each channel by its name."""
    additions = {state: Additions.of(found) for state, found in wanted.items()}
    return {
        f"{state}/{combination}": row
        for state, found in state_masses(objects, additions)
        for combination, row in zip(wanted[state], found, strict=True)
    }


def masses_of(
    state: str, combination: str, **events: Sequence[Sequence[Item]]
) -> npt.NDArray[np.float32]:
    """Return the masses of one channel; objects are given by their letter."""
    wanted = {FinalState.parse(state): [Combination.parse(combination)]}
    objects = {letter: objects_of(of_type) for letter, of_type in events.items()}
    return channel_masses(objects, wanted).get(
        f"{state}/{combination}", np.zeros(0, dtype=np.float32)
    )


def float32(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


phis = float32(-3.140625, 3.140625)
# At energies beyond, objects that fly in one direction have a mass of 1e-4 GeV or more by rounding
# alone, in `vector` as here.
items = st.tuples(float32(1, 200), float32(-2, 2), phis, float32(0, 200))
energetic = st.tuples(float32(1, 3000), float32(-4.5, 4.5), phis, float32(0, 200))


def by_vector(items: Sequence[Item]) -> float:
    exact = np.array(items, dtype=np.float32).astype(np.float64)
    total = sum(
        (vector.obj(pt=pt, eta=eta, phi=phi, mass=mass) for pt, eta, phi, mass in exact.tolist()),
        start=vector.obj(px=0.0, py=0.0, pz=0.0, E=0.0),
    )
    # `vector` writes the mass of a space-like sum as a negative number; we store 0.
    return max(float(total.mass), 0.0)


def agrees(found: float, expected: float) -> bool:
    return abs(found - expected) <= (1e-6 * expected if expected >= 1 else 1e-4)


@given(st.lists(items, min_size=2, max_size=4))
def test_masses_agree_with_vector(jets: list[Item]) -> None:
    n = len(jets)
    found = masses_of(f"{n}j", "".join(f"j{i}" for i in range(n)), j=[jets])
    assert agrees(float(found[0]), by_vector(jets))


@given(
    st.lists(items, min_size=1, max_size=3),
    st.lists(items, min_size=1, max_size=3),
    st.data(),
)
def test_masses_of_two_types_agree_with_vector(
    muons: list[Item], jets: list[Item], data: st.DataObject
) -> None:
    m, j = data.draw(st.integers(1, len(muons))), data.draw(st.integers(1, len(jets)))
    name = "".join([f"m{i}" for i in range(m)] + [f"j{i}" for i in range(j)])
    found = masses_of(f"{len(muons)}m_{len(jets)}j", name, m=[muons], j=[jets])
    ranked = [sorted(items, key=lambda item: -item[0]) for items in (muons, jets)]
    assert agrees(float(found[0]), by_vector(ranked[0][:m] + ranked[1][:j]))


@given(st.lists(energetic, min_size=2, max_size=4))
def test_masses_at_any_energy_agree_with_vector_within_double_precision(jets: list[Item]) -> None:
    n = len(jets)
    found = float(masses_of(f"{n}j", "".join(f"j{i}" for i in range(n)), j=[jets])[0])
    energy = sum(np.hypot(pt * np.cosh(eta), mass) for pt, eta, _, mass in jets)
    rounding = 16 * np.finfo(np.float64).eps * energy**2
    # The square is what is summed; 3e-7 is the last digit of the stored float32.
    expected = by_vector(jets)
    assert abs(found**2 - expected**2) <= rounding + 3e-7 * expected**2


@given(st.lists(items, min_size=1, max_size=20))
def test_one_object_has_its_own_mass(jets: list[Item]) -> None:
    found = masses(four_vectors(np.array(jets, dtype=np.float64)))
    for value, jet in zip(found.tolist(), jets, strict=True):
        assert agrees(value, by_vector([jet]))


def some_kinematics(n: int, eta: float = 4.5) -> npt.NDArray[np.float32]:
    """Return pt, eta, phi and mass of different objects, shape (n, 4)."""
    rng = np.random.default_rng(5)
    columns = [rng.uniform(1, 500, n), rng.uniform(-eta, eta, n), rng.uniform(-np.pi, np.pi, n)]
    return np.stack([*columns, rng.uniform(0, 50, n)], axis=1).astype(np.float32)


@pytest.mark.parametrize("eta", [0.001, 0.1, 1.0, 4.5, 50.0])
def test_momenta_are_right_to_the_last_bits(eta: float) -> None:
    kinematics = some_kinematics(10_000, eta)
    pt, exact_eta, phi, mass = kinematics.astype(np.longdouble).T
    p = pt * np.cosh(exact_eta)
    exact = [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(exact_eta), np.hypot(p, mass)]
    scales = [pt, pt, p, exact[-1]]
    for found, expected, scale in zip(four_vectors(kinematics), exact, scales, strict=True):
        # Where a long double is no longer than others, the expectation is off by as much.
        assert np.max(np.abs(found - expected) / scale) < 8e-16


@pytest.mark.parametrize("quarters", [-2, -1, 0, 1, 2, 3, 4])
def test_an_angle_may_be_any_number_of_quarter_turns(quarters: int) -> None:
    kinematics = np.array([[40.0, 0.0, quarters * np.pi / 2, 0.0]])
    expected = [40 * np.cos(quarters * np.pi / 2), 40 * np.sin(quarters * np.pi / 2), 0, 40]
    assert four_vectors(kinematics)[:, 0] == pytest.approx(expected, abs=1e-13)


def test_mirrored_objects_have_mirrored_momenta() -> None:
    kinematics = some_kinematics(1000)
    px, py, pz, energy = four_vectors(kinematics)
    mirrored = four_vectors(kinematics * np.array([1, -1, 1, 1], dtype=np.float32))
    assert np.array_equal(mirrored, [px, py, -pz, energy])


def test_a_four_vector_does_not_depend_on_what_stands_beside_it() -> None:
    # Vector instructions may take other ways at the ends of an array.
    kinematics = some_kinematics(200)
    together = four_vectors(kinematics)
    for start in range(70):
        for length in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64):
            part = slice(start, start + length)
            assert np.array_equal(four_vectors(kinematics[part]), together[:, part])


@pytest.mark.parametrize("eta", [400.0, 750.0, 1e30])
def test_momenta_beyond_floating_point_make_masses_that_are_no_numbers(eta: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        found = masses(four_vectors(np.array([[30, eta, 1, 5], [30, -eta, 1, 5]])))
    assert np.isnan(found).all()


BACK_TO_BACK: list[Item] = [(45.0, 0.0, 0.0, 0.0), (45.0, 0.0, float(np.pi), 0.0)]


def test_two_massless_objects_back_to_back_make_twice_their_pt() -> None:
    assert masses_of("2g", "g0g1", g=[BACK_TO_BACK])[0] == pytest.approx(90.0, rel=1e-6)


def test_two_massless_objects_in_one_direction_have_no_mass() -> None:
    together = [(45.0, 0.5, 1.0, 0.0), (30.0, 0.5, 1.0, 0.0)]
    assert masses_of("2g", "g0g1", g=[together])[0] == pytest.approx(0.0, abs=1e-4)


def test_two_objects_at_rest_add_their_masses() -> None:
    at_rest = [(1e-6, 0.0, 0.0, 3.0), (1e-6, 0.0, 1.0, 4.0)]
    assert masses_of("2j", "j0j1", j=[at_rest])[0] == pytest.approx(7.0)


def test_massless_objects_at_different_eta_follow_the_textbook() -> None:
    # m^2 = 2 pt1 pt2 (cosh(delta eta) - cos(delta phi))
    pair = [(40.0, 1.5, 0.2, 0.0), (20.0, -0.5, 1.2, 0.0)]
    expected = np.sqrt(2 * 40 * 20 * (np.cosh(2.0) - np.cos(1.0)))
    assert masses_of("2g", "g0g1", g=[pair])[0] == pytest.approx(expected, rel=1e-6)


def test_a_negative_mass_is_space_like() -> None:
    # E^2 = 50^2 - 30^2 = 40^2, and a massless one against it: (40 + 50)^2 - 0 = 90^2
    pair = [(50.0, 0.0, 0.0, -30.0), (50.0, 0.0, float(np.pi), 0.0)]
    assert masses_of("2j", "j0j1", j=[pair])[0] == pytest.approx(90.0, rel=1e-6)


def test_a_space_like_sum_has_mass_zero() -> None:
    vectors = np.array([[3.0], [0.0], [0.0], [2.0]])
    assert masses(vectors).tolist() == [0.0]


def test_masses_are_stored_as_float32() -> None:
    assert masses_of("2g", "g0g1", g=[BACK_TO_BACK]).dtype == np.float32


@given(st.lists(items, min_size=2, max_size=3), st.sampled_from([0.5, 2.0, 8.0]))
def test_scaling_all_momenta_and_masses_scales_the_mass(jets: list[Item], factor: float) -> None:
    n = len(jets)
    name = "".join(f"j{i}" for i in range(n))
    scaled = [(pt * factor, eta, phi, mass * factor) for pt, eta, phi, mass in jets]
    one, other = masses_of(f"{n}j", name, j=[jets, scaled])
    # Powers of two scale every step exactly.
    assert other == one * np.float32(factor)


@given(st.lists(items, min_size=2, max_size=2), float32(-1, 1))
def test_a_boost_along_the_beam_leaves_the_mass(jets: list[Item], boost: float) -> None:
    moved = [(pt, eta + boost, phi, 0.0) for pt, eta, phi, _ in jets]
    massless = [(pt, eta, phi, 0.0) for pt, eta, phi, _ in jets]
    before, after = masses_of("2j", "j0j1", j=[massless, moved])
    # The boosted eta is rounded to float32, which costs 1e-7 of the angle.
    assert after == pytest.approx(before, rel=1e-4, abs=1e-2)


# Ranks


def ranked(events: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the numbers, from 0 on, of the objects of each event by their rank in pt."""
    offsets = offsets_of(np.array([len(event) for event in events], dtype=np.int64))
    pt = np.array([pt for event in events for pt in event], dtype=np.float32)
    order = order_by_pt(offsets, pt)
    return [(order[start:stop] - start).tolist() for start, stop in pairwise(offsets.tolist())]


def test_objects_are_ranked_by_falling_pt() -> None:
    assert ranked([[10, 30, 20], [], [5]]) == [[1, 2, 0], [], [0]]


def test_equal_pt_keeps_the_order_of_the_file() -> None:
    assert ranked([[20, 30, 20, 30]]) == [[1, 3, 0, 2]]


def test_no_objects_have_no_ranks() -> None:
    assert ranked([]) == []
    assert ranked([[], []]) == [[], []]


@given(st.lists(st.lists(st.sampled_from([10.0, 20.0, 30.0, 40.0]), max_size=7), max_size=6))
def test_ranking_is_a_stable_sort_of_each_event(events: list[list[float]]) -> None:
    expected = [sorted(range(len(event)), key=lambda i, pt=event: -pt[i]) for event in events]
    assert ranked(events) == expected


def test_a_crowded_event_is_ranked_like_all_others() -> None:
    pt = np.random.default_rng(1).integers(1, 100, 1000).tolist()
    expected = sorted(range(1000), key=lambda i: -pt[i])
    assert ranked([[1], pt, [2]]) == [[0], expected, [0]]


def test_a_rise_from_one_event_to_the_next_is_no_disorder() -> None:
    assert ranked([[10], [], [20, 15]]) == [[0], [], [0, 1]]


def test_ranks_are_those_of_pt_whatever_the_order_in_the_file() -> None:
    soft: Item = (5.0, 0.3, 0.7, 0.0)
    assert masses_of("3g", "g0g1", g=[[soft, *BACK_TO_BACK]])[0] == pytest.approx(90.0)


def test_a_window_may_start_behind_the_leading_object() -> None:
    hard: Item = (500.0, 0.3, 0.7, 0.0)
    assert masses_of("3g", "g1g2", g=[[*BACK_TO_BACK, hard]])[0] == pytest.approx(90.0)


# Final states

LETTERS = "emj"
multiplicities = st.tuples(*[st.integers(0, 11)] * 3)


@given(st.lists(multiplicities, min_size=1, max_size=12), st.lists(multiplicities, max_size=4))
def test_every_event_is_found_in_its_final_state(
    events: list[tuple[int, ...]], others: list[tuple[int, ...]]
) -> None:
    counts = {letter: np.array([event[i] for event in events]) for i, letter in enumerate(LETTERS)}
    wanted = list(dict.fromkeys([*events[::2], *others]))
    states = [FinalState(tuple(zip(LETTERS, row, strict=True))) for row in wanted]
    found = {state: members.tolist() for state, members in group_events(counts, states).items()}
    expected = {
        state: [number for number, event in enumerate(events) if event == row]
        for state, row in zip(states, wanted, strict=True)
    }
    assert found == {state: members for state, members in expected.items() if members}


def test_no_wanted_state_finds_no_events() -> None:
    assert group_events({"e": np.array([1, 2])}, []) == {}


@given(st.lists(st.lists(items, max_size=4), min_size=1, max_size=10))
def test_a_channel_has_one_mass_per_event_of_its_final_state(events: list[list[Item]]) -> None:
    n_pairs = sum(len(event) == 2 for event in events)
    assert len(masses_of("2j", "j0j1", j=events)) == n_pairs


def test_a_type_that_only_counts_needs_no_kinematics() -> None:
    photons = objects_of([BACK_TO_BACK, BACK_TO_BACK])
    counted = Objects(offsets_of(np.array([0, 1])), {})
    wanted = {FinalState.parse("2g_1t"): [Combination.parse("g0g1")]}
    found = channel_masses({"g": photons, "t": counted}, wanted)
    assert {name: len(values) for name, values in found.items()} == {"2g_1t/g0g1": 1}


def test_all_combinations_of_a_final_state_are_made() -> None:
    wanted = {
        FinalState.parse("3j"): [Combination.parse(text) for text in ("j0j1", "j0j1j2", "j1j2")]
    }
    jets = objects_of([[(30.0, 0, 0, 0), (20.0, 1, 2, 0), (10.0, -1, 1, 0)]])
    found = channel_masses({"j": jets}, wanted)
    assert list(found) == ["3j/j0j1", "3j/j0j1j2", "3j/j1j2"]
    assert all(len(values) == 1 for values in found.values())


three_types = st.fixed_dictionaries(
    {letter: st.lists(items, min_size=1, max_size=2) for letter in LETTERS}
)


@given(st.lists(three_types, min_size=1, max_size=12), st.sets(st.integers(1, 11)))
def test_masses_do_not_depend_on_how_events_are_grouped(
    events: list[dict[str, list[Item]]], cuts: set[int]
) -> None:
    wanted = {
        FinalState.parse(f"{e}e_{m}m_{j}j"): [
            Combination.parse(text) for text in ("e0m0j0", "e0j0", "m0j0")
        ]
        for e in (1, 2)
        for m in (1, 2)
        for j in (1, 2)
    }

    def made(part: list[dict[str, list[Item]]]) -> dict[str, bytes]:
        objects = {letter: objects_of([event[letter] for event in part]) for letter in LETTERS}
        return {name: m.tobytes() for name, m in channel_masses(objects, wanted).items()}

    edges = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    joined: dict[str, bytes] = {}
    for start, stop in pairwise(edges):
        for channel, values in made(events[start:stop]).items():
            joined[channel] = joined.get(channel, b"") + values
    assert joined == made(events)


@given(st.lists(items, min_size=3, max_size=3))
def test_a_mass_does_not_depend_on_what_else_is_computed(jets: list[Item]) -> None:
    state = FinalState.parse("3j")
    names = ("j0j1", "j1j2", "j0j1j2")
    objects = {"j": objects_of([jets])}
    together = channel_masses(objects, {state: [Combination.parse(name) for name in names]})
    for name in names:
        (alone,) = channel_masses(objects, {state: [Combination.parse(name)]}).values()
        assert together[f"3j/{name}"].tobytes() == alone.tobytes()


def test_more_objects_than_are_computed_at_once_are_computed_alike() -> None:
    rng = np.random.default_rng(3)
    events = rng.uniform(1, 100, (40_000, 2, 4)).astype(np.float32)
    events[:, 1, 0] /= 100  # the second is the softer one
    columns = dict(zip(KINEMATICS, events.reshape(-1, 4).T, strict=True))
    together = masses_of_pairs(Objects(np.arange(0, 80_001, 2), columns))
    for number in (0, 16_383, 16_384, 39_999):
        one = {name: column[2 * number : 2 * number + 2] for name, column in columns.items()}
        assert masses_of_pairs(Objects(np.array([0, 2]), one)).tolist() == [together[number]]


def masses_of_pairs(jets: Objects) -> npt.NDArray[np.float32]:
    wanted = {FinalState.parse("2j"): [Combination.parse("j0j1")]}
    return channel_masses({"j": jets}, wanted)["2j/j0j1"]


@given(st.lists(st.lists(items, max_size=3), min_size=1, max_size=8), st.permutations(range(4)))
def test_final_states_may_come_in_any_order(
    events: list[list[Item]], permutation: list[int]
) -> None:
    states = [FinalState.parse(f"{n}j") for n in range(4)]
    names = {2: ["j0j1"], 3: ["j0j1", "j1j2", "j0j1j2"]}
    wanted = {
        states[n]: [Combination.parse(name) for name in names.get(n, [])] for n in permutation
    }
    expected = {
        f"{n}j/{name}": np.concatenate(
            [masses_of(f"{n}j", name, j=[event]) for event in events if len(event) == n]
        ).tobytes()
        for n in names
        for name in names[n]
        if any(len(event) == n for event in events)
    }
    found = channel_masses({"j": objects_of(events)}, wanted)
    assert {name: values.tobytes() for name, values in found.items()} == expected
