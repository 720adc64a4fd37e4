"""Exports: a run as files for other programs and as training data, read from the store alone."""

from docendo.runtime.export.export import FORMATS, Exported, Format, export

__all__ = ["FORMATS", "Exported", "Format", "export"]
