"""The command line. Commands import what they need when they run, so that the others start quickly."""

from docendo.runtime.cli.app import main

__all__ = ["main"]
