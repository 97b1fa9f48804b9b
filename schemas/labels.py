"""Names of final states, combinations, channels and histograms: written and read only here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Self

from schemas.particles import BY_LETTER, PARTICLES, Particle

LETTERS = "".join(particle.letter for particle in PARTICLES)
_COUNT = re.compile(rf"(0|[1-9][0-9]*)([{LETTERS}])")
_OBJECT = re.compile(rf"([{LETTERS}])(0|[1-9][0-9]*)")


def _in_table_order(letters: list[str]) -> bool:
    positions = [LETTERS.index(letter) for letter in letters]
    return all(a < b for a, b in pairwise(positions))


@dataclass(frozen=True, order=True)
class FinalState:
    """The exact multiplicity of each configured type: (letter, count) in table order."""

    counts: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        """Return for example `2e_0m_4j_2g`."""
        return self._text

    @cached_property  # as often as read, the name is written: once for every channel
    def _text(self) -> str:
        return "_".join([f"{count}{letter}" for letter, count in self.counts])

    @classmethod
    @cache  # the few thousand final states of a run are named in hundreds of places
    def parse(cls, text: str) -> Self:
        """Read `2e_0m_4j_2g`.

        Raises:
            ValueError: `text` is not what `str` of a final state gives.
        """
        matches = [_COUNT.fullmatch(part) for part in text.split("_")]
        counts = tuple((match[2], int(match[1])) for match in matches if match)
        if len(counts) != len(matches) or not _in_table_order([letter for letter, _ in counts]):
            msg = f"{text!r} is not a final state: expected for example '2e_0m_4j_2g'"
            raise ValueError(msg)
        return cls(counts)

    def count(self, letter: str) -> int:
        """Return how many objects of a type there are; 0 for a type that is not counted."""
        return dict(self.counts).get(letter, 0)

    @property
    def category(self) -> str:
        """The same as BumpNet's categories write it: `2ex_0mx_4jx_2gx`."""
        return "_".join(f"{count}{letter}x" for letter, count in self.counts)


@dataclass(frozen=True, order=True)
class Window:
    """Consecutive ranks `start .. start + count - 1` of one type."""

    letter: str
    start: int
    count: int

    @property
    def stop(self) -> int:
        """The first rank behind the window: how many objects of the type an event must have."""
        return self.start + self.count

    @property
    def particle(self) -> Particle:
        """The row of the particle table."""
        return BY_LETTER[self.letter]


@dataclass(frozen=True, order=True)
class Combination:
    """The objects whose mass is taken: one window of ranks per type, in table order."""

    windows: tuple[Window, ...]

    def __str__(self) -> str:
        """Return for example `e0e1j0`."""
        return self._text

    @cached_property  # the same few hundred are in thousands of final states
    def _text(self) -> str:
        return "".join(
            [
                f"{window.letter}{rank}"
                for window in self.windows
                for rank in range(window.start, window.stop)
            ]
        )

    @classmethod
    @cache  # there are a few hundred, named in hundreds of thousands of places
    def parse(cls, text: str) -> Self:
        """Read `e0e1j0`.

        Raises:
            ValueError: `text` is not what `str` of a combination gives (ranks with gaps included).
        """
        ranks: dict[str, list[int]] = {}
        for letter, rank in _OBJECT.findall(text):
            ranks.setdefault(letter, []).append(int(rank))
        windows = tuple(Window(letter, found[0], len(found)) for letter, found in ranks.items())
        combination = cls(windows)
        if not text or not _in_table_order(list(ranks)) or str(combination) != text:
            msg = (
                f"{text!r} is not a combination: expected consecutive ranks of types in the order "
                f"{' '.join(LETTERS)}, for example 'e0e1j0'"
            )
            raise ValueError(msg)
        return combination

    @property
    def n_objects(self) -> int:
        """How many objects are summed."""
        return sum(window.count for window in self.windows)

    @property
    def content(self) -> tuple[tuple[str, int], ...]:
        """How many objects of each type, whatever their ranks: (letter, count) in table order."""
        return tuple((window.letter, window.count) for window in self.windows)

    def exists_in(self, final_state: FinalState) -> bool:
        """Whether every event of the final state has all the objects."""
        return all(final_state.count(window.letter) >= window.stop for window in self.windows)


@dataclass(frozen=True)
class CombinationPattern:
    """The combinations that a rule is for: exactly one (`e0e1`), or all of a content (`2e`)."""

    content: tuple[tuple[str, int], ...]
    exactly: Combination | None = None

    def __str__(self) -> str:
        """Return for example `e0e1`, or `2e1j` where the ranks do not matter."""
        if self.exactly is not None:
            return str(self.exactly)
        return "".join(f"{count}{letter}" for letter, count in self.content)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `e0e1`, or `2e1j`: any two electrons and any jet.

        Raises:
            ValueError: `text` is neither, or names fewer than two objects.
        """
        if text[:1].isalpha():
            combination = Combination.parse(text)
            pattern = cls(combination.content, combination)
        else:
            content = tuple((letter, int(count)) for count, letter in _COUNT.findall(text))
            pattern = cls(content)
            is_sound = all(count for _, count in content)
            if not is_sound or not _in_table_order([letter for letter, _ in content]):
                pattern = cls(())
        if str(pattern) != text or not text:
            msg = (
                f"{text!r} names no combination: expected ranks of types in the order "
                f"{' '.join(LETTERS)}, for example 'e0e1', or their numbers, for example '2e1j'"
            )
            raise ValueError(msg)
        if sum(count for _, count in pattern.content) < _FEWEST_OBJECTS:
            msg = f"{text!r} names a single object, which has no invariant mass; name two or more"
            raise ValueError(msg)
        return pattern

    def matches(self, combination: Combination) -> bool:
        """Whether the rule is for this combination."""
        if self.exactly is not None:
            return combination == self.exactly
        return combination.content == self.content

    def shares(self, other: Self) -> bool:
        """Whether there is a combination that both match."""
        if self.exactly is not None and other.exactly is not None:
            return self.exactly == other.exactly
        return self.content == other.content


# One object has no invariant mass of interest.
_FEWEST_OBJECTS = 2


@dataclass(frozen=True, order=True)
class Channel:
    """One spectrum: a combination in a final state."""

    final_state: FinalState
    combination: Combination

    def __str__(self) -> str:
        """Return for example `2e_0m_4j_2g/e0e1j0`, which is also the folder and file of arrays."""
        return f"{self.final_state}/{self.combination}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2e_0m_4j_2g/e0e1j0`.

        Raises:
            ValueError: `text` is not what `str` of a channel gives.
        """
        final_state, combination = cls.parts(text)
        return cls(FinalState.parse(final_state), Combination.parse(combination))

    @staticmethod
    def parts(text: str) -> tuple[str, str]:
        """Return what `2e_0m_4j_2g/e0e1j0` names its final state and its combination.

        Raises:
            ValueError: `text` does not have both.
        """
        final_state, slash, combination = text.partition("/")
        if not slash:
            msg = f"{text!r} is not a channel: expected for example '2e_0m_4j_2g/e0e1j0'"
            raise ValueError(msg)
        return final_state, combination


def mass_histogram_name(channel: Channel, width: str, *, template: str, prefix: str = "") -> str:
    """Return the key of a channel's histogram.

    `width` is what names say of the bins: `10.0`, or `res`. The template's fields are `prefix`,
    `combination`, `category`, `final_state` and `width`.
    """
    return template.format(
        prefix=prefix,
        combination=channel.combination,
        category=channel.final_state.category,
        final_state=channel.final_state,
        width=width,
    )
