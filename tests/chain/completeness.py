"""What every file of a run's directory is, wherever the run was stopped."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import uproot

from schemas.config import load
from schemas.errors import PipelineError
from schemas.inputs import FileList
from schemas.plan import Plan
from schemas.reports import ChunkReport, MassReport, ParseReport, PostProcessingReport, SliceReport
from services.calculations.spectra import Grid
from services.run_directory import RunDirectory, layout
from services.storage import reports
from services.storage.arrays import describe_arrays, read_spectra

# Names that the next start of the same slice removes.
TEMPORARY = re.compile(r".*\.tmp-[0-9]+_of_[0-9]+|config\.yaml\.tmp-[0-9a-f]+|\.demo_.*\.part")
CHUNK_REPORTS: dict[str, type[ChunkReport]] = {
    "parsed_data": ParseReport,
    "im_arrays": MassReport,
    "im_arrays_processed": PostProcessingReport,
}


def half_written(root: Path) -> list[Path]:
    """Return what has a temporary name: files, and folders with all that is in them."""
    return [path for path in root.rglob("*") if TEMPORARY.fullmatch(path.name)]


def chunk_reports(root: Path) -> dict[str, int]:
    """Return how many chunks have their report, per folder."""
    return {folder: len([*(root / folder).glob("parsed_*chunk*.json")]) for folder in CHUNK_REPORTS}


def classify(root: Path) -> Counter[str]:
    """Return how many files of each kind a run has, after having looked into each.

    Raises:
        AssertionError: a file is neither complete, nor temporary, nor known.
    """
    run = layout(root, load(root / "config.yaml")) if (root / "config.yaml").exists() else None
    kinds: Counter[str] = Counter()
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(TEMPORARY.fullmatch(part) for part in parts):
            kinds["temporary"] += 1
        elif path.is_file():
            try:
                kinds[_kind(run, path, parts)] += 1
            except (PipelineError, OSError, ValueError, KeyError) as error:
                msg = f"{path} is not complete: {error}"
                raise AssertionError(msg) from error
    return kinds


def _kind(  # noqa: PLR0911 - one for each kind
    run: RunDirectory | None, path: Path, parts: tuple[str, ...]
) -> str:
    assert run is not None, f"{path} is there before the configuration"
    folder, name = parts[0] if len(parts) > 1 else "", path.name
    if folder == "logs":
        return _log(path)
    if folder == "plots":
        assert path.stat().st_size, path
        return "figure"
    if len(parts) == 1:
        if path == run.file_list:
            reports.read(path, FileList)
        else:
            assert name in ("config.yaml", "metadata_cache.json.lock"), path
        return "run"
    if folder == "inputs":
        return _events(path, "Events")
    if path == run.merge_report or (name.startswith("slice_") and path.suffix == ".json"):
        report = reports.read(path, SliceReport)
        for output in report.outputs:
            reports.check(path.parent / output.name, output)
        return "slice report"
    if folder == "histograms":
        return _histograms(path)
    return _of_chunks(run, path, parts)


def _log(path: Path) -> str:
    if path.suffix == ".json":
        json.loads(path.read_text())
        return "state or statistics"
    assert re.fullmatch(r"pipeline.*\.log|slice_.*\.lock(\.[0-9a-f]+)?", path.name), path
    return "log or lock"


def _events(path: Path, tree: str) -> str:
    with uproot.open(path) as file:
        assert file[tree].num_entries >= 0
        file[tree].arrays(file[tree].keys()[:4])
    return "events"


def _histograms(path: Path) -> str:
    if path.suffix == ".npz":
        with np.load(path) as stored:
            assert all(len(stored[name]) >= 0 for name in stored.files)
        return "counts"
    assert path.suffix == ".root", path
    with uproot.open(path) as file:
        for key, kind in file.classnames(cycle=False).items():
            assert not kind.startswith("TH1") or len(file[key].values())
    return "histograms"


def _of_chunks(  # noqa: PLR0911 - one for each kind
    run: RunDirectory, path: Path, parts: tuple[str, ...]
) -> str:
    folder = path.parent
    if path == run.plan_file:
        reports.read(path, Plan)
        return "plan"
    if path == run.channel_table:
        assert path.read_text().endswith("\n")
        return "plan"
    if path.name.endswith(("_spectra.npz", "_spectra_mc.npz")):
        read_spectra(path, Grid.of(load(run.config_file).post_processing_task_config))
        return "spectra"
    if path.suffix == ".json":
        report = reports.read(path, CHUNK_REPORTS[parts[0]])
        # A report is written last: what it describes is there, and is that.
        if isinstance(report, ParseReport):
            reports.check(folder / report.output.name, report.output)
        else:
            assert describe_arrays(folder, report.chunk) == report.output, path
        return "chunk report"
    if path.suffix == ".root":
        return _events(path, "events")
    if path.suffix == ".npz":
        describe_arrays(folder, path.stem)
        return "arrays"
    assert len(parts) == 4, path
    assert path.suffix == ".npy", path
    np.load(path)
    return "array"
