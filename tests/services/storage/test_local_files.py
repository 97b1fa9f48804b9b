"""Opening files of this machine."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from services.storage.local_files import open_local
from tests.factory import write_tree


def test_no_thread_is_started_to_read_a_file(tmp_path: Path) -> None:
    path = write_tree(tmp_path / "a.root", "Events", {"run": np.arange(3)})
    before = threading.active_count()
    with open_local(path) as file:
        assert file["Events"]["run"].array(library="np").tolist() == [0, 1, 2]
        assert threading.active_count() == before


def test_a_colon_in_a_name_is_part_of_it(tmp_path: Path) -> None:
    path = write_tree(tmp_path / "a.root:Events", "Events", {"run": np.arange(3)})
    with open_local(path) as file:
        assert file["Events"].num_entries == 3


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.root"):
        open_local(tmp_path / "missing.root")
