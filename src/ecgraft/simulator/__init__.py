"""ECGs without end from a moving dipole, with exact waves, labels and reports."""

from __future__ import annotations

from .config import PREVALENCE, Config
from .findings import CODES, FINDINGS, NAMES, Finding
from .generate import simulate
from .simulated import Simulated

__all__ = ["CODES", "FINDINGS", "NAMES", "PREVALENCE", "Config", "Finding", "Simulated", "simulate"]
