"""A resolved scenario as a file again."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from docendo.scenarios.loaded import LoadedScenario

__all__ = ["export_yaml"]


class _Representer(SafeRepresenter):
    """Plain data as YAML: no anchors, and texts with unusual characters in double quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        plain = all(letter.isprintable() or letter == "\n" for letter in data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')


_Representer.add_representer(str, _Representer.represent_str)


def export_yaml(scenario: LoadedScenario | dict[str, Any]) -> str:
    """A scenario (or a condition's `raw`) as YAML. Loading it gives the same digest.

    References to the environment stay references; secrets are never written.
    """
    raw = scenario.raw if isinstance(scenario, LoadedScenario) else scenario
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 100
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    stream = io.StringIO()
    yaml.dump(raw, stream)
    return stream.getvalue()
