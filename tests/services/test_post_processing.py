"""The channel table by hand, and how arrays are read and checked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from schemas.reports import ClassCounts
from services import post_processing
from services.post_processing import channel_table
from services.storage.arrays import ArrayFolder, open_arrays

LEFT = ResonanceTest(
    name="Z",
    action="floor",
    window_gev=(70.0, 110.0),
    test_window_gev=(80.0, 100.0),
    entries=80,
    background=64.0,
    significance=2.0,
    excess=0.25,
    detected=False,
    removed=False,
)
FOUND = LEFT.model_copy(update={"name": "X", "detected": True, "removed": True})


def test_the_table_says_nothing_where_there_is_nothing() -> None:
    kept = ChannelPlan(
        population=21,
        resonances=(LEFT, FOUND),
        floor_gev=110.0,
        vetoes_gev=((120.0, 130.0), (140.0, 150.0)),
        peak_gev=130.0,
        low_gev=130.0,
        high_gev=160.0,
        last_gev=200.0,
        classes=ClassCounts(main=1, tail=2, overflow=3, floor=4, veto=5, turn_on=6),
        dropped=None,
    )
    dropped = ChannelPlan(
        population=7,
        peak_gev=None,
        low_gev=0.0,
        high_gev=None,
        last_gev=0.0,
        classes=ClassCounts(overflow=7),
        dropped="no peak",
    )
    channels = {Sample.DATA: {"2e_0m/e0e1": kept}, Sample.SIMULATION: {"0e_3m/m0m1m2": dropped}}
    table = channel_table(Plan(bin_width_gev=10.0, max_mass_gev=300.0, channels=channels))
    assert table.splitlines()[1:] == [
        (
            "data,2e_0m,e0e1,21,130.0,130.0,160.0,200.0,110.0,120.0-130.0 140.0-150.0,"
            "Z:n=80:b=64.0:significance=2.0:excess=0.250 "
            "X:n=80:b=64.0:significance=2.0:excess=0.250,"
            "X,Z,1,2,3,4,5,6,"
        ),
        "mc,0e_3m,m0m1m2,7,,0.0,,0.0,,,,,,0,0,7,0,0,0,no peak",
    ]


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    st.sampled_from([1, 5000, 10**5]),
    st.sampled_from([1, 5000, 10**5]),
)
def test_arrays_that_are_read_together_are_those_that_are_stored(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], n_bytes: int, together: int
) -> None:
    folder = tmp_path_factory.mktemp("masses")
    names = [f"2e_0m/e{number}" for number in range(len(lengths))]
    with ArrayFolder(folder / "chunk") as arrays:
        for number, (name, length) in enumerate(zip(names, lengths, strict=True)):
            arrays.append(name, np.full(length, number, dtype=np.float32))
    with pytest.MonkeyPatch.context() as patch, open_arrays(folder, "chunk") as stored:
        patch.setattr(post_processing, "_TOGETHER_BYTES", together)
        read = list(post_processing._read_together(names, stored, n_bytes))  # noqa: SLF001
    found = [0] * len(names)
    for number, masses in (piece for pieces in read for piece in pieces):
        assert set(masses.tolist()) == {number}
        found[number] += len(masses)
    assert found == lengths
    # No more than are asked for, but for the last piece.
    assert all(
        sum(masses.nbytes for _, masses in pieces[:-1]) < min(together, n_bytes) for pieces in read
    )


def test_the_first_channel_whose_masses_are_not_those_of_its_spectrum_is_named() -> None:
    planned = np.arange(18).reshape(3, 6)
    found = planned.copy()
    found[1:, 2] += 1
    complaint = "post-processing of chunk: .*veto of b/e0e1, by spectrum and by mass: 8 against 9"
    with pytest.raises(DataError, match=complaint):
        post_processing._refuse_other_classes(  # noqa: SLF001 - no run makes such masses
            "chunk", ["a/e0e1", "b/e0e1", "c/e0e1"], planned, found
        )
