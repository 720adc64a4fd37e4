"""A build backend of twenty lines, so that this package installs where no network and no build tool is.

A plug-in of yours would name hatchling or setuptools in its `pyproject.toml` and needs none of this.
"""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    about = f"{name}-{version}.dist-info"
    points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["docendo"].items())
    modules = sorted(Path(name).glob("*.py"))
    contents = {str(path): path.read_text(encoding="utf-8") for path in modules} | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[docendo]\n{points}",
    }
    contents[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{about}/RECORD"))
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return wheel
