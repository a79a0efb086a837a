"""The run folder: stages in order, each resumable."""

from tailor.runs.compact import compact
from tailor.runs.diagnose import diagnose
from tailor.runs.folder import RunFolder, RunFolderError
from tailor.runs.lomt import Tailored, dry_run, lomt, summary
from tailor.runs.saved import saved
from tailor.runs.select import select
from tailor.runs.trained import Trained, trained

__all__ = [
    "RunFolder",
    "RunFolderError",
    "Tailored",
    "Trained",
    "compact",
    "diagnose",
    "dry_run",
    "lomt",
    "saved",
    "select",
    "summary",
    "trained",
]
