"""The only training loop, with its optimizer, checkpoints, log and batches."""

from .batches import Examples, Sampler, as_batch
from .loop import Config, Result, fit
from .mixture import Ahead, Mixture
from .simulated import Simulated
from .tail import Tail

__all__ = ["Ahead", "Config", "Examples", "Mixture", "Result", "Sampler", "Simulated", "Tail", "as_batch", "fit"]
