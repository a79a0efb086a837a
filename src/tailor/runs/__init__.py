"""The run folder: stages in order, each resumable."""

from tailor.runs.folder import RunFolder, RunFolderError
from tailor.runs.lomt import Tailored, lomt, summary
from tailor.runs.plan import estimate
from tailor.runs.select import select

__all__ = ["RunFolder", "RunFolderError", "Tailored", "estimate", "lomt", "select", "summary"]
