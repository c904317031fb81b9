"""Layers that encoders, adapters and heads are made of."""

from .conv import ConvNorm, kaiming, upsample
from .decoders import Cascade, Segmentation
from .fuse import fuse
from .heads import Dense, Neighbours, Pooled, alone
from .pool import masked_max, masked_mean, steps

__all__ = [
    "Cascade",
    "ConvNorm",
    "Dense",
    "Neighbours",
    "Pooled",
    "Segmentation",
    "alone",
    "fuse",
    "kaiming",
    "masked_max",
    "masked_mean",
    "steps",
    "upsample",
]
