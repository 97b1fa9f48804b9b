"""Damaged input ends as a failed file or with counts that balance: no traceback, no hang."""

from __future__ import annotations

import collections
import json
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import config
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.inputs import Chunk, InputFile, Sample, Slice
from schemas.reports import FileStatus
from services import run_directory
from services.chunks import ChunkTask
from services.parse import parse_chunk
from services.run_directory import events_file
from services.storage.parsed import PARSED_TREE
from tests.factory import make_config, write_nanoaod

CHECKOUT = Path(__file__).parents[2]
N_MUTANTS = 500
SECONDS_PER_MUTANT = 60
MEMORY = 4 << 30


def original(path: Path) -> bytes:
    """Return a small sound file: three compressed baskets per branch are enough to be hit."""
    rng = np.random.default_rng(1)
    events = [
        [(30.0 + rng.exponential(20.0), rng.normal(), rng.uniform(-3, 3), 1.0) for _ in range(n)]
        for n in rng.poisson(1.5, 300)
    ]
    return write_nanoaod(path, electrons=events, jets=events[::-1]).read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return the file with one kind of damage that disks, networks and enemies do."""
    mutant = bytearray(data)
    kind = rng.randrange(5)
    place = rng.randrange(len(mutant))
    length = rng.choice([1, 4, 64, 1000])
    if kind == 0:
        for _ in range(rng.choice([1, 3, 20])):
            mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del mutant[place:]
    elif kind == 2:
        mutant[place : place + length] = bytes(min(length, len(mutant) - place))
    elif kind == 3:
        mutant[place : place + length] = b"\xff" * min(length, len(mutant) - place)
    else:
        other = rng.randrange(len(mutant))
        mutant[place : place + length] = mutant[other : other + length]
    return bytes(mutant)


def _hang(_signal: int, _frame: object) -> None:
    msg = "a mutant took too long"
    raise SystemExit(msg)


def read_mutants(folder: Path) -> dict[str, int]:
    """Read all mutants in this process and count how they ended."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _hang)
    settings_of_run = make_config({"parsing_task_config": {"release_years": ["demo"]}}, folder)
    paths = run_directory.layout(folder / "run", settings_of_run)
    data = original(folder / "sound.root")
    rng = random.Random(500)
    ends: collections.Counter[str] = collections.Counter()
    for number in range(N_MUTANTS):
        path = folder / "mutant.root"
        path.write_bytes(mutate(data, rng))
        file = InputFile(url=str(path), source="fuzz", layout="cms-nanoaod", sample=Sample.DATA)
        task = ChunkTask("chunk", "", Chunk("chunk", (file,)), 3000)
        signal.alarm(SECONDS_PER_MUTANT)
        report = parse_chunk(settings_of_run, paths, Slice(), task)
        signal.alarm(0)
        ends[report.files[0].status] += 1
        with uproot.open(events_file(paths.parsed_data, "chunk")) as written:
            assert written[PARSED_TREE].num_entries == report.events_kept, number
        assert (report.events_read == 0) or report.files[0].status is FileStatus.DONE
    return dict(ends)


@pytest.mark.slow
def test_every_mutant_of_a_root_file_ends_in_a_report(tmp_path: Path) -> None:
    code = (
        "import sys, json, pathlib\n"
        "from tests.chain.test_fuzz import read_mutants\n"
        "print(json.dumps(read_mutants(pathlib.Path(sys.argv[1]))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = json.loads(done.stdout.splitlines()[-1])
    assert sum(ends.values()) == N_MUTANTS
    assert ends["failed"] > N_MUTANTS // 10


KEYS = st.text(max_size=6) | st.integers() | st.booleans()
SECTIONS = {
    name: list(field.annotation.model_fields) for name, field in Config.model_fields.items()
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def configurations(draw: st.DrawFn) -> dict[Any, Any]:
    """Draw a file with some keys of the program, some of nobody, and any values."""
    data: dict[Any, Any] = {}
    for section in draw(st.lists(st.sampled_from(list(SECTIONS)), unique=True)):
        keys = draw(st.lists(st.sampled_from(SECTIONS[section]), unique=True, max_size=4))
        block = {key: draw(VALUES) for key in keys}
        data[section] = block | draw(st.dictionaries(KEYS, VALUES, max_size=1))
    return data | draw(st.dictionaries(KEYS, VALUES, max_size=1))


@given(configurations())
@settings(max_examples=300)
def test_any_configuration_is_taken_or_refused_with_a_sentence(data: dict[Any, Any]) -> None:
    refusal = None
    try:
        config.from_dict(data, where="any", folder=CHECKOUT)
    except ConfigError as error:
        refusal = str(error)
    assert refusal is None or refusal.startswith("any: ")


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_is_refused_with_a_sentence(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError):
        config.load(path)
