"""Which combinations are made: small cases listed by hand, and the known totals."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import MassCalculation
from schemas.labels import Combination, FinalState
from services.calculations.combinatorics import Additions, channels, combinations, existing


def masses(**keys: Any) -> MassCalculation:
    return MassCalculation.model_validate({"input_dir": "in", "output_dir": "out", **keys})


def names(**keys: Any) -> list[str]:
    return [str(combination) for combination in combinations(masses(**keys))]


def test_four_types_make_65_combinations_of_two_to_four_objects() -> None:
    assert len(set(names())) == len(names()) == 65


def test_with_subleading_objects_there_are_186() -> None:
    found = names(include_subleading=True, max_subleading_index=1)
    assert len(set(found)) == len(found) == 186


def test_pairs_of_two_types_are_these() -> None:
    found = names(objects_to_calculate=["Electrons", "Jets"], max_particles_in_combination=2)
    assert found == ["e0e1", "e0j0", "j0j1"]


def test_pairs_with_subleading_objects_are_these() -> None:
    found = names(
        objects_to_calculate=["Electrons", "Jets"],
        max_particles_in_combination=2,
        include_subleading=True,
        max_subleading_index=1,
    )
    assert found == ["e0e1", "e0j0", "e0j1", "e1j0", "e1j1", "j0j1"]


def test_windows_of_one_type_start_as_far_as_the_last_rank_allows() -> None:
    found = names(
        objects_to_calculate=["Jets"],
        max_count_particle_in_combination=3,
        include_subleading=True,
        max_subleading_index=2,
    )
    assert found == ["j0j1", "j1j2", "j0j1j2"]


def test_the_leading_window_may_be_longer_than_the_last_rank() -> None:
    found = names(objects_to_calculate=["Jets"], include_subleading=True, max_subleading_index=0)
    assert found == ["j0j1", "j0j1j2", "j0j1j2j3"]


def test_the_last_rank_means_nothing_without_subleading_objects() -> None:
    assert names(max_subleading_index=3) == names()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"max_types_in_combination": 1}, ["e0e1", "m0m1", "e0e1e2", "m0m1m2"]),
        ({"min_types_in_combination": 2}, ["e0m0", "e0e1m0", "e0m0m1"]),
        ({"min_count_particle_in_combination": 2}, ["e0e1", "m0m1", "e0e1e2", "m0m1m2"]),
        ({"max_count_particle_in_combination": 1}, ["e0m0"]),
        ({"min_particles_in_combination": 3}, ["e0e1e2", "e0e1m0", "e0m0m1", "m0m1m2"]),
        ({"min_types_in_combination": 3}, []),
    ],
    ids=lambda value: next(iter(value), "none") if isinstance(value, dict) else "",
)
def test_bounds_leave_these_combinations(keys: dict[str, int], expected: list[str]) -> None:
    found = names(
        objects_to_calculate=["Electrons", "Muons"], max_particles_in_combination=3, **keys
    )
    assert found == expected


def test_more_than_ten_objects_of_a_type_are_possible() -> None:
    found = names(
        objects_to_calculate=["Jets"],
        min_particles_in_combination=11,
        max_particles_in_combination=11,
        max_count_particle_in_combination=11,
    )
    assert found == ["j0j1j2j3j4j5j6j7j8j9j10"]


@given(st.integers(0, 4), st.integers(1, 4), st.integers(2, 5))
def test_all_ranks_without_gaps_and_nothing_else_are_made(
    last_rank: int, most_of_a_type: int, most: int
) -> None:
    found = names(
        objects_to_calculate=["Muons", "Jets"],
        include_subleading=True,
        max_subleading_index=last_rank,
        max_count_particle_in_combination=most_of_a_type,
        max_particles_in_combination=most,
    )
    # Subsets of ranks, by bit patterns: taken if their ranks follow one another.
    expected = set()
    for bits in range(1 << 10):
        muons = [rank for rank in range(5) if bits >> rank & 1]
        jets = [rank for rank in range(5) if bits >> (rank + 5) & 1]
        if not 2 <= len(muons) + len(jets) <= most:
            continue
        fits = True
        for ranks in (muons, jets):
            if ranks and ranks != list(range(ranks[0], ranks[0] + len(ranks))):
                fits = False
            if len(ranks) > most_of_a_type:
                fits = False
            if ranks and ranks[-1] > max(last_rank, len(ranks) - 1):
                fits = False
        if fits:
            expected.add("".join([f"m{rank}" for rank in muons] + [f"j{rank}" for rank in jets]))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_channels_are_the_final_states_that_have_the_objects() -> None:
    states = tuple(FinalState.parse(text) for text in ("1e_1m", "2e_0m"))
    found = channels(states, tuple(Combination.parse(text) for text in ("e0e1", "e0m0")))
    assert [str(channel) for channel in found] == ["1e_1m/e0m0", "2e_0m/e0e1"]


# Additions

subleading = combinations(masses(include_subleading=True, max_subleading_index=2))


@given(
    st.lists(st.tuples(*[st.integers(0, 5)] * 4), max_size=5, unique=True),
    st.lists(st.sampled_from(subleading), max_size=12, unique=True),
)
def test_combinations_of_a_final_state_are_those_whose_objects_it_has(
    rows: list[tuple[int, ...]], wanted: list[Combination]
) -> None:
    states = [FinalState(tuple(zip("emjg", row, strict=True))) for row in rows]
    assert existing(states, wanted) == {
        state: [combination for combination in wanted if combination.exists_in(state)]
        for state in states
    }


def written_out(combination: Combination) -> str:
    """Return the sum of the objects, with brackets, that defines a mass to its last bit."""
    total = ""
    for window in combination.windows:
        of_window = f"{window.letter}{window.start}"
        for rank in range(window.start + 1, window.stop):
            of_window = f"({of_window}+{window.letter}{rank})"
        total = f"({total}+{of_window})" if total else of_window
    return total


@given(st.lists(st.sampled_from(subleading), max_size=12, unique=True))
def test_objects_are_added_in_an_order_that_the_combination_alone_decides(
    wanted: list[Combination],
) -> None:
    additions = Additions.of(wanted)
    objects = [f"{letter}{rank}" for letter, n in additions.n_ranks.items() for rank in range(n)]
    rows = dict(enumerate(objects, start=len(wanted)))
    for row, one, other in additions.steps:
        assert row not in rows
        rows[row] = f"({rows[one]}+{rows[other]})"
    assert [rows[row] for row in range(len(wanted))] == [written_out(c) for c in wanted]
    assert len(set(rows.values())) == len(rows) == additions.n_rows


def test_only_ranks_that_are_used_are_objects() -> None:
    wanted = [Combination.parse(name) for name in ("e0j0", "j1j2")]
    assert Additions.of(wanted).n_ranks == {"e": 1, "j": 3}
