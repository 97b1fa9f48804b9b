"""The whole configuration: its blocks, and what must hold between them."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from schemas.config.blocks import Block, is_multiple
from schemas.config.histograms import HistogramCreation
from schemas.config.masses import MassCalculation
from schemas.config.parsing import Parsing
from schemas.config.post_processing import PostProcessing
from schemas.config.run import Paths, RunMetadata, Tasks

# (section, key, its entry in `paths`)
STAGE_PATHS = (
    ("parsing_task_config", "output_path", "parsed_data_path"),
    ("parsing_task_config", "file_urls_path", "metadata_cache_path"),
    ("parsing_task_config", "jobs_logs_path", "jobs_logs_path"),
    ("mass_calculation_task_config", "input_dir", "parsed_data_path"),
    ("mass_calculation_task_config", "output_dir", "im_arrays_path"),
    ("post_processing_task_config", "input_dir", "im_arrays_path"),
    ("post_processing_task_config", "output_dir", "im_arrays_processed_path"),
    ("histogram_creation_task_config", "input_dir", "im_arrays_processed_path"),
    ("histogram_creation_task_config", "output_dir", "histograms_path"),
)


class Config(Block):
    """The whole configuration. Energies are in GeV."""

    paths: Paths = Paths()
    """Folders of a run, named once."""
    run_metadata: RunMetadata = RunMetadata()
    """Where the run is written, what it is called, and which part of it this job does."""
    tasks: Tasks = Tasks()
    """Which stages run; the command line's --tasks replaces it."""
    parsing_task_config: Parsing
    """Input files to selected events."""
    mass_calculation_task_config: MassCalculation
    """Selected events to invariant masses."""
    post_processing_task_config: PostProcessing
    """Invariant masses to main part and outliers of each channel."""
    histogram_creation_task_config: HistogramCreation
    """Main parts to ROOT histograms."""

    @model_validator(mode="before")
    @classmethod
    def _stage_paths(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        filled = {key: {} if block is None else block for key, block in data.items()}
        given = filled.get("paths", {})
        for section, key, entry in STAGE_PATHS:
            block = filled.setdefault(section, {})
            if isinstance(block, dict):
                default = Paths.model_fields[entry].default
                chosen = given.get(entry, default) if isinstance(given, dict) else default
                filled[section] = {key: chosen} | block
        return filled

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        parsing = self.parsing_task_config
        if self.tasks.do_parsing and not parsing.names_input:
            msg = (
                "parsing_task_config: there is nothing to read; name input under release_years "
                "(for example [demo]), specific_record_ids or local_files, or set "
                "tasks.do_parsing to false"
            )
            raise ValueError(msg)
        self._refuse_missing_b_jets()
        grid = self.post_processing_task_config.peak_detection_bin_width_gev
        histograms = self.histogram_creation_task_config
        for width in histograms.bin_width_gev if histograms.binning == "fixed" else ():
            if not is_multiple(grid, width):
                msg = (
                    f"histogram_creation_task_config.bin_width_gev: {width} does not divide "
                    f"post_processing_task_config.peak_detection_bin_width_gev ({grid}); cuts lie "
                    "on that grid, so choose a width that divides it, or another grid"
                )
                raise ValueError(msg)
        return self

    def _refuse_missing_b_jets(self) -> None:
        """Raise ValueError if masses are asked of b-jets that parsing does not make."""
        masses, parsing = self.mass_calculation_task_config, self.parsing_task_config
        profiles = (*parsing.selection_by_release.values(), *parsing.selection_by_record.values())
        is_made = parsing.enable_jet_tagging or any(p.enable_jet_tagging for p in profiles)
        if self.tasks.do_parsing and "BJets" in masses.final_state_objects and not is_made:
            msg = (
                "mass_calculation_task_config: BJets are named, but nothing makes them; set "
                "parsing_task_config.enable_jet_tagging: true, or leave BJets out"
            )
            raise ValueError(msg)
