"""The only training loop, with its optimizer, checkpoints, log and batches."""

from .batches import Examples, Sampler, as_batch
from .loop import Config, Result, fit
from .mixture import Ahead, Mixture
from .simulated import Simulated

__all__ = ["Ahead", "Config", "Examples", "Mixture", "Result", "Sampler", "Simulated", "as_batch", "fit"]
