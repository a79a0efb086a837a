"""Why a task does worse in a multi-task network than alone, and what to try."""

from tailor.diagnosis.causes import Cause, Evidence, causes
from tailor.diagnosis.features import features, places
from tailor.diagnosis.gradients import Gradients, LayerGradients, gradients
from tailor.diagnosis.interplay import against_others, cosines, norms, relative_share, shares
from tailor.diagnosis.probe import ProbeCurve, probe
from tailor.diagnosis.record import Found, plain
from tailor.diagnosis.remedies import Remedy, Setting, command, remedies
from tailor.diagnosis.standing import Pair, Standing, standings
from tailor.diagnosis.text import describe

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
