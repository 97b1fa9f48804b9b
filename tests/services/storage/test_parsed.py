"""Selected events as RNTuple and as TTree."""

from pathlib import Path

import numpy as np
import pytest
import uproot

from schemas.errors import DataError
from services.calculations.objects import KINEMATICS, Events, Objects, offsets_of
from services.storage.parsed import ParsedFormat, parsed_writer, read_parsed
from tests.factory import write_nanoaod


def some_events(n_events: int = 3) -> Events:
    """Return events with a muon each and jets in every second."""
    number = np.arange(n_events)
    columns = {name: (number + i).astype(np.float32) for i, name in enumerate(KINEMATICS)}
    every_second = offsets_of((number % 2).astype(np.int64))
    jets = {name: column[: every_second[-1]] for name, column in columns.items()}
    return Events(
        run=np.full(n_events, 2**32 - 1, dtype=np.uint32),
        lumi=number.astype(np.uint32),
        event=np.full(n_events, 2**64 - 1, dtype=np.uint64),
        objects={
            "Muons": Objects(np.arange(n_events + 1), columns),
            "Jets": Objects(every_second, jets),
        },
    )


@pytest.fixture(params=["rntuple", "ttree"])
def form(request: pytest.FixtureRequest) -> ParsedFormat:
    return request.param


def write_parsed(path: Path, *parts: Events, form: ParsedFormat = "ttree") -> Path:
    with parsed_writer(path, form) as writer:
        for part in parts:
            writer.write(part)
    return path


PARTICLES = ("Electrons", "Muons", "Jets", "Photons", "Taus", "BJets")


def test_parsed_data_has_these_branches_in_this_tree(tmp_path: Path) -> None:
    with uproot.open(write_parsed(tmp_path / "out.root", some_events())) as file:
        assert file.keys(cycle=False) == ["events"]
        assert file.classnames(cycle=False) == {"events": "TTree"}
        assert set(file["events"].keys()) == {"run", "lumi", "event"} | {
            branch
            for name in PARTICLES
            for branch in (f"n{name}", f"{name}_pt", f"{name}_eta", f"{name}_phi", f"{name}_mass")
        }


@pytest.mark.parametrize(
    ("branch", "kind"),
    [
        ("run", "uint32_t"),
        ("lumi", "uint32_t"),
        ("event", "uint64_t"),
        ("nMuons", "int32_t"),
        ("Muons_pt", "float[]"),
    ],
)
def test_parsed_data_has_these_types(tmp_path: Path, branch: str, kind: str) -> None:
    with uproot.open(write_parsed(tmp_path / "out.root", some_events())) as file:
        assert file["events"][branch].typename == kind


def test_large_event_numbers_are_kept(tmp_path: Path) -> None:
    with uproot.open(write_parsed(tmp_path / "out.root", some_events())) as file:
        assert file["events/run"].array().tolist() == [2**32 - 1] * 3
        assert file["events/event"].array().tolist() == [2**64 - 1] * 3


def parsed(
    path: Path, types: tuple[str, ...], only_counted: tuple[str, ...] = (), n_bytes: int = 10**6
) -> list[dict[str, Objects]]:
    return [dict(objects) for objects in read_parsed(path, types, only_counted, n_bytes)]


def test_objects_are_read_back_by_letter(tmp_path: Path, form: ParsedFormat) -> None:
    events = some_events()
    (found,) = parsed(
        write_parsed(tmp_path / "out.root", events, form=form), ("Muons", "Jets", "Taus")
    )
    assert set(found) == {"m", "j", "t"}
    for letter, name in (("m", "Muons"), ("j", "Jets")):
        assert found[letter].offsets.tolist() == events.objects[name].offsets.tolist()
        for quantity in KINEMATICS:
            expected = events.objects[name].columns[quantity].tolist()
            assert found[letter].columns[quantity].tolist() == expected
    assert found["t"].counts.tolist() == [0, 0, 0]


def test_types_that_are_only_counted_come_without_columns(
    tmp_path: Path, form: ParsedFormat
) -> None:
    (found,) = parsed(
        write_parsed(tmp_path / "out.root", some_events(), form=form), ("Muons",), ("Jets",)
    )
    assert found["j"].counts.tolist() == [0, 1, 0]
    assert found["j"].columns == {}


def test_ranges_of_any_size_give_the_same_objects(tmp_path: Path, form: ParsedFormat) -> None:
    path = write_parsed(tmp_path / "out.root", some_events(40), some_events(7), form=form)
    (whole,) = parsed(path, ("Muons", "Jets"))
    parts = parsed(path, ("Muons", "Jets"), n_bytes=400)
    assert len(parts) > 3
    for letter in "mj":
        pt = np.concatenate([part[letter].columns["pt"] for part in parts])
        counts = np.concatenate([part[letter].counts for part in parts])
        assert pt.tolist() == whole[letter].columns["pt"].tolist()
        assert counts.tolist() == whole[letter].counts.tolist()


def test_ranges_of_one_stretch_are_of_one_size(tmp_path: Path, form: ParsedFormat) -> None:
    path = write_parsed(tmp_path / "out.root", some_events(40), some_events(7), form=form)
    parts = parsed(path, ("Muons", "Jets"), n_bytes=800)
    *of_first, of_second = [len(part["m"].counts) for part in parts]
    assert sum(of_first) == 40
    assert max(of_first) - min(of_first) <= 1
    assert of_second == 7


def test_small_writes_are_read_together(tmp_path: Path, form: ParsedFormat) -> None:
    pieces = [some_events(n) for n in (20, 3, 5, 1, 20, 2)]
    (found,) = parsed(write_parsed(tmp_path / "out.root", *pieces, form=form), ("Muons", "Jets"))
    for letter, name in (("m", "Muons"), ("j", "Jets")):
        phi = np.concatenate([piece.objects[name].columns["phi"] for piece in pieces])
        counts = np.concatenate([piece.objects[name].counts for piece in pieces])
        assert found[letter].columns["phi"].tolist() == phi.tolist()
        assert found[letter].counts.tolist() == counts.tolist()


def test_what_was_written_together_is_unpacked_once(tmp_path: Path, form: ParsedFormat) -> None:
    path = write_parsed(tmp_path / "out.root", some_events(40), form=form)
    parts = parsed(path, ("Muons",), n_bytes=200)
    assert len(parts) > 2
    assert len({id(part["m"].columns["pt"].base) for part in parts}) == 1


def test_parsed_data_without_events_gives_nothing(tmp_path: Path, form: ParsedFormat) -> None:
    assert parsed(write_parsed(tmp_path / "out.root", form=form), ("Muons",)) == []


def test_missing_parsed_data_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.root: there is no such file"):
        parsed(tmp_path / "none.root", ("Muons",))


def test_a_file_that_is_not_of_parsed_data_is_told(tmp_path: Path) -> None:
    path = write_nanoaod(tmp_path / "in.root", muons=[[]])
    with pytest.raises(DataError, match=r"in\.root: expected a readable ROOT file"):
        parsed(path, ("Muons",))


def test_an_rntuple_has_a_field_per_quantity(tmp_path: Path) -> None:
    with uproot.open(write_parsed(tmp_path / "out.root", some_events(), form="rntuple")) as file:
        assert file.classnames(cycle=False) == {"events": "ROOT::RNTuple"}
        quantities = {f"{name}.{quantity}" for name in PARTICLES for quantity in KINEMATICS}
        assert set(file["events"].keys()) == {"run", "lumi", "event", *PARTICLES, *quantities}
