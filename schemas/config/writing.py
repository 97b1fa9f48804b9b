"""The configuration -> YAML of a run, and the JSON schema that editors use."""

from __future__ import annotations

import json

import yaml

from schemas.config.model import STAGE_PATHS, Config

SCHEMA_FILE = "config.schema.json"


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML: every key, input paths absolute."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors: every key is optional there."""
    schema = Config.model_json_schema()
    # Stage paths have their default in `paths`; a test window is the window unless it is given.
    filled_in = {*Config.model_fields, *(key for _, key, _ in STAGE_PATHS), "test_window_gev"}
    for definition in (schema, *schema["$defs"].values()):
        required = [key for key in definition.pop("required", ()) if key not in filled_in]
        if required:
            definition["required"] = required
    schema["patternProperties"] = {"^(names$|x-)": True}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
