"""What a run would do, from the configuration alone: no network, no output, no event is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from schemas.config import DEMO, TASK_NAMES, Config
from schemas.errors import ConfigError, PipelineError
from schemas.inputs import Sample
from schemas.labels import Channel, Combination, FinalState, mass_histogram_name
from schemas.particles import BY_NAME
from schemas.releases import (
    Layout,
    layout_in_table,
    layout_of_release,
    load_layout,
    refuse_mixture,
)
from services.calculations.combinatorics import combinations
from services.calculations.resonances import where_tested
from services.closing import counted, short
from services.doubts import doubts, impossible
from services.selections import describe, selection_of
from services.storage.patterns import matching_files

_N_EXAMPLES = 8
# Between problems that are found together.
_NEXT = "\n\n"
# Beyond it, counting channels would take longer than a check should.
_MOST_STATES = 100_000


@dataclass(frozen=True)
class DryRun:
    """What a run would do, for people, and why it could not."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Return what there is to say, without the problems."""
        return "\n".join(self.lines)


def dry_run(config: Config, stages: Callable[[], Iterable[str]] | None = None) -> DryRun:
    """Return what a configuration means, and all that is wrong with it.

    `stages` says what the stages would do, where there is a run to continue.
    """
    parts = (
        ("inputs", _inputs(config)),
        ("selection", _selection(config)),
        ("combinations", _combinations(config)),
        ("known resonances", _resonances(config)),
        ("output", _output(config, is_new=stages is None)),
        ("stages", stages() if stages else _stages(config)),
        ("warnings", doubts(config, _layouts(config))),
        ("", _refusals(config)),
    )
    lines: list[str] = []
    problems: list[str] = []
    for title, content in parts:
        found = []
        try:
            for line in content:
                found.append(line)  # noqa: PERF402 - what comes before an error is kept
        except PipelineError as error:
            problems += str(error).split(_NEXT)
        if found:
            lines += [f"{title}:", *(f"  {line}" for line in found)]
    return DryRun(tuple(lines), tuple(dict.fromkeys(problems)))


def _sources(config: Config) -> dict[str, str | None]:
    """Return the layout of each source; None where only the portal can tell."""
    parsing = config.parsing_task_config
    if not config.tasks.do_parsing:
        return {}
    found: dict[str, str | None] = {
        release: "cms-nanoaod" if release == DEMO else layout_of_release(release)
        for release in parsing.release_years
    }
    for record in parsing.specific_record_ids:
        try:
            layout = parsing.layout_by_record.get(record) or layout_in_table(record)
        except ConfigError:
            # Said among the refusals.
            layout = None
        found[f"record_{record}"] = layout
    return found | {f"local_{layout}": layout for layout in parsing.local_files}


def _layouts(config: Config) -> dict[str, Layout]:
    """Return the layouts of the sources of which it is known."""
    return {source: load_layout(key) for source, key in _sources(config).items() if key}


def _inputs(config: Config) -> Iterator[str]:
    parsing = config.parsing_task_config
    if not config.tasks.do_parsing:
        folder = config.mass_calculation_task_config.input_dir
        yield f"parsing is off: events are read from {folder}"
        return
    for source, key in _sources(config).items():
        if source == DEMO:
            yield f"demo: {parsing.demo_events:,} generated events, not data"
        elif key is None:
            yield f"{source}: its layout is found out when its files are listed"
        else:
            layout = load_layout(key)
            yield (
                f"{source}: layout {key} ({layout.origin}), energies in files in "
                f"{layout.energy_unit}"
            )
    for patterns in parsing.local_files.values():
        for pattern in patterns:
            files = matching_files(pattern)
            size = sum(file.stat().st_size for file in files)
            yield f"{pattern}: {counted(len(files), 'files')}, {short(size)}B"
    if parsing.max_files_to_process is not None:
        yield f"at most {counted(parsing.max_files_to_process, 'files')} of each source"


def _selection(config: Config) -> Iterator[str]:
    if not config.tasks.do_parsing:
        return
    yield "pt and masses in GeV; eta and phi in radians; fields of a layout in the file's own unit"
    for source, layout in _layouts(config).items():
        what = selection_of(config.parsing_task_config, source, layout.key, Sample.DATA)
        yield from describe(source, what)


def _combinations(config: Config) -> Iterator[str]:
    masses = config.mass_calculation_task_config
    allowed = combinations(masses)
    if not allowed:
        msg = (
            "mass_calculation_task_config: the bounds leave no combination at all; loosen "
            "max_particles_in_combination or the counts and types per combination"
        )
        raise ConfigError(msg)
    sizes = Counter(combination.n_objects for combination in allowed)
    by_size = ", ".join(f"{n} of {size} objects" for size, n in sorted(sizes.items()))
    yield f"{len(allowed)} combinations of {', '.join(masses.objects_to_calculate)}: {by_size}"
    yield f"for example {', '.join(str(combination) for combination in _spread(allowed))}"
    states = _possible_states(config)
    if states is None:
        yield "channels: as many as the events have final states (some counts have no upper limit)"
    else:
        n = sum(combination.exists_in(state) for state in states for combination in allowed)
        yield f"up to {n:,} channels in {len(states):,} possible final states"
    yield f"final states with fewer than {masses.min_events_per_fs} events are not computed"
    yield from _not_made(config)


