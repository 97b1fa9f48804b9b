"""Configuration -> what in it is probably not meant, one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.config import Config, HistogramCreation, Parsing
from schemas.particles import PARTICLES
from schemas.releases import Layout
from services.selections import overlap_rules
from services.workers import available_cores

# The inputs whose layout is known, by source.
Layouts = dict[str, Layout]


def doubts(config: Config, layouts: Layouts) -> Iterator[str]:
    """Yield what can be meant, but is probably not."""
    if config.tasks.do_parsing:
        yield from _about_unused_types(config)
        yield from _about_photons(config, layouts)
        yield from _about_samples(config.parsing_task_config)
    if config.tasks.do_histogram_creation:
        yield from _about_histograms(config)
    cores = available_cores()
    for section in ("parsing_task_config", "mass_calculation_task_config"):
        asked = getattr(config, section).parallel_processes
        if asked and asked > cores:
            yield f"{section}.parallel_processes is {asked}, this machine gives {cores} cores"


def _about_unused_types(config: Config) -> Iterator[str]:
    parsing = config.parsing_task_config
    used = set(config.mass_calculation_task_config.final_state_objects)
    usual = Parsing.model_fields["kinematic_cuts"].get_default(call_default_factory=True)
    for particle in PARTICLES:
        if particle.name in used:
            continue
        allowed = getattr(parsing.particle_counts, particle.key)
        if allowed is not None and allowed.min > 0:
            yield (
                f"particle_counts.{particle.key} asks for at least {allowed.min}, but "
                f"{particle.name} are no part of the final states"
            )
        cut = getattr(parsing.kinematic_cuts, particle.key)
        if cut is not None and cut != getattr(usual, particle.key):
            yield (
                f"kinematic_cuts.{particle.key} is set, but {particle.name} are no part of the "
                "final states; name them in final_state_objects if they should be"
            )


def _about_photons(config: Config, layouts: Layouts) -> Iterator[str]:
    """Warn of photons that nobody tells from electrons: both are showers in the calorimeter."""
    used = set(config.mass_calculation_task_config.final_state_objects)
    parsing = config.parsing_task_config
    for source, layout in layouts.items():
        _, rules = overlap_rules(parsing.for_source(source), layout)
        touched = {key for rule in rules for key in (rule.remove, *rule.near)}
        if "Photons" in used and "photons" in layout.objects and "photons" not in touched:
            yield (
                f"{source}: photons without overlap removal: one object reconstructed as electron, "
                "photon and jet counts as three"
            )


def _about_samples(parsing: Parsing) -> Iterator[str]:
    if parsing.max_files_to_process is not None and parsing.file_order == "catalog":
        yield (
            "max_files_to_process takes the first files of each source, which may not be like the "
            "others; file_order: shuffled takes an unbiased sample"
        )
    if parsing.max_failed_file_fraction > 0:
        yield (
            f"max_failed_file_fraction: up to {parsing.max_failed_file_fraction:.0%} of the files "
            "may be lost without failing the run"
        )


def _about_histograms(config: Config) -> Iterator[str]:
    histograms = config.histogram_creation_task_config
    rule = histograms.bumpnet_acceptance
    if not histograms.use_bumpnet_naming:
        yield "use_bumpnet_naming is false: BumpNet will find nothing to read"
        return
    end = config.post_processing_task_config.max_mass_gev
    for width in _widths(histograms):
        if end / width < rule.min_bins:
            yield (
                f"bins of {width:g} GeV: at most {end / width:.0f} up to max_mass_gev, BumpNet "
                f"takes {rule.min_bins} or more"
            )
    fewest = config.mass_calculation_task_config.min_events_per_fs
    if fewest < rule.min_sum:
        yield (
            f"min_events_per_fs is {fewest}: histograms with fewer than {rule.min_sum:g} entries "
            "are written, but not for BumpNet (bumpnet_acceptance.min_sum)"
        )


def _widths(histograms: HistogramCreation) -> Iterable[float]:
    return histograms.bin_width_gev if histograms.binning == "fixed" else ()


def impossible(config: Config, layouts: Layouts) -> Iterator[str]:
    """Yield what no run of this configuration could do, each with its mend."""
    masses, parsing = config.mass_calculation_task_config, config.parsing_task_config
    needed = {*masses.objects_to_calculate, *masses.final_state_objects}
    for source, layout in layouts.items():
        own = parsing.for_source(source)
        for particle in PARTICLES:
            stored = "jets" if particle.name == "BJets" else particle.key
            is_there = stored in layout.objects
            if particle.name in needed and not is_there:
                yield (
                    f"{source}: the layout {layout.key} has no {particle.name}, so every file would"
                    " fail; leave them out of objects_to_calculate and final_state_objects of "
                    "mass_calculation_task_config"
                )
            allowed = getattr(own.particle_counts, particle.key)
            is_made = is_there and (particle.name != "BJets" or own.enable_jet_tagging)
            if allowed is not None and allowed.min > 0 and not is_made:
                why = (
                    "enable_jet_tagging is false"
                    if is_there
                    else f"the layout {layout.key} has none"
                )
                yield (
                    f"{source}: particle_counts.{particle.key} asks for at least {allowed.min}, but"
                    f" {why}, so every event would be cut away; set min to 0"
                )
