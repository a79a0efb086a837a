"""A saved network at work on people's images."""

from lomt.extras import need

need("lomt.prediction", "export", "PIL", "tqdm")

from lomt.prediction.pictures import read_picture
from lomt.prediction.predict import Predictions, predict
from lomt.prediction.predictor import Predictor
from lomt.prediction.writer import Writer
from lomt.prediction.writers import WRITERS

__all__ = ["WRITERS", "Predictions", "Predictor", "Writer", "predict", "read_picture"]
