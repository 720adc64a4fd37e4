"""Exports: a run as files for other programs and as training data, read from the store alone."""

from docendo.runtime.export.export import FORMATS, Exported, Format, export
from docendo.runtime.export.training import PairRule

__all__ = ["FORMATS", "Exported", "Format", "PairRule", "export"]
