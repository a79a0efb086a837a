"""The command line: a file a command."""

from tailor.cli.main import main

__all__ = ["main"]
