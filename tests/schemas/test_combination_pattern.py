"""The labels that rules name combinations by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.labels import Channel, Combination, CombinationPattern, mass_histogram_name

CONTENTS = st.lists(st.integers(0, 12), min_size=6, max_size=6).filter(lambda n: sum(n) >= 2)


@given(CONTENTS)
def test_a_pattern_of_numbers_reads_back_what_it_writes(numbers: list[int]) -> None:
    content = tuple((letter, n) for letter, n in zip("emjgtb", numbers, strict=True) if n)
    pattern = CombinationPattern(content)
    assert CombinationPattern.parse(str(pattern)) == pattern


def test_an_exact_pattern_reads_back_what_it_writes() -> None:
    assert str(CombinationPattern.parse("e1e2j0")) == "e1e2j0"


@pytest.mark.parametrize(
    ("label", "combination", "matches"),
    [
        ("e0e1", "e0e1", True),
        ("e0e1", "e1e2", False),
        ("e0e1", "e0e1j0", False),
        ("2e", "e0e1", True),
        ("2e", "e3e4", True),
        ("2e", "m0m1", False),
        ("2e", "e0e1e2", False),
        ("2e", "e0e1j0", False),
        ("2e1j", "e1e2j0", True),
        ("2e2m", "e0e1m0m1", True),
        ("10j", "j0j1j2j3j4j5j6j7j8j9", True),
    ],
)
def test_a_rule_is_for_the_combinations_that_it_names(
    label: str, combination: str, matches: bool
) -> None:
    pattern = CombinationPattern.parse(label)
    assert pattern.matches(Combination.parse(combination)) is matches


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("e0e1", "e0e1", True),
        ("e0e1", "e1e2", False),
        ("e0e1", "2e", True),
        ("2e", "e1e2", True),
        ("2e", "2m", False),
        ("2e", "2e", True),
    ],
)
def test_two_rules_share_what_both_name(one: str, other: str, share: bool) -> None:
    assert CombinationPattern.parse(one).shares(CombinationPattern.parse(other)) is share


@pytest.mark.parametrize(
    "label", ["", "x0x1", "e1e0", "e0e2", "m0e0", "2x", "2m2e", "1e1e", "0e2m", "2", "2e_2m", "02e"]
)
def test_a_label_that_names_nothing_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r"is not a combination|names no combination"):
        CombinationPattern.parse(label)


@pytest.mark.parametrize("label", ["e0", "1e"])
def test_a_single_object_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="single object"):
        CombinationPattern.parse(label)


def test_names_follow_the_template() -> None:
    channel = Channel.parse("2e_0m_4j_2g/e0e1j0")
    template = "{prefix}mass_{combination}_cat_{category}_width_{width}"
    assert (
        mass_histogram_name(channel, "10.0", template=template, prefix="ROI_")
        == "ROI_mass_e0e1j0_cat_2ex_0mx_4jx_2gx_width_10.0"
    )
    plain = "{combination}_{final_state}_{width}"
    assert mass_histogram_name(channel, "res", template=plain) == "e0e1j0_2e_0m_4j_2g_res"
