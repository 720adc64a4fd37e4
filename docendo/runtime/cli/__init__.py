"""The command line. Commands import what they need when they run, so that `--help` and finished runs are quick."""

from docendo.runtime.cli.app import main

__all__ = ["main"]
