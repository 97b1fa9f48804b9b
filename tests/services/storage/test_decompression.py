"""zlib's blocks, unpacked by another library: the same bytes, the same refusals."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uproot

from services.storage import decompression
from services.storage.decompression import fast_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

N_VALUES = 50_000


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    """Return a file with one branch of numbers that zlib makes smaller."""
    path = tmp_path / "zlib.root"
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        file.mktree("tree", {"x": np.float32}).extend(
            {"x": np.arange(N_VALUES, dtype=np.float32) % 1000}
        )
    return path


def values(path: Path) -> np.ndarray:
    with uproot.open(path, array_cache=None) as file:
        return np.asarray(file["tree"]["x"].array(library="np"))


def library() -> str:
    return decompression._UNPACKER.library  # type: ignore[union-attr]  # noqa: SLF001


@contextmanager
def without_isal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(decompression, "find_spec", lambda _name: None)
        yield


def test_blocks_unpack_to_the_same_numbers(compressed: Path) -> None:
    with fast_zlib():
        assert library() == "isal"
        fast = values(compressed)
    assert np.array_equal(fast, np.arange(N_VALUES) % 1000)
    assert np.array_equal(fast, values(compressed))


def test_outside_nothing_has_changed() -> None:
    with pytest.raises(RuntimeError, match="inside"), fast_zlib():
        raise RuntimeError("inside")  # noqa: EM101 - any error will do
    assert library() == "zlib"


def test_without_isal_zlib_stays(compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_isal(monkeypatch), fast_zlib():
        assert library() == "zlib"
        assert len(values(compressed)) == N_VALUES


@pytest.mark.parametrize("unpack", [fast_zlib, nullcontext], ids=["isal", "zlib"])
def test_a_changed_byte_is_refused_wherever_it_is(compressed: Path, unpack: type) -> None:
    whole = compressed.read_bytes()
    # Behind the block's own header of 9 bytes.
    start = whole.index(b"ZL\x08", whole.index(b"TBasket")) + 9
    length = int.from_bytes(whole[start - 6 : start - 3], "little")
    for position in np.random.default_rng(20).integers(length, size=20).tolist():
        data = bytearray(whole)
        data[start + position] ^= 0xFF
        compressed.write_bytes(data)
        with unpack(), pytest.raises(Exception, match=r"(?i)error|invalid|incorrect|expected"):
            values(compressed)
