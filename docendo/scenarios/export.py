"""A resolved scenario as a file again."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from docendo.scenarios.loaded import LoadedScenario

__all__ = ["export_yaml"]


def export_yaml(scenario: LoadedScenario | dict[str, Any]) -> str:
    """A scenario (or a condition's `raw`) as YAML. Loading it gives the same digest.

    References to the environment stay references; secrets are never written.
    """
    raw = scenario.raw if isinstance(scenario, LoadedScenario) else scenario
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 100
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    yaml.representer.ignore_aliases = lambda data: True
    stream = io.StringIO()
    yaml.dump(raw, stream)
    return stream.getvalue()
