"""How files are grouped into chunks, and chunks dealt to slices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.inputs import InputFile, Sample
from services.calculations.chunking import deal, limit_files, make_chunks


def file(
    url: str, size: int | None = 10, *, source: str = "demo", sample: Sample = Sample.DATA
) -> InputFile:
    return InputFile(url=url, source=source, layout="cms-nanoaod", sample=sample, size=size)


def grouped(files: list[InputFile], n_bytes: int) -> dict[str, str]:
    return {
        chunk.name: "".join(file.url for file in chunk.files)
        for chunk in make_chunks(files, n_bytes)
    }


@pytest.mark.parametrize(
    ("n_bytes", "urls"),
    [
        (1, ["a", "b", "c", "d"]),
        (10, ["a", "b", "c", "d"]),
        (11, ["ab", "cd"]),
        (30, ["abc", "d"]),
        (10**9, ["abcd"]),
    ],
)
def test_a_chunk_is_closed_when_it_reaches_its_size(n_bytes: int, urls: list[str]) -> None:
    assert list(grouped([file(url) for url in "abcd"], n_bytes).values()) == urls


def test_chunks_are_numbered_from_one() -> None:
    assert grouped([file("a"), file("b")], 1) == {
        "parsed_demo_chunk1": "a",
        "parsed_demo_chunk2": "b",
    }


def test_a_file_of_unknown_size_is_a_chunk_of_its_own() -> None:
    files = [file("a"), file("b", None), file("c"), file("d")]
    assert list(grouped(files, 1000).values()) == ["a", "b", "cd"]


def test_an_empty_file_takes_no_room() -> None:
    assert list(grouped([file("a", 0), file("b", 10), file("c", 0)], 10).values()) == ["ab", "c"]


def test_sources_and_samples_are_kept_apart_in_catalog_order() -> None:
    files = [
        file("a", source="record_2"),
        file("b", source="record_1"),
        file("c", source="record_2", sample=Sample.SIMULATION),
        file("d", source="record_2"),
    ]
    assert grouped(files, 1000) == {
        "parsed_record_2_chunk1": "ad",
        "parsed_record_1_chunk1": "b",
        "parsed_record_2_mc_chunk1": "c",
    }


def test_no_files_make_no_chunks() -> None:
    assert make_chunks([], 10) == ()


some_files = st.lists(
    st.builds(
        file,
        st.uuids().map(str),
        st.one_of(st.none(), st.integers(0, 30)),
        source=st.sampled_from(["one", "two"]),
        sample=st.sampled_from(Sample),
    ),
    max_size=15,
)


@given(some_files, st.integers(1, 60))
def test_every_file_is_in_one_chunk_with_its_like(files: list[InputFile], n_bytes: int) -> None:
    chunks = make_chunks(files, n_bytes)
    assert sorted(f.url for chunk in chunks for f in chunk.files) == sorted(f.url for f in files)
    assert len({chunk.name for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert {(f.source, f.sample) for f in chunk.files} == {
            (chunk.first.source, chunk.first.sample)
        }
        *all_but_last, _ = [f.size for f in chunk.files]
        assert sum(size or 0 for size in all_but_last) < n_bytes


def test_files_are_limited_per_source_and_sample() -> None:
    files = [
        file("a"),
        file("b"),
        file("c", sample=Sample.SIMULATION),
        file("d", source="other"),
        file("e"),
    ]
    assert [f.url for f in limit_files(files, 1)] == ["a", "c", "d"]
    assert [f.url for f in limit_files(files, 2)] == ["a", "b", "c", "d"]


def test_without_a_limit_all_files_are_taken() -> None:
    files = [file("a"), file("b")]
    assert limit_files(files, None) == tuple(files)


# Dealing chunks to slices


@pytest.mark.parametrize(
    ("sizes", "n_slices", "dealt"),
    [
        ([3, 5, 2, 4], 1, ((0, 1, 2, 3),)),
        # 5 and 4 first, then 3 to the 4, and 2 to the 5.
        ([3, 5, 2, 4], 2, ((1, 2), (0, 3))),
        ([1, 1, 1, 1, 10], 2, ((4,), (0, 1, 2, 3))),
        ([7, 7, 7], 3, ((0,), (1,), (2,))),
        # By count where one size is unknown: the large chunk counts like any other.
        ([100, None, 1, 1], 2, ((0, 2), (1, 3))),
        ([None, None, None], 2, ((0, 2), (1,))),
        ([0, 0, 0, 0], 2, ((0, 2), (1, 3))),
        ([4, 6], 4, ((1,), (0,), (), ())),
        ([], 2, ((), ())),
    ],
    ids=[
        "one slice",
        "two slices",
        "one large chunk",
        "equal sizes",
        "one unknown size",
        "no known size",
        "empty chunks",
        "more slices than chunks",
        "no chunks",
    ],
)
def test_chunks_are_dealt_largest_first_to_who_has_least(
    sizes: list[int | None], n_slices: int, dealt: tuple[tuple[int, ...], ...]
) -> None:
    assert deal(sizes, n_slices) == dealt


chunk_sizes = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 10**12)), max_size=30)


@given(
    st.one_of(chunk_sizes, st.lists(st.one_of(st.none(), st.integers(0, 9)))), st.integers(1, 12)
)
def test_every_chunk_is_dealt_once(sizes: list[int | None], n_slices: int) -> None:
    dealt = deal(sizes, n_slices)
    assert len(dealt) == n_slices
    assert sorted(position for part in dealt for position in part) == list(range(len(sizes)))
    for part in dealt:
        assert list(part) == sorted(part)


@given(chunk_sizes, st.integers(1, 12))
def test_no_slice_has_more_than_the_mean_and_the_largest_chunk(
    sizes: list[int], n_slices: int
) -> None:
    loads = [sum(sizes[position] for position in part) for part in deal(sizes, n_slices)]
    # In whole numbers: the mean is sum / n_slices.
    assert max(loads) * n_slices <= sum(sizes) + max(sizes, default=0) * n_slices


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**12))), st.integers(1, 12))
def test_with_an_unknown_size_slices_differ_by_one_chunk_at_most(
    sizes: list[int | None], n_slices: int
) -> None:
    counts = [len(part) for part in deal([*sizes, None], n_slices)]
    assert max(counts) - min(counts) <= 1
