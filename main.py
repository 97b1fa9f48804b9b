"""Command line: arguments -> configuration -> pipeline -> exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from schemas import config as configuration
from schemas.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from services.pipeline import Done
    from services.run_directory import RunDirectory

USAGE_ERROR = 2
FAILURE = 1
INTERRUPTED = 130
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
GENERATED_NOTE = (
    "generated, not data: these are the events of the demo release. For real data, change the line "
    "`release_years: [demo]` in config.yaml, or name files under local_files."
)
# What the program does instead of a run: the options that each needs, and those that it excludes.
_JOBS = ("batch_job_index", "total_batch_jobs")
MODES = {
    "dry_run": ((), ("redo",)),
    "resume": ((), ("run_dir",)),
    "fetch_only": ((), ("tasks", "redo", "batch_job_index")),
    "merge_only": (("run_dir",), ("tasks", *_JOBS)),
    "status": (("run_dir",), ("tasks", "redo", *_JOBS)),
    "list_missing": (("run_dir",), ("redo", *_JOBS)),
    "plots_only": (("run_dir",), ("tasks", "redo", *_JOBS)),
    "bumpnet_check": ((), ("run_dir", "tasks", "redo", *_JOBS)),
    "inspect": ((), ("config", "run_dir", "tasks", "redo", *_JOBS)),
}


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
        "--redo",
        metavar="TASKS",
        help="comma-separated stages of --run-dir or --resume to make again, though they are done; "
        "what hangs on them is made again only if they come out different",
    )
    add(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="the run's directory; absent or empty: a new run",
    )
    add("--resume", action="store_true", help="continue the newest unfinished run of this name")
    add("--refresh-metadata", action="store_true", help="ask the catalogs again for file lists")
    add("--fetch-only", action="store_true", help="make the run and list its files, no more")
    add("--merge-only", action="store_true", help="do what is missing, and merge all jobs")
    add("--status", action="store_true", help="say how far the jobs of --run-dir have come")
    add(
        "--list-missing",
        action="store_true",
        help="print into how many jobs the run is cut, its --tasks, and which jobs have them to do",
    )
    add("--plots-only", action="store_true", help="draw the figures of --run-dir again")
    add(
        "--bumpnet-check",
        type=Path,
        metavar="FILE.root",
        help="say which histograms of any ROOT file BumpNet accepts; exit code 1 if none",
    )
    add("--inspect", metavar="FILE", help="show the trees of FILE and which data layout fits")
    return parser.parse_args(arguments)


def refuse_wrong_combinations(options: argparse.Namespace) -> None:
    """Raise ConfigError, with a sentence, for options that cannot be meant together."""
    refuse_wrong_modes(options)
    refuse_wrong_jobs(options)
    if options.redo is not None and options.run_dir is None and not options.resume:
        msg = "command line: --redo makes stages of a run again; name it with --run-dir or --resume"
        raise ConfigError(msg)


def refuse_wrong_modes(options: argparse.Namespace) -> None:
    """Raise ConfigError for two modes at once, or a mode beside what it leaves no room for."""
    modes = [mode for mode in MODES if getattr(options, mode)]
    if len(modes) > 1:
        names = " and ".join(_spelt(mode) for mode in modes)
        msg = f"command line: {names} exclude one another; give one"
        raise ConfigError(msg)
    for mode in modes:
        needed, excluded = MODES[mode]
        for option in needed:
            if getattr(options, option) is None:
                msg = f"command line: {_spelt(mode)} needs {_spelt(option)}; give both"
                raise ConfigError(msg)
        for option in excluded:
            if getattr(options, option):
                msg = f"command line: {_spelt(mode)} leaves no room for {_spelt(option)}; give one"
                raise ConfigError(msg)


def refuse_wrong_jobs(options: argparse.Namespace) -> None:
    """Raise ConfigError for a job number without or beyond its total, or two ways to name a run."""
    index, total = options.batch_job_index, options.total_batch_jobs
    if (index is None) != (total is None) and not options.fetch_only:
        msg = "command line: --batch-job-index and --total-batch-jobs need one another; give both"
        raise ConfigError(msg)
    if index is not None and not 1 <= index <= total:
        msg = (
            f"command line: expected --batch-job-index from 1 to {total} (--total-batch-jobs), "
            f"found {index}"
        )
        raise ConfigError(msg)


def _spelt(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def read_configuration(
    options: argparse.Namespace,
) -> tuple[configuration.Config, configuration.Config]:
    """Return the configuration of the run, and that of this call with the command line's tasks.

    An existing run's own configuration is used unless another is named.

    Raises:
        ConfigError: something in it is wrong.
    """
    path = options.config or Path("config.yaml")
    of_run = options.run_dir / "config.yaml" if options.run_dir else None
    if options.config is None and of_run and of_run.is_file():
        path = of_run
    jobs: dict[str, dict[str, object]] = {}
    if options.merge_only and of_run:
        # However the run was cut: that is not for another configuration to say.
        total = configuration.load(of_run).run_metadata.total_batch_jobs
        jobs["run_metadata"] = {"batch_job_index": None, "total_batch_jobs": total}
    if options.total_batch_jobs is not None:
        jobs["run_metadata"] = {
            "batch_job_index": options.batch_job_index,
            "total_batch_jobs": options.total_batch_jobs,
        }
    tasks = {} if options.tasks is None else {"tasks": configuration.chosen_tasks(options.tasks)}
    return configuration.load(path, jobs), configuration.load(path, jobs | tasks)


def tasks_to_redo(
    options: argparse.Namespace, config: configuration.Config
) -> tuple[configuration.TaskName, ...]:
    """Return the tasks that --redo names.

    Raises:
        ConfigError: it names none, or one that this call does not do.
    """
    if options.redo is None:
        return ()
    named = configuration.named_tasks("--redo", options.redo)
    idle = [task for task in named if task not in config.tasks.enabled()]
    if idle or not named:
        found = f"{idle[0]}, which is not among them" if idle else "none"
        msg = (
            f"--redo: expected tasks that this call does ({', '.join(config.tasks.enabled())}), "
            f"found {found}; correct --redo, --tasks or the configuration"
        )
        raise ConfigError(msg)
    return named


def run(options: argparse.Namespace) -> None:
    """Walk through the stages of a new run, or of one that is continued.

    Raises:
        PipelineError: the run failed.
    """
    of_run, config = read_configuration(options)
    redo = tasks_to_redo(options, config)
    if redo and options.run_dir:
        refuse_no_run(options)
    from services import pipeline, run_directory

    chosen = run_directory.newest_unfinished(config) if options.resume else options.run_dir
    paths = run_directory.open_run(of_run, chosen, datetime.now())  # noqa: DTZ005 - folder names are in local time
    part = pipeline.slice_of(config)
    with logging_to(paths.log_file(part)):
        # A job without --tasks does what it can; only one that is sent to a stage waits for it.
        done = pipeline.run(
            config,
            paths,
            part,
            waits=options.tasks is not None,
            redo=redo,
            refresh_metadata=options.refresh_metadata,
        )
    tell(done, config, paths)


def tell(done: Done, config: configuration.Config, paths: RunDirectory) -> None:
    """Print what a run or a merge has done, and where."""
    from services import pipeline

    print(pipeline.closing_table(done.reports))
    print(pipeline.cut_flow_table(done.reports))
    if configuration.DEMO in config.parsing_task_config.release_years:
        print(GENERATED_NOTE)
    print(f"run directory: {paths.root}")
    if done.waiting_for:
        print(f"waiting: {done.waiting_for}")


def fetch(options: argparse.Namespace) -> None:
    """Make the run directory with its configuration and its file list.

    Raises:
        PipelineError: the files cannot be listed.
    """
    of_run, config = read_configuration(options)
    from services import pipeline, run_directory

    paths = run_directory.open_run(of_run, options.run_dir, datetime.now())  # noqa: DTZ005 - folder names are in local time
    pipeline.fetch_files(config, paths, refresh_metadata=options.refresh_metadata)
    print(f"run directory: {paths.root}")


def merge(options: argparse.Namespace) -> None:
    """Do what is missing in a run's jobs, and merge them.

    Raises:
        PipelineError: a job's part cannot be done, or what the jobs left does not fit together.
    """
    refuse_no_run(options)
    _, config = read_configuration(options)
    redo = tasks_to_redo(options, config)
    from services import pipeline, run_directory

    paths = run_directory.layout(options.run_dir.absolute(), config)
    missing = pipeline.missing_work(config, paths, redo)
    print("\n".join(["missing, and done here:", *map(str, missing)] if missing else ["complete"]))
    sys.stdout.flush()
    with logging_to(paths.log_file(pipeline.WHOLE)):
        done = pipeline.merge_run(config, paths, redo=redo)
    tell(done, config, paths)


def status(options: argparse.Namespace) -> None:
    """Print how far a run has come, or which jobs still have work to do.

    Raises:
        PipelineError: the run's files are damaged, or a job whose work is asked for is running.
    """
    refuse_no_run(options)
    config, chosen = read_configuration(options)
    from services import pipeline, progress, run_directory

    paths = run_directory.layout(options.run_dir.absolute(), config)
    if options.status:
        print(progress.progress_table(pipeline.progress(config, paths)))
    else:
        tasks = [task for task in config.tasks.enabled() if task in chosen.tasks.enabled()]
        missing = pipeline.slices_to_submit(config, paths, tasks)
        print(pipeline.total_of(config), ",".join(tasks) or "-", *missing)


def draw(options: argparse.Namespace) -> None:
    """Draw the figures of a run again, from its files alone.

    Raises:
        PipelineError: the run's files are damaged, or a figure cannot be written.
    """
    refuse_no_run(options)
    _, config = read_configuration(options)
    from services import pipeline, plots, run_directory

    paths = run_directory.layout(options.run_dir.absolute(), config)
    drawn = plots.run(config, paths, pipeline.WHOLE)
    print("\n".join(map(str, drawn)) or "there is nothing to draw yet")


def refuse_no_run(options: argparse.Namespace) -> None:
    """Raise ConfigError if --run-dir is not that of a run."""
    if not (options.run_dir / "config.yaml").is_file():
        msg = f"{options.run_dir}: expected a run's directory, found none; correct --run-dir"
        raise ConfigError(msg)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Also log to a file of the run."""
    log_file = logging.FileHandler(path, encoding="utf-8")
    log_file.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    root.addHandler(log_file)
    try:
        yield
    finally:
        root.removeHandler(log_file)
        log_file.close()


