"""Command line: arguments -> configuration -> pipeline -> exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from datetime import datetime
from pathlib import Path

from schemas import config as configuration
from schemas.errors import ConfigError, PipelineError

USAGE_ERROR = 2
FAILURE = 1
INTERRUPTED = 130
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
GENERATED_NOTE = (
    "generated, not data: these are the events of the demo release. For real data, change the line "
    "`release_years: [demo]` in config.yaml, or name files under local_files."
)
UNAVAILABLE_OPTIONS = (
    "dry_run",
    "batch_job_index",
    "total_batch_jobs",
    "merge_only",
    "plots_only",
)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's values; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python main.py",
        description="Find every invariant-mass spectrum in CERN open data.",
        allow_abbrev=False,
    )
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="configuration file (default: config.yaml)")
    add("--dry-run", action="store_true", help="check everything, write nothing")
    add("--log-level", choices=levels, default="INFO", help="what is shown (default: INFO)")
    add("--batch-job-index", type=int, metavar="N", help="number of this job, from 1")
    add("--total-batch-jobs", type=int, metavar="N", help="how many jobs share the run")
    add(
        "--tasks",
        metavar="TASKS",
        help="comma-separated stages to run instead of the configured ones: "
        + ", ".join(configuration.TASK_NAMES),
    )
    add(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="the run's directory; absent or empty: a new run",
    )
    add("--refresh-metadata", action="store_true", help="ask the catalogs again for file lists")
    add("--merge-only", action="store_true", help="merge the jobs of --run-dir")
    add("--plots-only", action="store_true", help="draw the figures of --run-dir again")
    return parser.parse_args(arguments)


def refuse_wrong_combinations(options: argparse.Namespace) -> None:
    """Raise ConfigError, with a sentence, for options that cannot be meant together."""
    modes = [name for name in ("dry_run", "merge_only", "plots_only") if getattr(options, name)]
    modes = [f"--{name.replace('_', '-')}" for name in modes]
    if len(modes) > 1:
        msg = f"command line: {' and '.join(modes)} exclude one another; give one"
        raise ConfigError(msg)
    if (options.batch_job_index is None) != (options.total_batch_jobs is None):
        msg = "command line: --batch-job-index and --total-batch-jobs need one another; give both"
        raise ConfigError(msg)
    if options.batch_job_index is not None and not (
        1 <= options.batch_job_index <= options.total_batch_jobs
    ):
        msg = (
            f"command line: expected --batch-job-index from 1 to {options.total_batch_jobs} "
            f"(--total-batch-jobs), found {options.batch_job_index}"
        )
        raise ConfigError(msg)
    for mode in ("merge_only", "plots_only"):
        name = f"--{mode.replace('_', '-')}"
        if getattr(options, mode) and options.run_dir is None:
            msg = f"command line: {name} needs the run it works on; give --run-dir DIR"
            raise ConfigError(msg)
        if getattr(options, mode) and (options.tasks or options.batch_job_index is not None):
            msg = f"command line: {name} is a job of its own; leave out --tasks and batch options"
            raise ConfigError(msg)
    for option in UNAVAILABLE_OPTIONS:
        if getattr(options, option):
            msg = f"command line: --{option.replace('_', '-')} is not available in this version"
            raise ConfigError(msg)


def read_configuration(options: argparse.Namespace) -> configuration.Config:
    """Return the configuration with the command line's tasks.

    Raises:
        ConfigError: something in it is wrong.
    """
    tasks = None
    if options.tasks is not None:
        tasks = [name.strip() for name in options.tasks.split(",") if name.strip()]
    return configuration.load(options.config or Path("config.yaml"), tasks)


def run(options: argparse.Namespace) -> None:
    """Make a new run and walk through its stages.

    Raises:
        PipelineError: the run failed.
    """
    refuse_wrong_combinations(options)
    config = read_configuration(options)
    from services import pipeline, run_directory

    paths = run_directory.create(config, options.run_dir, datetime.now())  # noqa: DTZ005 - folder names are in local time
    log_file = logging.FileHandler(paths.log_file, encoding="utf-8")
    log_file.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    root.addHandler(log_file)
    try:
        done = pipeline.run(config, paths, refresh_metadata=options.refresh_metadata)
    finally:
        root.removeHandler(log_file)
        log_file.close()
    print(pipeline.closing_table(done))
    if configuration.DEMO in config.parsing_task_config.release_years:
        print(GENERATED_NOTE)
    print(f"run directory: {paths.root}")


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=options.log_level, format="%(levelname)-7s %(message)s", force=True)
    try:
        run(options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
