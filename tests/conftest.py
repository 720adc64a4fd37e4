"""Long files of tests come first, so that no worker is left with one of them at the end."""

from __future__ import annotations

import pytest

LONG = ("browser", "end_to_end", "gallery", "docs", "trust")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: LONG.index(folder) if (folder := item.path.parent.name) in LONG else len(LONG)
    )
