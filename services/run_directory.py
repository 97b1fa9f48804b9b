"""Every path of a run in one value; nobody else joins strings to paths."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.config import Config, to_yaml
from schemas.errors import ConfigError, StorageError
from schemas.inputs import Sample, Slice
from services.storage.atomic import storage_errors, write_text

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

    @property
    def state_file(self) -> Path:
        """State of the run: which stage, and per stage status, start, end and seconds."""
        return self.logs / "state.json"

    @property
    def log_file(self) -> Path:
        """Everything that is logged."""
        return self.logs / "pipeline.log"

    @property
    def plan_file(self) -> Path:
        """What post-processing decided for every channel, for machines."""
        return self.processed / "plan.json"

    @property
    def channel_table(self) -> Path:
        """What post-processing decided for every channel, for people."""
        return self.processed / "channels.csv"

    def histogram_file(self, sample: Sample) -> Path:
        """Return the ROOT file of a sample's histograms."""
        name = Path(self.output_filename)
        return self.histograms / f"{name.stem}{sample.suffix}{name.suffix}"


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


def create(config: Config, chosen: Path | None, now: datetime) -> RunDirectory:
    """Make a new run directory and write the resolved configuration into it.

    Without a `chosen` directory it is `{base_output_dir}/{run_name}_{time}`, with a suffix where
    that exists.

    Raises:
        ConfigError: the chosen directory has something in it.
        StorageError: the directory cannot be made.
    """
    root = _make_chosen(chosen.absolute()) if chosen else _make_timestamped(config, now)
    run = layout(root, config)
    with storage_errors(run.logs):
        run.logs.mkdir(parents=True, exist_ok=True)
    write_text(run.config_file, to_yaml(config), Slice())
    return run


def _make_chosen(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        occupied = any(root.iterdir())
    except FileExistsError:
        msg = f"{root}: expected a directory, found a file; name another with --run-dir"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{root}: the run directory cannot be made ({error.strerror}); name another one"
        raise StorageError(msg) from error
    if occupied:
        msg = (
            f"{root}: expected an absent or empty directory, found one with files in it; "
            "continuing a run is not available in this version, so name another with --run-dir"
        )
        raise ConfigError(msg)
    return root


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