def _not_made(config: Config) -> Iterator[str]:
    masses = config.mass_calculation_task_config
    letter = BY_NAME[masses.objects_to_calculate[0]].letter
    yield (
        f"not made: ranks with gaps, such as {letter}0{letter}2 without {letter}1: a combination "
        "takes consecutive ranks of a type"
    )
    if not masses.include_subleading:
        yield (
            f"not made: ranks that do not begin with the leading object, such as {letter}1{letter}2"
            " (include_subleading: false)"
        )
    else:
        last = masses.max_subleading_index
        yield (
            f"not made: windows that begin below the leading object and end beyond rank {last}, "
            f"such as {letter}{last}{letter}{last + 1} (max_subleading_index: {last})"
        )


def _spread(allowed: Sequence[Combination]) -> Sequence[Combination]:
    step = max(1, len(allowed) // _N_EXAMPLES)
    return allowed[::step][:_N_EXAMPLES]


def _possible_states(config: Config) -> list[FinalState] | None:
    """Return the final states that the multiplicities allow; None if they are without limit."""
    counts = config.parsing_task_config.particle_counts
    ranges = []
    size = 1
    for name in config.mass_calculation_task_config.final_state_objects:
        allowed = getattr(counts, BY_NAME[name].key)
        if allowed is None or allowed.max is None:
            return None
        ranges.append(range(allowed.min, allowed.max + 1))
        size *= len(ranges[-1])
    if size > _MOST_STATES:
        return None
    names = config.mass_calculation_task_config.final_state_objects
    letters = [BY_NAME[name].letter for name in names]
    return [FinalState(tuple(zip(letters, row, strict=True))) for row in product(*ranges)]


def _resonances(config: Config) -> Iterator[str]:
    rules = config.post_processing_task_config.known_resonances
    tested = where_tested(rules, combinations(config.mass_calculation_task_config))
    for rule in rules:
        low, high = rule.window_gev
        what = (
            f"everything below {high:g} GeV" if rule.action == "floor" else f"{low:g}-{high:g} GeV"
        )
        where = ", ".join(map(str, tested[rule.name])) or "no combination of this run"
        when = "if detected" if rule.only_if_detected else "always"
        yield f"{rule.name}: tested in {where}; {when}, {what} is removed"


def _output(config: Config, *, is_new: bool) -> Iterator[str]:
    histograms = config.histogram_creation_task_config
    metadata = config.run_metadata
    if is_new:
        yield f"run directory: {metadata.base_output_dir}/{metadata.run_name}_<date>_<time>"
    total = metadata.total_batch_jobs
    if total:
        yield f"each of {counted(total, 'jobs')}: {histograms.output_dir}/batch_<i>.root"
    name = Path(histograms.output_filename)
    each = "" if histograms.single_output_file else "_<final state>"
    yield (
        f"histograms: {histograms.output_dir}/{name.stem}{each}{name.suffix}, simulation apart in "
        f"{name.stem}{each}_mc{name.suffix}"
    )
    channel = _sample_channel(config)
    if channel is None:
        return
    is_fixed = histograms.binning == "fixed"
    for label in map(str, map(float, histograms.bin_width_gev)) if is_fixed else ("res",):
        named = mass_histogram_name(channel, label, template=histograms.name_template)
        copy = f", for BumpNet ROI_{named}" if histograms.use_bumpnet_naming else ""
        yield f"named like {named}{copy}"
    if histograms.also_save_unprocessed:
        yield "and as raw_... with all masses"


def _sample_channel(config: Config) -> Channel | None:
    """Return a channel that this run can have: the smallest with its first combination."""
    masses = config.mass_calculation_task_config
    for combination in combinations(masses):
        needed = {window.letter: window.stop for window in combination.windows}
        letters = [BY_NAME[name].letter for name in masses.final_state_objects]
        state = FinalState(tuple((letter, needed.get(letter, 0)) for letter in letters))
        return Channel(state, combination)
    return None


def _stages(config: Config) -> Iterator[str]:
    enabled = config.tasks.enabled()
    for name in TASK_NAMES:
        yield f"{name}: {'runs' if name in enabled else 'is skipped'}"
    first = enabled[0]
    if first == TASK_NAMES[0]:
        return
    section = {"mass_calculating": "mass_calculation"}.get(first, first) + "_task_config"
    folder = getattr(config, section).input_dir
    if not Path(folder).expanduser().is_absolute():
        msg = (
            f"tasks: {first} reads {folder} of the run, which a new run does not have; name a run "
            f"with --run-dir, or an absolute {section}.input_dir"
        )
        raise ConfigError(msg)


def _refusals(config: Config) -> Iterator[str]:
    """Say nothing.

    Raises:
        ConfigError: what is named cannot be read, or cannot be read together.
    """
    problems = []
    missing = [
        f"parsing_task_config.local_files.{layout}: expected files, found none for {pattern}; "
        "correct the path (a relative one starts at the configuration file)"
        for layout, patterns in config.parsing_task_config.local_files.items()
        for pattern in patterns
        if config.tasks.do_parsing and not matching_files(pattern)
    ]
    problems += missing
    for record in config.parsing_task_config.specific_record_ids if config.tasks.do_parsing else ():
        try:
            layout_in_table(record)
        except ConfigError as error:
            problems.append(str(error))
    layouts = _layouts(config)
    problems += impossible(config, layouts)
    try:
        if not config.parsing_task_config.combine_releases:
            refuse_mixture([layout.key for layout in layouts.values()])
    except ConfigError as error:
        problems.append(str(error))
    base = Path(config.run_metadata.base_output_dir).expanduser().absolute()
    existing = next(folder for folder in (base, *base.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        problems.append(
            f"run_metadata.base_output_dir: expected a folder to write to, found {existing}, which "
            "is none; name another"
        )
    if problems:
        raise ConfigError(_NEXT.join(problems))
    yield from ()
