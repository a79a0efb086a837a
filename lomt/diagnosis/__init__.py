"""Why a task does worse in a multi-task network than alone, and what to try."""

from lomt.diagnosis.causes import Cause, Evidence, causes
from lomt.diagnosis.comparison import Pair, Standing, standings
from lomt.diagnosis.conflicts import against_others, cosines, norms, relative_share, shares
from lomt.diagnosis.features import features, places
from lomt.diagnosis.gradients import Gradients, LayerGradients, gradients
from lomt.diagnosis.probe import ProbeCurve, probe
from lomt.diagnosis.record import Found, plain
from lomt.diagnosis.remedies import Remedy, Setting, command, remedies
from lomt.diagnosis.text import describe

__all__ = [
    "Cause",
    "Evidence",
    "Found",
    "Gradients",
    "LayerGradients",
    "Pair",
    "ProbeCurve",
    "Remedy",
    "Setting",
    "Standing",
    "against_others",
    "causes",
    "command",
    "cosines",
    "describe",
    "features",
    "gradients",
    "norms",
    "places",
    "plain",
    "probe",
    "relative_share",
    "remedies",
    "shares",
    "standings",
]
