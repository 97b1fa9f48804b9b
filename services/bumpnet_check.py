"""Anybody's ROOT file -> which of its histograms BumpNet would accept, as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.config import Acceptance
from services.calculations.bumpnet import Verdict, judge
from services.storage.histograms import read_contents

# BumpNet looks at no other keys.
READ_PREFIX = "ROI"


@dataclass(frozen=True)
class CheckedFile:
    """The verdict on every histogram of a file, by key."""

    path: Path
    rule: Acceptance
    verdicts: dict[str, Verdict]

    @property
    def accepted(self) -> tuple[str, ...]:
        """Keys of the histograms that the rule accepts."""
        return tuple(key for key, verdict in self.verdicts.items() if verdict.is_accepted)

    def __str__(self) -> str:
        """Return what there is to say, one line per histogram, the sums last."""
        accepted = self.accepted
        n_all = len(self.verdicts)
        n_read = sum(key.startswith(READ_PREFIX) for key in self.verdicts)
        n_both = sum(key.startswith(READ_PREFIX) for key in accepted)
        rule = self.rule
        lines = [_line(key, verdict) for key, verdict in self.verdicts.items()]
        totals = (
            f"{self.path}: {n_all:,} histograms, {len(accepted):,} accepted, "
            f"{n_all - len(accepted):,} rejected (up to the last bin above {rule.last_bin_above:g}:"
            f" at least {rule.min_bins} bins, sum at least {rule.min_sum:g}, first bin above 0)"
        )
        keys = (
            f"BumpNet reads only keys that begin with {READ_PREFIX}: {n_read:,} of {n_all:,}, "
            f"{n_both:,} of them accepted"
        )
        return "\n".join([*lines, totals, keys])


def _line(key: str, verdict: Verdict) -> str:
    counts = f"{verdict.n_bins} bins, sum {verdict.total:,.10g}"
    if verdict.is_accepted:
        return f"accepted  {key}: {counts}"
    return f"rejected  {key}: {verdict.reason} ({counts})"


def check(path: Path, rule: Acceptance) -> CheckedFile:
    """Apply BumpNet's rule to every one-dimensional histogram of a ROOT file.

    Raises:
        DataError: the file is missing or is not a readable ROOT file.
    """
    verdicts = {key: judge(contents, rule) for key, contents in read_contents(path)}
    return CheckedFile(path, rule, verdicts)
