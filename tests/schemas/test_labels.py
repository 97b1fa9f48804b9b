"""Names of final states, combinations and channels: written, read back, refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import HistogramCreation
from schemas.labels import Channel, Combination, FinalState, Window, mass_histogram_name

ORDER = "emjgtb"
counts = st.integers(0, 10**6)
letters = st.sets(st.sampled_from(ORDER), min_size=1).map(lambda s: sorted(s, key=ORDER.index))
final_states = letters.flatmap(
    lambda chosen: st.tuples(*[st.tuples(st.just(letter), counts) for letter in chosen])
).map(FinalState)
combinations = letters.flatmap(
    lambda chosen: st.tuples(
        *[st.builds(Window, st.just(x), st.integers(0, 20), st.integers(1, 12)) for x in chosen]
    )
).map(Combination)
channels = st.builds(Channel, final_states, combinations)


@given(final_states)
def test_a_final_state_is_read_back_from_its_name(state: FinalState) -> None:
    assert FinalState.parse(str(state)) == state


@given(combinations)
def test_a_combination_is_read_back_from_its_name(combination: Combination) -> None:
    assert Combination.parse(str(combination)) == combination


@given(channels)
def test_a_channel_is_read_back_from_its_name(channel: Channel) -> None:
    assert Channel.parse(str(channel)) == channel
    assert Channel.parts(str(channel)) == (str(channel.final_state), str(channel.combination))


def test_a_final_state_names_counts_of_several_digits() -> None:
    state = FinalState((("e", 2), ("m", 0), ("j", 10), ("g", 123)))
    assert str(state) == "2e_0m_10j_123g"
    assert FinalState.parse("2e_0m_10j_123g") == state


def test_a_window_of_jets_may_reach_the_eleventh() -> None:
    combination = Combination((Window("j", 9, 2),))
    assert str(combination) == "j9j10"
    assert Combination.parse("j9j10") == combination


def test_rank_ten_is_not_rank_one_and_zero() -> None:
    assert Combination.parse("j10").windows == (Window("j", 10, 1),)


def test_a_combination_lists_types_in_table_order() -> None:
    windows = (Window("e", 0, 2), Window("j", 1, 1))
    assert str(Combination(windows)) == "e0e1j1"


def test_a_channel_is_a_folder_and_a_file() -> None:
    channel = Channel.parse("2e_0m_4j_2g/e0e1j0")
    assert channel.final_state == FinalState((("e", 2), ("m", 0), ("j", 4), ("g", 2)))
    assert channel.combination == Combination((Window("e", 0, 2), Window("j", 0, 1)))


NO_FINAL_STATES = {
    "empty": "",
    "no count": "e",
    "no letter": "2",
    "unknown letter": "2x",
    "wrong order": "1m_2e",
    "type named twice": "1e_1e",
    "leading zero": "02e",
    "negative": "-1e",
    "fraction": "1.0e",
    "category": "2ex_0mx",
    "trailing underscore": "2e_",
    "trailing newline": "2e\n",
    "space": "2e _0m",
    "digits of another script": "٢e",
}


@pytest.mark.parametrize("text", NO_FINAL_STATES.values(), ids=NO_FINAL_STATES)
def test_what_is_no_final_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a final state: expected for example '2e_0m"):
        FinalState.parse(text)


NO_COMBINATIONS = {
    "empty": "",
    "gap": "j0j2",
    "falling ranks": "j1j0",
    "same object twice": "j0j0",
    "wrong order of types": "m0e0",
    "type in two places": "e0m0e1",
    "no rank": "e",
    "no letter": "0",
    "unknown letter": "x0",
    "leading zero": "e00",
    "separator": "e0_e1",
    "trailing newline": "e0\n",
    "capital": "E0",
}


@pytest.mark.parametrize("text", NO_COMBINATIONS.values(), ids=NO_COMBINATIONS)
def test_what_is_no_combination_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a combination: expected consecutive ranks"):
        Combination.parse(text)


@pytest.mark.parametrize("text", ["2e", "e0", "2e/", "/e0", "2e/e0/e1", "2e\\e0", "e0/2e"])
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        Channel.parse(text)


@given(st.text(alphabet=ORDER + "0123456789_/", max_size=8))
def test_text_is_refused_or_is_exactly_a_name(text: str) -> None:
    for kind in (FinalState, Combination, Channel):
        try:
            value = kind.parse(text)
        except ValueError:
            continue
        assert str(value) == text


def test_a_type_that_is_not_counted_has_no_objects() -> None:
    state = FinalState.parse("2e_0m")
    assert [state.count(letter) for letter in "emj"] == [2, 0, 0]


@pytest.mark.parametrize(
    ("state", "combination", "exists"),
    [
        ("2e_0m", "e0e1", True),
        ("1e_0m", "e0e1", False),
        ("2e_0m", "e0m0", False),
        ("2e_1m", "e0m0", True),
        ("2e_0m", "e1e2", False),
        ("3e_0m", "e1e2", True),
        ("3e", "e0j0", False),
    ],
)
def test_a_channel_needs_every_object_of_its_combination(
    state: str, combination: str, *, exists: bool
) -> None:
    assert Combination.parse(combination).exists_in(FinalState.parse(state)) is exists


def test_a_combination_counts_its_objects() -> None:
    assert Combination.parse("e0e1m1j0j1j2").n_objects == 6


def histograms(**keys: Any) -> str:
    """Return the template of names that a configuration has."""
    return HistogramCreation(input_dir="", output_dir="", **keys).name_template


BUMPNET = histograms()


def test_a_histogram_has_the_name_that_bumpnet_knows() -> None:
    channel = Channel.parse("2e_0m_10j_2g/e0e1j0")
    name = mass_histogram_name(channel, "10.0", template=BUMPNET)
    assert name == "mass_e0e1j0_cat_2ex_0mx_10jx_2gx_width_10.0"


def test_the_copy_for_bumpnet_has_its_prefix() -> None:
    channel = Channel.parse("2e_0m/e0e1")
    name = mass_histogram_name(channel, "res", template=BUMPNET, prefix="ROI_")
    assert name == "ROI_mass_e0e1_cat_2ex_0mx_width_res"


def test_without_bumpnet_a_histogram_has_a_plain_name() -> None:
    channel = Channel.parse("2e_0m/e0e1")
    name = mass_histogram_name(channel, "2.5", template=histograms(use_bumpnet_naming=False))
    assert name == "e0e1_2e_0m_2.5"


def test_a_name_follows_its_template() -> None:
    channel = Channel.parse("2e_0m/e0e1")
    template = histograms(histogram_name_template="{prefix}{final_state}-{combination}")
    assert mass_histogram_name(channel, "10.0", template=template) == "2e_0m-e0e1"
