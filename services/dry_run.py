"""What a run would do, from the configuration alone: no network, no output, no event is read."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from schemas.config import DEMO, TASK_NAMES, Config
from schemas.errors import ConfigError
from schemas.inputs import Sample
from schemas.labels import Channel, Combination, FinalState, mass_histogram_name
from schemas.particles import BY_NAME, PARTICLES
from schemas.releases import layout_of_release, load_layout
from services.calculations.combinatorics import combinations
from services.calculations.resonances import where_tested
from services.selections import describe, selection_of

_N_EXAMPLES = 8
# Beyond it, counting channels would take longer than a check should.
_MOST_STATES = 100_000


def dry_run(config: Config) -> str:
    """Return what the configuration means, for people, ending in OK.

    Raises:
        ConfigError: it cannot be meant; all that is wrong is named at once.
    """
    parts = (
        ("inputs", _inputs(config)),
        ("selection", _selection(config)),
        ("combinations", _combinations(config)),
        ("known resonances", _resonances(config)),
        ("output", _output(config)),
        ("stages", _stages(config)),
        ("warnings", _warnings(config)),
    )
    lines = []
    problems = []
    for title, content in parts:
        try:
            found = list(content)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if found:
            lines += [f"{title}:", *(f"  {line}" for line in found)]
    if problems:
        raise ConfigError("\n".join(problems))
    return "\n".join([*lines, "OK"])


def _sources(config: Config) -> list[tuple[str, str]]:
    """Return the sources that are known without asking a catalog, each with its layout."""
    parsing = config.parsing_task_config
    of_releases = [
        (release, "cms-nanoaod" if release == DEMO else layout_of_release(release))
        for release in parsing.release_years
    ]
    return of_releases + [(f"local_{layout}", layout) for layout in parsing.local_files]


def _inputs(config: Config) -> Iterator[str]:
    parsing = config.parsing_task_config
    if not config.tasks.do_parsing:
        folder = config.mass_calculation_task_config.input_dir
        yield f"parsing is off: events are read from {folder}"
        return
    for source, key in _sources(config):
        layout = load_layout(key)
        energy = f"{layout.collision_energy_tev:g} TeV" if layout.collision_energy_tev else ""
        origin = ", ".join(part for part in (layout.experiment, energy) if part)
        if source == DEMO:
            yield f"demo: {parsing.demo_events:,} generated events, not data"
        else:
            yield f"{source}: layout {key} ({origin}), energies in files in {layout.energy_unit}"
    missing = []
    for patterns in parsing.local_files.values():
        for pattern in patterns:
            is_there = Path(pattern).exists()
            n_files = 1 if is_there else len(glob.glob(pattern, recursive=True))  # noqa: PTH207 - pathlib has no absolute globs
            yield f"{pattern}: {n_files} file{'' if n_files == 1 else 's'}"
            if not n_files:
                missing.append(pattern)
    if missing:
        msg = (
            f"parsing_task_config.local_files: expected files, found none for "
            f"{', '.join(missing)}; correct the paths (relative ones start at the configuration)"
        )
        raise ConfigError(msg)
    if parsing.max_files_to_process is not None:
        yield f"at most {parsing.max_files_to_process} files of each source"


def _selection(config: Config) -> Iterator[str]:
    if not config.tasks.do_parsing:
        return
    yield "cuts on pt in GeV, on |eta|"
    for source, layout in _sources(config):
        what = selection_of(config.parsing_task_config, source, layout, Sample.DATA)
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
    examples = ", ".join(str(combination) for combination in _spread(allowed))
    yield f"{len(allowed)} combinations of {', '.join(masses.objects_to_calculate)}: {examples}"
    states = _possible_states(config)
    if states is None:
        yield "channels: as many as the events have final states (some counts have no upper limit)"
    else:
        n = sum(combination.exists_in(state) for state in states for combination in allowed)
        yield f"up to {n:,} channels in {len(states):,} possible final states"
    yield f"final states with fewer than {masses.min_events_per_fs} events are not computed"
    yield "not made: combinations of ranks with gaps, such as j0j2"


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


def _output(config: Config) -> Iterator[str]:
    histograms = config.histogram_creation_task_config
    metadata = config.run_metadata
    yield f"run directory: {metadata.base_output_dir}/{metadata.run_name}_<date>_<time>"
    yield f"histograms: {histograms.output_filename}, simulation apart with _mc"
    if histograms.binning == "fixed":
        labels = [str(float(width)) for width in histograms.bin_width_gev]
    else:
        labels = ["res"]
    sample = Channel.parse("2e_0m_1j_0g/e0e1")
    for label in labels:
        name = mass_histogram_name(sample, label, template=histograms.name_template)
        yield f"named like {name}"


def _stages(config: Config) -> Iterator[str]:
    enabled = config.tasks.enabled()
    for name in TASK_NAMES:
        yield f"{name}: {'runs' if name in enabled else 'is skipped'}"


def _warnings(config: Config) -> Iterator[str]:
    parsing = config.parsing_task_config
    used = set(config.mass_calculation_task_config.final_state_objects)
    for particle in PARTICLES:
        allowed = getattr(parsing.particle_counts, particle.key)
        narrows = allowed is not None and allowed.min > 0
        if narrows and particle.name not in used:
            yield (
                f"particle_counts.{particle.key} asks for at least {allowed.min}, but "
                f"{particle.name} are no part of the final states"
            )
    if parsing.overlap_removal == "none" and {"Photons", "Electrons"} <= used:
        yield (
            "overlap_removal is none: one object reconstructed as electron, photon and jet counts "
            "as three"
        )
    histograms = config.histogram_creation_task_config
    fewest = histograms.bumpnet_acceptance.min_bins
    end = config.post_processing_task_config.max_mass_gev
    for width in histograms.bin_width_gev if histograms.binning == "fixed" else ():
        if end / width < fewest:
            yield (
                f"bins of {width:g} GeV: at most {end / width:.0f} up to max_mass_gev, BumpNet "
                f"takes {fewest} or more"
            )
