"""An encoder and its grafts: save, load, predict."""

from .graft import Graft
from .model import Model
from .predict import Prediction, predict

__all__ = ["Graft", "Model", "Prediction", "predict"]
