"""The channel table, by hand."""

from schemas.inputs import Sample
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from schemas.reports import ClassCounts
from services.post_processing import channel_table

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
