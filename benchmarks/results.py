"""What benchmarks find: rows of one table, against the aims, and everything else for the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.measuring import Spread


@dataclass(frozen=True)
class Aim:
    """What a measured number is to be: at most, or at least, so much."""

    bound: Literal["at most", "at least"]
    value: float

    def is_met(self, measured: float) -> bool:
        """Whether a number keeps to it."""
        return measured <= self.value if self.bound == "at most" else measured >= self.value


def at_most(value: float) -> Aim:
    """Return an aim from above."""
    return Aim("at most", value)


def at_least(value: float) -> Aim:
    """Return an aim from below."""
    return Aim("at least", value)


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured; without an aim it is there to be known."""

    what: str
    measured: Spread
    unit: str
    aim: Aim | None = None

    @property
    def verdict(self) -> str:
        """Whether the median keeps to the aim."""
        if self.aim is None:
            return ""
        return "met" if self.aim.is_met(self.measured.median) else "NOT MET"

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says of it."""
        measured = self.measured
        noise = (
            ""
            if measured.min == measured.max
            else f"{_short(measured.min)} to {_short(measured.max)}"
        )
        aim = f"{self.aim.bound} {_short(self.aim.value)}" if self.aim else ""
        return (self.what, f"{_short(measured.median)} {self.unit}", noise, aim, self.verdict)


@dataclass(frozen=True)
class Result:
    """What one benchmark gives: rows, and whatever else is worth keeping."""

    rows: tuple[Row, ...]
    details: dict[str, Any] = field(default_factory=dict)


def _short(number: float) -> str:
    """Return three digits of a number, or all before the point."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"  # noqa: PLR2004 - three digits


_HEADER = ("what", "measured (median)", "min to max", "aim", "")


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """Return the rows as a table for people, or in Markdown."""
    lines = [_HEADER, *(row.cells for row in rows)]
    if markdown:
        lines.insert(1, tuple("---" for _ in _HEADER))
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(_HEADER))]
    aligned = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in lines
    ]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def document(results: dict[str, Result], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    return {
        **about,
        "rows": [
            {"benchmark": name, **asdict(row), "verdict": row.verdict}
            for name, result in results.items()
            for row in result.rows
        ],
        "details": {name: result.details for name, result in results.items()},
    }
