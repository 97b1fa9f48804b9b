"""What of the configuration decides each result, as one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from schemas.config.complaints import as_written
from schemas.config.model import Config

# Keys, of whatever block, that cannot change what a stage makes: where things lie and what they are
# called, how fast and how loud the work is, and what is judged anew in every run.
WITHOUT_EFFECT = frozenset(
    {
        "input_dir",
        "output_dir",
        "output_path",
        "file_urls_path",
        "jobs_logs_path",
        "output_filename",
        "chunk_yield_threshold_bytes",
        "parsed_format",
        "max_failed_file_fraction",
        "show_progress_bar",
        "parallel_processes",
        "threads",
        "count_retries_failed_files",
        "fetching_metadata_timeout",
        "metadata_max_age_days",
        "read_mode",
        "protocol",
        "download_dir",
        "max_cache_gb",
        "request_connect_timeout",
        "request_read_timeout",
        "request_total_timeout",
        "request_retries",
        "request_backoff_seconds",
    }
)


_ALL: tuple[str, ...] = ()


# What each stage reads of the configuration: block -> keys, `_ALL` for all with an effect.
READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "fetching": {
        "parsing_task_config": (
            "release_years",
            "demo_events",
            "local_files",
            "local_sample",
            "specific_record_ids",
            "layout_by_record",
            "parse_mc",
            "datasets",
            "skim",
            "file_order",
            "file_order_seed",
            "possible_data_tree_names",
            "combine_releases",
        )
    },
    "parsing": {
        "parsing_task_config": _ALL,
        # A file without a type that masses need counts as failed.
        "mass_calculation_task_config": ("objects_to_calculate", "final_state_objects"),
    },
    "mass_calculating": {
        "mass_calculation_task_config": _ALL,
        "post_processing_task_config": ("peak_detection_bin_width_gev", "max_mass_gev"),
    },
    "post_processing": {"post_processing_task_config": _ALL},
    "histogram_creation": {"histogram_creation_task_config": _ALL},
}


def result_keys(config: Config, stage: str) -> dict[str, dict[str, Any]]:
    """Return what a stage's result depends on in the configuration: block -> key -> value."""
    values = config.model_dump(mode="json")
    return {
        block: {
            key: value
            for key, value in values[block].items()
            if (key in keys if keys else key not in WITHOUT_EFFECT)
        }
        for block, keys in READ_BY[stage].items()
    }


def changes(before: Config, after: Config, stage: str) -> tuple[str, ...]:
    """Return which keys that a stage's result depends on differ, each with both values."""
    return tuple(_differences("", result_keys(before, stage), result_keys(after, stage)))


def _differences(where: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{where}.{key}".lstrip(".")
            yield from _differences(inner, before.get(key), after.get(key))
    elif before != after:
        yield f"{where} was {as_written(before)}, is {as_written(after)}"


def digest(config: Config, *stages: str) -> str:
    """Return the SHA-256 of what the results of these stages, or of all, depend on.

    What a stage reads of others' output is not in it: two runs of the same digest and the same
    inputs have the same results.
    """
    relevant = {stage: result_keys(config, stage) for stage in stages or READ_BY}
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
