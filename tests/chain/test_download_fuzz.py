"""A downloaded file with a checksum in the catalog is read as it is listed, or not at all."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from schemas.config import Config
from schemas.inputs import Chunk, InputFile, Sample, Slice
from schemas.reports import FileStatus, ParseReport
from services import run_directory
from services.chunks import ChunkTask
from services.parse import parse_chunk
from services.run_directory import RunDirectory
from tests.chain.test_fuzz import mutate, original
from tests.factory import make_config
from tests.servers import OpenDataServer

N_MUTANTS = 40


def make_downloading(folder: Path) -> tuple[Config, RunDirectory]:
    parsing = {
        "specific_record_ids": ["1"],
        "layout_by_record": {"1": "cms-nanoaod"},
        "read_mode": "download",
        "protocol": "https",
        "count_retries_failed_files": 0,
        "request_retries": 0,
    }
    config = make_config({"parsing_task_config": parsing}, folder)
    return config, run_directory.layout(folder / "run", config)


def read(config: Config, paths: RunDirectory, file: InputFile) -> ParseReport:
    task = ChunkTask("chunk", "", Chunk("chunk", (file,)), 3000)
    return parse_chunk(config, paths, Slice(), task)


def listed(url: str, content: bytes) -> InputFile:
    return InputFile(
        url=url,
        source="record_1",
        layout="cms-nanoaod",
        sample=Sample.DATA,
        size=len(content),
        checksum=f"adler32:{zlib.adler32(content):08x}",
    )


def swap(data: bytes, rng: random.Random) -> bytes:
    """Return the file with two of its blocks exchanged, as a confused cache may do."""
    length = rng.choice([1, 2, 64, 512])
    first, second = sorted(rng.sample(range(len(data) // length), 2))
    blocks = [data[at : at + length] for at in range(0, len(data), length)]
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


def test_what_was_damaged_on_its_way_never_gives_a_wrong_value(
    server: OpenDataServer, tmp_path: Path
) -> None:
    config, paths = make_downloading(tmp_path)
    sound = original(tmp_path / "sound.root")
    rng = random.Random(77)
    n_refused = 0
    for number in range(N_MUTANTS):
        mutant = (swap if number % 3 == 0 else mutate)(sound, rng)
        url = server.put(f"mutant{number}.root", mutant)
        (outcome,) = read(config, paths, listed(url, sound)).files
        if mutant == sound:
            assert outcome.status is FileStatus.DONE
        else:
            assert (outcome.status, outcome.events) == (FileStatus.FAILED, 0), number
            n_refused += 1
    assert n_refused > 0.9 * N_MUTANTS
    left = [path.name for path in paths.downloads.rglob("*mutant*") if path.suffix == ".root"]
    assert len(left) == N_MUTANTS - n_refused


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_that_the_disk_has_damaged_is_downloaded_again(
    server: OpenDataServer, tmp_path: Path, seed: int
) -> None:
    config, paths = make_downloading(tmp_path)
    sound = original(tmp_path / "sound.root")
    file = listed(server.put("a.root", sound), sound)
    undisturbed = read(config, paths, file)
    (copy,) = paths.downloads.rglob("*_a.root")
    copy.write_bytes(swap(sound, random.Random(seed)))
    again = read(config, paths, file)
    assert again.populations == undisturbed.populations
    assert again.events_kept == undisturbed.events_kept > 0
    assert copy.read_bytes() == sound
