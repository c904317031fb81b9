"""The recipe: the one preprocessing between a record and an encoder, the same in training and in serving.

Two steps. `prepare` (numpy): leads into slots, band-pass, rate; still millivolt. `normalise_batch` (numpy or torch, on
the device): after padding and augmentation; what is absent, missing or padding is 0 after it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from ..plugs import configure
from ..record import LEADS, InputError, Record, lead_name
from . import leads as lead_tools
from .spectral import filter_resample

PREPARE_VERSION = 1  # goes up when `prepare` gives other numbers, so that caches of older ones are not read
FLAT = 1e-4  # mV; a lead whose standard deviation is below it carries nothing
SLOWEST = 25.0  # Hz; below this rate a signal is no ECG

Hertz = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]


class Prepared(NamedTuple):
    signal: np.ndarray  # (C, T) float32 mV at the recipe's rate; only leads that are there
    slots: np.ndarray  # (C,) int8, their places in recipe.leads, ascending
    notes: list[str]  # what was derived, assumed, left out


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Leads and their order, rate (Hz), window (s), band-pass edges (Hz, None = open), mains notch, normalisation.

    normalise  "lead": each lead by its own mean and SD; "record": one mean and SD, so leads keep their ratios; "none".
    slot       where a lead goes whose name is none of the twelve (leads.assign says when).
    """

    leads: tuple[str, ...] = LEADS
    rate: Hertz = 250.0
    seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    low: Hertz | None = 0.5
    high: Hertz | None = 40.0
    mains: Literal[50, 60] | None = None
    normalise: Literal["none", "lead", "record"] = "lead"
    slot: str = "II"

    @field_validator("leads")
    @classmethod
    def _named_once(cls, leads):
        leads = tuple(lead_name(name) for name in leads)
        if not leads or len(set(leads)) < len(leads):
            raise ValueError("a recipe needs at least one lead, and each only once")
        return leads

    @model_validator(mode="after")
    def _edges(self):
        if self.low and self.high and self.low >= self.high:
            raise ValueError(f"low = {self.low} Hz must be below high = {self.high} Hz")
        return self

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return round(self.seconds * self.rate)

    @property
    def hash(self) -> str:
        """Short fingerprint of everything in the recipe."""
        return _fingerprint(self.to_dict())

    @property
    def cache_key(self) -> str:
        """Short fingerprint of what `prepare` reads: recipes that differ in window or normalisation alone share it."""
        read = {k: v for k, v in self.to_dict().items() if k not in ("seconds", "normalise")}
        return _fingerprint(read | {"prepare": PREPARE_VERSION})

    def to_dict(self) -> dict:
        """Plain values, fit for JSON."""
        return asdict(self) | {"leads": list(self.leads)}

    @classmethod
    def from_dict(cls, values: dict) -> Recipe:
        """The recipe of `to_dict`; an unknown key or wrong value is a UsageError."""
        return configure(cls, values, "recipe")

    def describe(self) -> str:
        """What it does, in a sentence."""
        edges = f"{self.low or 0:g}-{self.high:g} Hz" if self.high else f"above {self.low:g} Hz" if self.low else ""
        steps = [f"leads {' '.join(self.leads)}", f"zero-phase band-pass {edges}" if edges else "no filter"]
        steps += [f"{self.mains} Hz and harmonics removed"] if self.mains else []
        steps += [f"{self.rate:g} Hz", f"windows of {self.seconds:g} s"]
        last = {"lead": "each lead to mean 0, SD 1", "record": "record to mean 0, SD 1", "none": "left in mV"}
        return ", ".join([*steps, last[self.normalise]])

    def prepare(self, record: Record) -> Prepared:
        """Leads into slots, filtered, at the recipe's rate; NaN where the record has no samples.

        Raises InputError if no lead of the recipe is there or the rate is too low for an ECG.
        """
        if record.rate < SLOWEST:
            raise InputError(f"record {record.id!r}: rate {record.rate:g} Hz is too low; an ECG needs {SLOWEST:g} Hz")
        signal, names, notes = _recorded(record)
        signal, names, derived = lead_tools.derive(signal, names, self.leads)
        rows, slots, assumed = lead_tools.assign(names, self.leads, self.slot)
        if not rows:
            if not names:
                raise InputError(f"record {record.id!r}: not a single sample in it, all are NaN; write the file again")
            raise InputError(
                f"record {record.id!r}: none of the leads {', '.join(self.leads)} of the recipe; it has "
                f"{', '.join(names)}. Rename its leads or take a recipe with them"
            )
        x = signal if rows == list(range(len(names))) else signal[rows]
        notes += (
            derived
            + assumed
            + [f"lead {names[row]} is flat" for row, lead in zip(rows, x) if np.nanmax(lead) == np.nanmin(lead)]
        )
        x = filter_resample(x, record.rate, self.rate, self.low, self.high, self.mains)
        return Prepared(x, np.array(slots, dtype=np.int8), notes)

    def normalise_batch(self, x, present, length):
        """x (B, C, T) mV, present (B, C) bool, length (B,) samples -> (B, C, T); numpy or torch alike, a new array.

        NaN, absent leads and samples from `length` on count for nothing and are 0 afterwards. A constant lead is 0.
        """
        valid = _valid(x, present, length)
        x = _keep(valid, x)
        if self.normalise == "none":
            return x
        axes = (-1,) if self.normalise == "lead" else (-2, -1)
        count = valid.sum(axes, dtype=x.dtype, keepdims=True).clip(1.0)
        centred = _keep(valid, x - x.sum(axes, keepdims=True) / count)
        deviation = ((centred * centred).sum(axes, keepdims=True) / count) ** 0.5
        return centred * ((deviation > FLAT) / deviation.clip(FLAT))


def _valid(x, present, length):
    """Where there is a sample, (B, C, T) bool."""
    T = x.shape[-1]
    steps = np.arange(T) if isinstance(x, np.ndarray) else length.new_ones(T).cumsum(0) - 1
    return (steps < length[:, None])[:, None, :] & present[:, :, None] & (x == x)  # x == x: not NaN


def _keep(valid, x):
    return np.where(valid, x, x.dtype.type(0)) if isinstance(x, np.ndarray) else x.masked_fill(~valid, 0.0)


def _recorded(record: Record) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """The leads that hold at least one sample; infinite values become NaN."""
    x, names, notes = record.signal, record.leads, []
    finite = np.isfinite(x)
    if finite.all():
        return x, names, notes
    x = np.where(finite, x, np.float32(np.nan))
    there = finite.any(axis=1)
    notes = [f"lead {name} has no samples" for name, has in zip(names, there) if not has]
    return x[there], tuple(name for name, has in zip(names, there) if has), notes


def _fingerprint(values: dict) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
