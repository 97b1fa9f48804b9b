"""Every path of a run in one value; nobody else joins strings to paths."""

from __future__ import annotations

import logging
import os
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.config import Config, load, to_yaml
from schemas.errors import ConfigError, StorageError
from schemas.inputs import Sample, Slice
from schemas.state import RunState, State
from services.storage import reports
from services.storage.atomic import storage_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run."""

    root: Path
    config_file: Path
    file_list: Path
    inputs: Path
    downloads: Path
    parsed_data: Path
    masses_input: Path
    masses: Path
    processing_input: Path
    processed: Path
    histograms_input: Path
    histograms: Path
    plots: Path
    logs: Path
    output_filename: str

    def state_file(self, part: Slice) -> Path:
        """Return the state of a job: which stage, and per stage status, start, end, seconds."""
        return self.logs / f"state{_of_batch(part)}.json"

    def log_file(self, part: Slice) -> Path:
        """Return the file that has everything that a job logs."""
        return self.logs / f"pipeline{_of_batch(part)}.log"

    def summary_file(self, part: Slice) -> Path:
        """Return how the newest call of the program went, and what it lost."""
        return self.logs / f"summary{_of_batch(part)}.json"

    def lock_file(self, part: Slice) -> Path:
        """Return the lock that keeps a second process from the same part of the run."""
        return self.logs / f"slice_{part}.lock"

    @property
    def plan_file(self) -> Path:
        """What post-processing decided for every channel, for machines."""
        return self.processed / "plan.json"

    @property
    def channel_table(self) -> Path:
        """What post-processing decided for every channel, for people."""
        return self.processed / "channels.csv"

    def histogram_file(self, sample: Sample, final_state: str | None = None) -> Path:
        """Return the ROOT file of a sample's histograms, or of those of one final state."""
        name = Path(self.output_filename)
        of_state = "" if final_state is None else f"_{final_state}"
        return self.histograms / f"{name.stem}{of_state}{sample.suffix}{name.suffix}"

    def batch_counts(self, part: Slice, sample: Sample) -> Path:
        """Return the file of what a batch job counted of a sample, exact and additive."""
        return self.histograms / f"batch_{part.index}{sample.suffix}.npz"

    def batch_histograms(self, part: Slice, sample: Sample) -> Path:
        """Return the ROOT file of what a batch job counted of a sample."""
        return self.histograms / f"batch_{part.index}{sample.suffix}.root"

    @property
    def merge_report(self) -> Path:
        """What was merged from the histograms of all batch jobs."""
        return self.histograms / "merged.json"

    @property
    def report_file(self) -> Path:
        """The page that says everything about the run."""
        return self.plots / "index.html"

    def statistics_file(self, part: Slice) -> Path:
        """Return the sums of what a batch job did, by stage."""
        return self.logs / f"batch_{part.index}_stats.json"

    @property
    def aggregated_statistics(self) -> Path:
        """The sums of what all jobs did, by stage."""
        return self.logs / "aggregated_stats.json"


def _of_batch(part: Slice) -> str:
    return f"_batch{part.index}" if part.total > 1 else ""


def events_file(folder: Path, chunk: str) -> Path:
    """Return the file of a chunk's selected events."""
    return folder / f"{chunk}.root"


def arrays_folder(folder: Path, chunk: str) -> Path:
    """Return the folder of a chunk's mass arrays."""
    return folder / chunk


def chunk_report(folder: Path, chunk: str) -> Path:
    """Return the report of a stage on a chunk; it lies beside what the stage made."""
    return folder / f"{chunk}.json"


def slice_report(folder: Path, part: Slice) -> Path:
    """Return the report of a stage that a slice has completed."""
    return folder / f"slice_{part}.json"


def summed_spectra(folder: Path, part: Slice, sample: Sample) -> Path:
    """Return the file of a slice's summed mass spectra."""
    return folder / f"slice_{part}_spectra{sample.suffix}.npz"


def chunk_spectra(folder: Path, chunk: str) -> Path:
    """Return the file of a chunk's mass spectra."""
    return folder / f"{chunk}_spectra.npz"


def layout(root: Path, config: Config) -> RunDirectory:
    """Return the paths of the run at `root`.

    A relative stage path means the standard folder of the run, whatever it says; an absolute one
    is used as it is, so that a stage can read another run's output.
    """

    def place(configured: str, standard: str) -> Path:
        path = Path(configured).expanduser()
        return path if path.is_absolute() else root / standard

    parsing = config.parsing_task_config
    masses = config.mass_calculation_task_config
    processing = config.post_processing_task_config
    histograms = config.histogram_creation_task_config
    return RunDirectory(
        root=root,
        config_file=root / "config.yaml",
        file_list=place(parsing.file_urls_path, "metadata_cache.json"),
        inputs=root / "inputs",
        downloads=place(parsing.download_dir or "", "inputs"),
        parsed_data=place(parsing.output_path, "parsed_data"),
        masses_input=place(masses.input_dir, "parsed_data"),
        masses=place(masses.output_dir, "im_arrays"),
        processing_input=place(processing.input_dir, "im_arrays"),
        processed=place(processing.output_dir, "im_arrays_processed"),
        histograms_input=place(histograms.input_dir, "im_arrays_processed"),
        histograms=place(histograms.output_dir, "histograms"),
        plots=root / "plots",
        logs=place(parsing.jobs_logs_path, "logs"),
        output_filename=histograms.output_filename,
    )


