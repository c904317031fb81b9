"""An encoder and its grafts: save, load, predict."""

from .graft import Graft
from .model import Model
from .predict import Prediction, predict

load = Model.load

__all__ = ["Graft", "Model", "Prediction", "load", "predict"]
