"""The run folder: stages in order, each resumable."""

from lomt.extras import need

need("lomt.runs", "train", "lightning", "torchmetrics", "tqdm", "yaml")

from lomt.runs.compact import compact
from lomt.runs.diagnose import diagnose
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.runs.run import RunResult, dry_run, run, summary
from lomt.runs.select import select
from lomt.runs.trained import Trained, trained

__all__ = [
    "RunFolder",
    "RunFolderError",
    "RunResult",
    "Trained",
    "compact",
    "diagnose",
    "dry_run",
    "run",
    "select",
    "summary",
    "trained",
]
