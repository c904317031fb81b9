"""An encoder and its grafts: save, load, predict."""

from .graft import Graft
from .model import Model
from .predict import predict
from .prediction import Prediction
from .stream import Stream

load = Model.load

__all__ = ["Graft", "Model", "Prediction", "Stream", "load", "predict"]