# What fixes how a run is cut into files, chunks and slices: not to be changed in its middle.
_FIXED = {
    "run_metadata": ("total_batch_jobs",),
    "parsing_task_config": (
        "release_years",
        "demo_events",
        "local_files",
        "specific_record_ids",
        "parse_mc",
        "datasets",
        "skim",
        "file_order",
        "file_order_seed",
        "max_files_to_process",
        "chunk_input_bytes",
    ),
}


def is_run(root: Path) -> bool:
    """Whether there is a run at `root`: it has its configuration."""
    return (root / "config.yaml").is_file()


def open_run(config: Config, chosen: Path | None, now: datetime) -> RunDirectory:
    """Return the run at the chosen directory, made if it is absent or empty.

    Without a chosen one it is `{base_output_dir}/{run_name}_{time}`, with a suffix where that
    exists. The run keeps its resolved configuration; later ones are only compared with it.

    Raises:
        ConfigError: the directory holds no run, or one of other inputs.
        StorageError: the directory cannot be made or written to.
    """
    root = _make_chosen(chosen.absolute()) if chosen else _make_timestamped(config, now)
    paths = layout(root, config)
    with storage_errors(paths.logs):
        paths.logs.mkdir(parents=True, exist_ok=True)
    # Which job writes it makes no difference: the index is not in it.
    metadata = config.run_metadata.model_copy(update={"batch_job_index": None})
    kept = config.model_copy(update={"run_metadata": metadata})
    if not _write_once(paths.config_file, to_yaml(kept)):
        _refuse_other_inputs(paths.config_file, kept)
    # What processes left that were killed while they wrote it: one has succeeded.
    for aside in root.glob(f"{paths.config_file.name}{_ASIDE}*"):
        aside.unlink(missing_ok=True)
    return paths


_ASIDE = ".tmp-"


def check_run(config: Config, root: Path) -> bool:
    """Return whether there is a run at `root` that could be continued; nothing is written.

    Raises:
        ConfigError: it holds something else, or a run of other inputs.
    """
    if not is_run(root):
        if root.exists():
            _refuse_foreign(root)
        return False
    _refuse_other_inputs(root / "config.yaml", config)
    return True


def _write_once(path: Path, text: str) -> bool:
    """Write a file that does not exist yet, whole; return whether this process was the one."""
    aside = path.with_name(f"{path.name}{_ASIDE}{uuid.uuid4().hex}")
    with storage_errors(path):
        if path.exists():
            return False
        aside.write_text(text, encoding="utf-8")
        try:
            # Of jobs that start together exactly one succeeds.
            os.link(aside, path)
        except (FileExistsError, FileNotFoundError):
            # Another has succeeded, and perhaps removed already what the others were writing.
            return False
        finally:
            aside.unlink(missing_ok=True)
    return True


def _refuse_other_inputs(path: Path, config: Config) -> None:
    stored, asked = load(path).model_dump(), config.model_dump()
    changed = [
        f"{section}.{key}: {stored[section][key]!r} in the run, {asked[section][key]!r} now"
        for section, keys in _FIXED.items()
        for key in keys
        if stored[section][key] != asked[section][key]
    ]
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        msg = (
            f"{path.parent}: expected the inputs, chunks and slices that this run was begun with, "
            f"found others; undo the change, or choose another --run-dir:\n{lines}"
        )
        raise ConfigError(msg)


def _make_chosen(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(root)
    except FileExistsError:
        raise ConfigError(_no_folder(root)) from None
    except OSError as error:
        msg = f"{root}: the run directory cannot be made ({error.strerror}); name another one"
        raise StorageError(msg) from error
    return root


def _no_folder(root: Path) -> str:
    return f"{root}: expected a directory, found a file; name another with --run-dir"


def _refuse_foreign(root: Path) -> None:
    """Raise ConfigError if there is something at `root`, but no run."""
    if not root.is_dir():
        raise ConfigError(_no_folder(root))
    is_foreign = any(root.iterdir()) and not is_run(root)
    # Another job may be making the run at this moment.
    if is_foreign and not (root / "logs").is_dir():
        msg = (
            f"{root}: expected an absent or empty directory or a run, found other files; name "
            "another with --run-dir"
        )
        raise ConfigError(msg)


def newest_unfinished(config: Config) -> Path:
    """Return the newest run of this name that is not completed.

    Raises:
        ConfigError: there is none.
    """
    base = Path(config.run_metadata.base_output_dir).expanduser().absolute()
    name = config.run_metadata.run_name
    begun = re.compile(rf"{re.escape(name)}_([0-9]{{8}}_[0-9]{{6}})(?:_([0-9]+))?")
    matches = [begun.fullmatch(root.name) for root in base.glob(f"{name}_*") if is_run(root)]
    runs = sorted((match[1], int(match[2] or 1), match[0]) for match in matches if match)
    for *_, folder in reversed(runs):
        root = base / folder
        logs = root / "logs"
        # Jobs may have ended before the whole was complete: where they were merged, that counts.
        states = [*logs.glob("state.json")] or [*logs.glob("state_batch*.json")]
        if not states or any(
            reports.read(path, RunState).state is not State.COMPLETED for path in states
        ):
            return root
    msg = f"{base}: expected an unfinished run of the name {name!r}, found none; start a new one"
    raise ConfigError(msg)


def _make_timestamped(config: Config, now: datetime) -> Path:
    base = Path(config.run_metadata.base_output_dir).expanduser().absolute()
    name = f"{config.run_metadata.run_name}_{now:%Y%m%d_%H%M%S}"
    number = 1
    with storage_errors(base):
        base.mkdir(parents=True, exist_ok=True)
        while True:
            root = base / (name if number == 1 else f"{name}_{number}")
            try:
                root.mkdir()
            except FileExistsError:
                number += 1
            else:
                return root
