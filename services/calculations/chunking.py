"""How input files are grouped into chunks, before anything is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import groupby

from schemas.inputs import Chunk, InputFile, Sample


def in_random_order(files: Iterable[InputFile], seed: int) -> list[InputFile]:
    """Return the files in an order that depends on their names and the seed alone.

    The first files of it are an unbiased sample, and stay so when the catalog lists more.
    """

    def place(file: InputFile) -> bytes:
        return hashlib.sha256(f"{seed} {file.url}".encode()).digest()

    return sorted(files, key=place)


def limit_files(files: Sequence[InputFile], most: int | None) -> tuple[InputFile, ...]:
    """Return at most so many files of each source, data and simulation apart, in catalog order."""
    if most is None:
        return tuple(files)
    taken: dict[tuple[str, Sample], int] = {}
    chosen = []
    for file in files:
        group = (file.source, file.sample)
        taken[group] = taken.get(group, 0) + 1
        if taken[group] <= most:
            chosen.append(file)
    return tuple(chosen)


def make_chunks(files: Sequence[InputFile], chunk_input_bytes: int) -> tuple[Chunk, ...]:
    """Group files, in catalog order, into chunks of one source and sample.

    A chunk is closed when its size reaches `chunk_input_bytes`; a file of unknown size is a chunk
    of its own.
    """
    order = {(file.source, file.sample): number for number, file in enumerate(reversed(files))}
    by_group = sorted(files, key=lambda file: -order[file.source, file.sample])
    chunks: list[Chunk] = []
    for (source, sample), of_group in groupby(by_group, key=lambda f: (f.source, f.sample)):
        name = f"parsed_{source}{sample.suffix}_chunk"
        grouped = _fill(list(of_group), chunk_input_bytes)
        chunks += [Chunk(f"{name}{number}", tuple(part)) for number, part in enumerate(grouped, 1)]
    return tuple(chunks)


def _fill(files: list[InputFile], full: int) -> list[list[InputFile]]:
    grouped: list[list[InputFile]] = []
    held = full
    for file in files:
        if held >= full or file.size is None:
            grouped.append([])
            held = 0
        grouped[-1].append(file)
        held = full if file.size is None else held + file.size
    return grouped


def deal(sizes: Sequence[int | None], n_slices: int) -> tuple[tuple[int, ...], ...]:
    """Return, per slice, the positions of its chunks, rising.

    Largest first, each to the slice that has least: no slice gets more than the mean plus the
    largest chunk. Where a size is unknown all count the same.
    """
    known = [size for size in sizes if size is not None]
    weights = known if len(known) == len(sizes) else [1] * len(sizes)
    loads = [0] * n_slices
    dealt: list[list[int]] = [[] for _ in range(n_slices)]
    for position in sorted(range(len(sizes)), key=lambda i: (-weights[i], i)):
        # Among equal loads the slice with fewer chunks, so that empty files are spread too.
        target = min(range(n_slices), key=lambda i: (loads[i], len(dealt[i]), i))
        loads[target] += weights[position]
        dealt[target].append(position)
    return tuple(tuple(sorted(positions)) for positions in dealt)
