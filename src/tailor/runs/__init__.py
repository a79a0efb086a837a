"""The run folder: stages in order, each resumable."""

from tailor.runs.folder import RunFolder, RunFolderError
from tailor.runs.lomt import Tailored, dry_run, lomt, summary
from tailor.runs.select import select

__all__ = ["RunFolder", "RunFolderError", "Tailored", "dry_run", "lomt", "select", "summary"]
