"""Command line: arguments -> configuration -> pipeline -> exit code."""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from schemas import config as configuration
from schemas.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from services.pipeline import Done
    from services.run_directory import RunDirectory

USAGE_ERROR = 2
FAILURE = 1
INTERRUPTED = 130
# What shells say of programs that SIGPIPE ends.
OUTPUT_CUT_OFF = 141
GENERATED_NOTE = (
    "generated, not data: these are the events of the demo release. For real data, change the line "
    "`release_years: [demo]` in config.yaml, or name files under local_files."
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
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one key of the configuration; may be given several times",
    )
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
    add("--plots-only", action="store_true", help="draw figures and report of --run-dir again")
    add(
        "--bumpnet-check",
        type=Path,
        metavar="FILE.root",
        help="say which histograms of any ROOT file BumpNet accepts; exit code 1 if none",
    )
    add("--list-releases", action="store_true", help="say which releases and records can be read")
    add(
        "--list-datasets",
        metavar="RELEASE",
        help="say what a release, or a record of the portal, consists of",
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
        for option in MODES[mode].needs:
            if getattr(options, option) is None:
                msg = f"command line: {_spelt(mode)} needs {_spelt(option)}; give both"
                raise ConfigError(msg)
        for option in MODES[mode].excludes:
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
    assigned = configuration.read_assignments(options.set)
    return (
        configuration.load(path, jobs, assigned),
        configuration.load(path, jobs | tasks, assigned),
    )


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
    from services import pipeline, run_directory
    from services.terminal import logging_to

    of_run, config = read_configuration(options)
    if options.resume:
        # From here on it is like any other run that is continued, with its own configuration.
        options.run_dir = run_directory.newest_unfinished(config)
        of_run, config = read_configuration(options)
    redo = tasks_to_redo(options, config)
    if redo and options.run_dir:
        refuse_no_run(options)
    paths = run_directory.open_run(of_run, options.run_dir, datetime.now())  # noqa: DTZ005 - folder names are in local time
    part = pipeline.slice_of(config)
    with telling_how_to_continue(paths), logging_to(paths.log_file(part)):
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


@contextmanager
def telling_how_to_continue(paths: RunDirectory) -> Iterator[None]:
    """Say, if what is done inside does not come to its end, that it can be taken up again."""
    try:
        yield
    except BaseException as error:
        command = f"python main.py --run-dir {paths.root}"
        error.add_note(
            f"what is done is kept: continue with `{command}` (or --resume); "
            "with --config FILE if the configuration has been changed"
        )
        raise


def tell(done: Done, config: configuration.Config, paths: RunDirectory) -> None:
    """Print what a run or a merge has done, and where."""
    from services import closing
    from services.terminal import coloured

    print(closing.closing_table(done.reports))
    print(closing.cut_flow_table(done.reports))
    if lost := closing.losses(done.reports):
        print(coloured(lost, "red", sys.stdout))
    if configuration.DEMO in config.parsing_task_config.release_years:
        print(GENERATED_NOTE)
    print(f"run directory: {paths.root}")
    if paths.report_file.exists():
        print(f"report: {paths.report_file}")
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
    from services.terminal import logging_to

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
    """Draw the figures and the report of a run again, from its files alone.

    Raises:
        PipelineError: the run's files are damaged, or a figure cannot be written.
    """
    refuse_no_run(options)
    _, config = read_configuration(options)
    from services import pipeline, run_directory

    paths = run_directory.layout(options.run_dir.absolute(), config)
    print("\n".join(map(str, pipeline.draw_run(config, paths, pipeline.WHOLE))))


def check(options: argparse.Namespace) -> int:
    """Print what a run would do and all that is wrong, and return the exit code.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    of_run, config = read_configuration(options)
    from services.dry_run import dry_run
    from services.terminal import coloured

    def stages() -> Iterator[str]:
        from services import pipeline

        yield from pipeline.outlook(of_run, config, options.run_dir)

    found = dry_run(config, stages if options.run_dir else None)
    print(found)
    if not found.problems:
        print(coloured("OK", "green", sys.stdout))
        return 0
    error = coloured("error:", "red", sys.stderr)
    complain(*(f"{error} {problem}" for problem in found.problems))
    complain(coloured("FAILED", "red", sys.stderr))
    return USAGE_ERROR


def refuse_no_run(options: argparse.Namespace) -> None:
    """Raise ConfigError if --run-dir is not that of a run."""
    if not (options.run_dir / "config.yaml").is_file():
        msg = f"{options.run_dir}: expected a run's directory, found none; correct --run-dir"
        raise ConfigError(msg)


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


def inspect(options: argparse.Namespace) -> None:
    """Print the trees of a file.

    Raises:
        PipelineError: it cannot be read.
    """
    from services.inspect_file import inspect as inspected

    print(inspected(options.inspect))


def list_releases(_options: argparse.Namespace) -> None:
    """Print what can be asked for."""
    from services.listings import release_listing

    print(release_listing())


def list_datasets(options: argparse.Namespace) -> None:
    """Print what a release or record consists of; --config says how long to wait for catalogs.

    Raises:
        PipelineError: there is none, or its catalog does not answer.
    """
    from services.listings import dataset_listing

    if options.config is None:
        config = configuration.from_dict(
            {"parsing_task_config": {"release_years": [configuration.DEMO]}},
            where="defaults",
            folder=Path(),
        )
    else:
        _, config = read_configuration(options)
    parsing = config.parsing_task_config
    print(dataset_listing(options.list_datasets, parsing, refresh=options.refresh_metadata))


@dataclass(frozen=True)
class Mode:
    """What the program does instead of a run, the options that it needs, those it excludes."""

    act: Callable[[argparse.Namespace], int | None]
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


_JOBS = ("batch_job_index", "total_batch_jobs")
MODES = {
    "dry_run": Mode(check, excludes=("redo",)),
    "resume": Mode(run, excludes=("run_dir",)),
    "fetch_only": Mode(fetch, excludes=("tasks", "redo", "batch_job_index")),
    "merge_only": Mode(merge, ("run_dir",), ("tasks", *_JOBS)),
    "status": Mode(status, ("run_dir",), ("tasks", "redo", *_JOBS)),
    "list_missing": Mode(status, ("run_dir",), ("redo", *_JOBS)),
    "plots_only": Mode(draw, ("run_dir",), ("tasks", "redo", *_JOBS)),
    "bumpnet_check": Mode(check_for_bumpnet, excludes=("run_dir", "tasks", "redo", *_JOBS)),
    "list_releases": Mode(
        list_releases, excludes=("config", "set", "run_dir", "tasks", "redo", *_JOBS)
    ),
    "list_datasets": Mode(list_datasets, excludes=("set", "run_dir", "tasks", "redo", *_JOBS)),
    "inspect": Mode(inspect, excludes=("config", "set", "run_dir", "tasks", "redo", *_JOBS)),
}


def notes_of(error: BaseException) -> list[str]:
    """Return what was noted on the way that an error took."""
    return getattr(error, "__notes__", [])


def complain(*lines: str) -> None:
    """Print to stderr, behind all that was printed before."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    print(*lines, sep="\n", file=sys.stderr)


def is_cut_off(stream: TextIO) -> bool:
    """Return whether what is written goes into a pipe that nobody reads from any more."""
    try:
        polling = select.poll()
        polling.register(stream.fileno(), 0)
    except io.UnsupportedOperation:  # something in memory
        return False
    gone = select.POLLERR | select.POLLHUP
    return any(event & gone for _, event in polling.poll(0))


def discard_output() -> None:
    """Let what is not yet written to stdout, and all that follows, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def act(options: argparse.Namespace) -> int:
    """Do what the command line asks for and return the exit code.

    Raises:
        PipelineError: it cannot be done.
    """
    refuse_wrong_combinations(options)
    chosen = next((mode for name, mode in MODES.items() if getattr(options, name)), Mode(run))
    return chosen.act(options) or 0


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    from services.termination import TERMINATED, TerminatedError, ending_on_sigterm

    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    from services.terminal import coloured, logging_on_screen

    try:
        with logging_on_screen(options.log_level), ending_on_sigterm():
            code = act(options)
            # What is only written when the interpreter ends fails where nobody can tell.
            sys.stdout.flush()
            return code
    except PipelineError as error:
        complain(f"{coloured('error:', 'red', sys.stderr)} {error}", *notes_of(error))
        return USAGE_ERROR if isinstance(error, ConfigError) else FAILURE
    except BrokenPipeError:
        if not is_cut_off(sys.stdout):
            raise
        # What reads our output (head, less) has seen enough; there is nobody left to tell.
        discard_output()
        return OUTPUT_CUT_OFF
    except KeyboardInterrupt as error:
        complain(*notes_of(error), "interrupted")
        return INTERRUPTED
    except TerminatedError as error:
        complain(*notes_of(error), "terminated")
        return TERMINATED


if __name__ == "__main__":
    sys.exit(main())
