"""What --inspect says about a file."""

from pathlib import Path

import numpy as np
import pytest

import main
from services.inspect_file import inspect
from tests.factory import write_daod, write_flat_atlas, write_tree

MUONS = [[(30.0, 0.0, 0.0, 0.1)]]


def test_the_layout_that_fits_is_named_with_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    text = inspect(str(write_flat_atlas(tmp_path / "x.root", "2020e-13tev", muons=MUONS)))
    assert "  mini: TTree, 1 entries" in text
    assert "layout: 2020e-13tev\n" in text
    assert "  Jets: found; mass: from jet_E" in text
    assert "    fields found: charge, isTightID, ptcone30" in text
    assert "    fields missing: trackd0pvunbiased" in text
    assert "  triggers: trigE, trigM, trigP" in text
    assert "b-tagging with MV2c10: found (85% 0.1758475" in text


def test_an_rntuple_is_inspected_too(tmp_path: Path) -> None:
    text = inspect(str(write_daod(tmp_path / "x.root", rntuple=True, muons=MUONS)))
    assert "  EventData: RNTuple, 1 entries" in text
    assert "layout: 2024r-pp\n" in text
    assert "b-tagging with DL1dv01: missing BTagging_AntiKt4EMPFlowAuxDyn.DL1dv01_pb" in text


def test_a_file_that_fits_no_layout_is_shown_with_what_is_needed(tmp_path: Path) -> None:
    path = write_tree(tmp_path / "x.root", "Events", {"mine": np.ones(2), "run": np.ones(2)})
    text = inspect(str(path))
    assert "layout: none of the known ones fits" in text
    assert "  cms-nanoaod needs, in Events: event, Electron_pt, Muon_pt" in text
    assert "  2016e-8tev needs a tree mini" in text
    assert "  Events: mine" in text


def test_the_command_line_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_daod(tmp_path / "x.root", muons=MUONS)
    assert main.main(["--inspect", str(path)]) == 0
    assert "layout: 2024r-pp" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.root").write_text("no")
    assert main.main(["--inspect", str(tmp_path / "x.root")]) == 1
    assert "expected a readable ROOT file" in capsys.readouterr().err
