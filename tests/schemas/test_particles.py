"""The particle table: its order, letters and masses are fixed."""

import pytest

from schemas.particles import BY_KEY, BY_LETTER, BY_NAME, ORDER, PARTICLES, MassSource, Particle


def test_the_table_has_its_fixed_order() -> None:
    assert [(particle.name, particle.letter) for particle in PARTICLES] == [
        ("Electrons", "e"),
        ("Muons", "m"),
        ("Jets", "j"),
        ("Photons", "g"),
        ("Taus", "t"),
        ("BJets", "b"),
    ]


@pytest.mark.parametrize(
    ("name", "mass_gev", "source"),
    [
        ("Electrons", 0.00051099895, MassSource.FIXED),
        ("Muons", 0.1056583755, MassSource.FIXED),
        ("Jets", 0.0, MassSource.STORED),
        ("Photons", 0.0, MassSource.FIXED),
        ("Taus", 1.77693, MassSource.STORED),
        ("BJets", 0.0, MassSource.STORED),
    ],
)
def test_each_type_has_its_mass(name: str, mass_gev: float, source: MassSource) -> None:
    assert (BY_NAME[name].mass_gev, BY_NAME[name].mass_source) == (mass_gev, source)


def test_keys_are_names_in_small_letters() -> None:
    assert list(BY_KEY) == ["electrons", "muons", "jets", "photons", "taus", "bjets"]


@pytest.mark.parametrize("particle", PARTICLES, ids=lambda particle: particle.name)
def test_every_index_finds_the_same_row(particle: Particle) -> None:
    assert BY_NAME[particle.name] is particle
    assert BY_LETTER[particle.letter] is particle
    assert BY_KEY[particle.key] is particle
    assert PARTICLES[ORDER[particle.name]] is particle
