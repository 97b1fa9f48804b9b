"""THE particle table: labels, configuration keys, branch names and masses all derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MassSource(Enum):
    """Where the mass of an object comes from."""

    FIXED = "fixed"  # always the particle's own: a stored one is rounding noise
    STORED = "stored"  # what the file stores, else from its energy, else the table's value


@dataclass(frozen=True)
class Particle:
    """One object type. Masses in GeV."""

    name: str
    letter: str
    mass_gev: float
    mass_source: MassSource

    @property
    def key(self) -> str:
        """The name as configuration keys and layout tables write it."""
        return self.name.lower()


# The order is that of every label, table and file. Masses: Particle Data Group 2024.
PARTICLES = (
    Particle("Electrons", "e", 0.00051099895, MassSource.FIXED),
    Particle("Muons", "m", 0.1056583755, MassSource.FIXED),
    Particle("Jets", "j", 0.0, MassSource.STORED),
    Particle("Photons", "g", 0.0, MassSource.FIXED),
    Particle("Taus", "t", 1.77693, MassSource.STORED),
    Particle("BJets", "b", 0.0, MassSource.STORED),
)

BY_NAME = {particle.name: particle for particle in PARTICLES}
BY_LETTER = {particle.letter: particle for particle in PARTICLES}
BY_KEY = {particle.key: particle for particle in PARTICLES}
ORDER = {particle.name: position for position, particle in enumerate(PARTICLES)}