def check_for_bumpnet(options: argparse.Namespace) -> int:
    """Print what BumpNet accepts of a file and return the exit code.

    The rule's numbers are those of --config, or the defaults.

    Raises:
        PipelineError: the file or the configuration cannot be read.
    """
    from services import bumpnet_check

    rule = configuration.Acceptance()
    if options.config is not None:
        _, config = read_configuration(options)
        rule = config.histogram_creation_task_config.bumpnet_acceptance
    checked = bumpnet_check.check(options.bumpnet_check, rule)
    print(checked)
    return 0 if checked.accepted else FAILURE


def act(options: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        PipelineError: it cannot be done.
    """
    if options.dry_run:
        from services.dry_run import dry_run

        _, config = read_configuration(options)
        print(dry_run(config))
    elif options.fetch_only:
        fetch(options)
    elif options.plots_only:
        draw(options)
    elif options.merge_only:
        merge(options)
    elif options.inspect:
        from services.inspect_file import inspect

        print(inspect(options.inspect))
    elif options.status or options.list_missing:
        status(options)
    else:
        run(options)


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    from services.termination import TERMINATED, TerminatedError, ending_on_sigterm

    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=options.log_level, format="%(levelname)-7s %(message)s", force=True)
    try:
        with ending_on_sigterm():
            refuse_wrong_combinations(options)
            if options.bumpnet_check:
                return check_for_bumpnet(options)
            act(options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:
        # What reads our output (head, less) has seen enough; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except TerminatedError:
        print("terminated", file=sys.stderr)
        return TERMINATED
    return 0


if __name__ == "__main__":
    sys.exit(main())
