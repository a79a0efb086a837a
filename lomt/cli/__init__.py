"""The command line: a file a command."""

from lomt.cli.main import main

__all__ = ["main"]
