"""A saved network at work on people's images."""

from tailor.prediction.pictures import read_picture
from tailor.prediction.predict import Predictions, predict
from tailor.prediction.predictor import Predictor
from tailor.prediction.writer import Writer
from tailor.prediction.writers import WRITERS

__all__ = ["WRITERS", "Predictions", "Predictor", "Writer", "predict", "read_picture"]
