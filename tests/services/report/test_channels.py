"""Channels as the page carries them: packed spectra are unpacked here by other means."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, HistogramReport
from services.calculations.spectra import Grid
from services.report.channels import leb128, pack_json, packed_spectra, rows
from tests.services.report.made_run import grid_of

GRID = Grid(10.0, 1000)


def unpacked(text: str) -> list[int]:
    """Return the numbers of packed text, bit by bit."""
    numbers = []
    bits = ""
    for byte in zlib.decompress(base64.b64decode(text)):
        more, *low = f"{byte:08b}"
        bits = "".join(low) + bits
        if more == "0":
            numbers.append(int(bits, 2))
            bits = ""
    return numbers


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (16384, "808001"),
        (2**53, "8080808080808010"),
    ],
)
def test_a_number_takes_seven_bits_per_byte(number: int, expected: str) -> None:
    assert leb128(np.array([number])).hex() == expected


def test_numbers_follow_one_another() -> None:
    assert leb128(np.array([300, 0, 127])).hex() == "ac02007f"
    assert leb128(np.zeros(0, dtype=np.int64)) == b""


@given(st.dictionaries(st.integers(0, 999), st.integers(1, 2**53), max_size=40))
def test_a_packed_spectrum_is_the_spectrum(counts: dict[int, int]) -> None:
    entries = np.zeros(GRID.n_bins + 1, dtype=np.int64)
    entries[[*counts]] = [*counts.values()]
    entries[-1] = 3
    n_filled, *rest = unpacked(packed_spectra(grid_of({"2e/e0e1": entries}), GRID)["2e/e0e1"])
    assert n_filled == len(counts)
    gaps, found = rest[:n_filled], rest[n_filled:]
    assert found == [counts[b] for b in sorted(counts)]
    position, bins = -1, []
    for gap in gaps:
        position += 1 + gap
        bins.append(position)
    assert bins == sorted(counts)


def test_what_lies_beyond_the_grid_is_not_in_the_spectrum() -> None:
    entries = np.zeros(GRID.n_bins + 1, dtype=np.int64)
    entries[-1] = 5
    assert unpacked(packed_spectra(grid_of({"2e/e0e1": entries}), GRID)["2e/e0e1"]) == [0]


def test_packed_json_has_no_letter_that_means_something_in_html() -> None:
    packed = pack_json({"name": "</script><!--"})
    assert not set("<>&\"'") & set(packed)
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == {"name": "</script><!--"}


def decided(dropped: str | None = None) -> ChannelPlan:
    return ChannelPlan(
        population=9,
        peak_gev=10.0,
        low_gev=10.0,
        high_gev=None,
        last_gev=20.0,
        classes=ClassCounts(main=9),
        dropped=dropped,
    )


PLAN = Plan(
    bin_width_gev=10.0,
    max_mass_gev=10000.0,
    channels={
        Sample.DATA: {"2e_1m/e0e1": decided(), "2e_1m/e0m0": decided("no peak")},
        Sample.SIMULATION: {"2e_1m/e0e1": decided()},
    },
)
WRITTEN = [
    HistogramReport(
        sample=Sample.DATA,
        channels=1,
        histograms=2,
        roi_copies=1,
        rejected={"mass_e0e1_cat_2ex_1mx_width_5.0": "9 bins, fewer than 25"},
        masses_in=9,
        entries={"10.0": 9, "5.0": 9},
        overflow=0,
        outputs=(),
    )
]


def config(**keys: object) -> HistogramCreation:
    return HistogramCreation.model_validate({"input_dir": "", "output_dir": ""} | keys)


def test_the_verdict_is_told_per_bin_width_and_not_for_what_was_not_judged() -> None:
    found = [*rows(PLAN, WRITTEN, config(bin_width_gev=[10.0, 5.0]))]
    assert [(row["sample"], row["state"], row["combination"]) for row in found] == [
        ("data", "2e_1m", "e0e1"),
        ("data", "2e_1m", "e0m0"),
        ("mc", "2e_1m", "e0e1"),
    ]
    of_data = [("10.0", None), ("5.0", "9 bins, fewer than 25")]
    assert [row["verdicts"] for row in found] == [of_data, None, None]


def test_without_copies_for_bumpnet_there_is_no_verdict() -> None:
    assert {row["verdicts"] for row in rows(PLAN, WRITTEN, config(use_bumpnet_naming=False))} == {
        None
    }
