"""JSON schemas of the configuration files, for editors."""

from typing import Any

from archsim.config.chip import ChipConfig
from archsim.config.validate import Strict
from archsim.config.workload import WorkloadConfig

MODELS: dict[str, type[Strict]] = {"chip": ChipConfig, "workload": WorkloadConfig}
"""The kinds of configuration files."""


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``chip`` or ``workload`` files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **MODELS[kind].model_json_schema()}
