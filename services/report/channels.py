"""All channels of a run as the page's browser reads them: decisions, verdicts, packed spectra."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.labels import Channel, mass_histogram_name
from schemas.plan import ChannelPlan, Plan
from schemas.reports import HistogramReport
from services.calculations.binning import RESOLUTION_LABEL
from services.calculations.objects import Array, Integers
from services.calculations.spectra import Grid, Spectra

# The largest compression: made once, read often.
_LEVEL = 9


def rows(
    plan: Plan, written: Sequence[HistogramReport], config: HistogramCreation
) -> Iterator[dict[str, Any]]:
    """Yield what is decided for each channel, sample by sample, in the order of their names.

    `written` are the reports of the histograms, none where there are none of this plan.
    """
    rejected = {report.sample: report.rejected for report in written}
    for sample, channels in plan.channels.items():
        for name, decided in channels.items():
            channel = Channel.parse(name)
            verdicts = None
            if config.use_bumpnet_naming and sample in rejected and decided.dropped is None:
                verdicts = _verdicts(channel, rejected[sample], config)
            yield _row(sample, channel, decided) | {"verdicts": verdicts}


def _row(sample: Sample, channel: Channel, decided: ChannelPlan) -> dict[str, Any]:
    return {
        "sample": sample.value,
        "state": str(channel.final_state),
        "combination": str(channel.combination),
        "population": decided.population,
        "classes": decided.classes.model_dump(),
        "peak": decided.peak_gev,
        "floor": decided.floor_gev,
        "vetoes": decided.vetoes_gev,
        "low": decided.low_gev,
        "high": decided.high_gev,
        "last": decided.last_gev,
        "dropped": decided.dropped,
        "resonances": [test.model_dump() for test in decided.resonances],
    }


def _verdicts(
    channel: Channel, rejected: dict[str, str], config: HistogramCreation
) -> list[tuple[str, str | None]]:
    """Return, per bin width, its label and why BumpNet does not take the histogram, if so."""
    is_fixed = config.binning == "fixed"
    labels = [*map(str, config.bin_width_gev)] if is_fixed else [RESOLUTION_LABEL]
    names = [mass_histogram_name(channel, label, template=config.name_template) for label in labels]
    return [(label, rejected.get(name)) for label, name in zip(labels, names, strict=True)]


def packed_spectra(spectra: Spectra, grid: Grid) -> dict[str, str]:
    """Return the spectrum of each channel below the end of the grid, packed, by name.

    Packed are the number n of filled bins, n gaps (how many empty bins lie before each), and n
    counts, as unsigned LEB128.
    """
    packed = {}
    for position, name in enumerate(spectra.channels):
        part = slice(spectra.first[position], spectra.first[position + 1])
        is_inside = spectra.bins[part] < grid.n_bins
        bins = spectra.bins[part][is_inside].astype(np.int64)
        gaps = np.diff(bins, prepend=-1) - 1
        numbers = np.concatenate(([len(bins)], gaps, spectra.counts[part][is_inside]))
        packed[name] = pack(leb128(numbers))
    return packed


def leb128(numbers: Integers) -> bytes:
    """Return numbers, shape (n,), of at least 0 as unsigned LEB128, one after the other.

    Seven bits per byte, the lowest first; the highest bit says that more follow.
    """
    values = numbers.astype(np.uint64)
    n_bytes = np.ones(len(values), dtype=np.int64)
    for shift in range(7, 64, 7):
        n_bytes += values >> np.uint64(shift) > 0
    ends: Array = np.cumsum(n_bytes)
    starts = ends - n_bytes
    encoded: npt.NDArray[np.uint8] = np.zeros(int(n_bytes.sum()), dtype=np.uint8)
    for place in range(int(n_bytes.max(initial=0))):
        has = n_bytes > place
        bits = values[has] >> np.uint64(7 * place) & np.uint64(0x7F)
        more = (n_bytes[has] > place + 1).astype(np.uint64) << np.uint64(7)
        encoded[starts[has] + place] = bits | more
    return encoded.tobytes()


def pack(content: bytes) -> str:
    """Return bytes compressed (zlib) and as text (base64)."""
    return base64.b64encode(zlib.compress(content, _LEVEL)).decode()


def pack_json(content: object) -> str:
    """Return JSON packed."""
    return pack(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())
