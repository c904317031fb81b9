"""The only training loop, with its optimizer, checkpoints and log."""

from .batches import Examples, Sampler, as_batch
from .loop import Config, Result, fit

__all__ = ["Config", "Examples", "Result", "Sampler", "as_batch", "fit"]
