"""One ECG and what is known about it. Units, axes, lead names and wave codes are said here, once.

A signal is `(C, T)` float32 in millivolt, leads first, time in samples at the record's own `rate` (Hz).
NaN marks a sample that was not recorded. Times inside a record are sample indices, int32, -1 for "not known".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
WAVES = ("none", "P", "QRS", "T")  # class of a sample; the index is the code
NONE, P, QRS, T = range(4)

# A wave. `lead` is an index into the record's leads, -1 for all of them.
WAVE = np.dtype([("kind", "u1"), ("lead", "i1"), ("onset", "i4"), ("peak", "i4"), ("offset", "i4")])
# A span in which every wave of `lead` (-1: every lead) is annotated: [start, stop).
SPAN = np.dtype([("lead", "i1"), ("start", "i4"), ("stop", "i4")])
# A heart beat: its R peak and its symbol as in WFDB annotations (N, V, A, L, R, /, ...); "?" where not classified.
BEAT = np.dtype([("sample", "i4"), ("symbol", "S1")])
# A rhythm that holds over [start, stop), named as in WFDB ("AFIB", "N", "VT" ...).
RHYTHM = np.dtype([("start", "i4"), ("stop", "i4"), ("name", "U8")])

MILLIVOLT = {"mv": 1.0, "v": 1e3, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}  # unit -> factor to mV
MILLIVOLT |= {"millivolt": 1.0, "volt": 1e3, "microvolt": 1e-3, "nanovolt": 1e-6}

_ALIAS = {name.lower(): name for name in LEADS}
_ALIAS |= {"di": "I", "dii": "II", "diii": "III", "d1": "I", "d2": "II", "d3": "III"}
_ALIAS |= {"1": "I", "2": "II", "3": "III", "l1": "I", "l2": "II", "l3": "III"}
_ALIAS |= {"mli": "I", "mlii": "II", "mliii": "III", "mdc_ecg_lead_i": "I", "mdc_ecg_lead_ii": "II"}
_ALIAS |= {f"mdc_ecg_lead_{name.lower()}": name for name in LEADS}
_ALIAS |= {f"mv{i}": f"V{i}" for i in range(1, 7)} | {f"c{i}": f"V{i}" for i in range(1, 7)}
_ALIAS |= {"avr.": "aVR", "avl.": "aVL", "avf.": "aVF"}


class InputError(ValueError):
    """Something that a person gave is wrong. The message names it and says what to do. Exit status 1."""


class UsageError(InputError):
    """An option, name or key is wrong. Exit status 2."""


def lead_name(name: str) -> str:
    """The canonical name of a lead; a name that is not one of the twelve comes back as it was, stripped."""
    bare = name.strip()
    if bare.startswith("-"):
        return bare  # turned round, as -aVR of Cabrera's order: it is no lead of the twelve
    key = bare.lower().removeprefix("lead").strip(" _-")
    return _ALIAS.get(key, _ALIAS.get(key.removesuffix("-raw"), bare))


def to_millivolt(unit: str, where: str = "signal") -> float:
    """The factor that turns `unit` into mV. Raises InputError for a unit that is not a voltage."""
    factor = MILLIVOLT.get(unit.strip().lower())
    if factor is None:
        raise InputError(f"{where}: unknown unit {unit!r}; use one of mV, uV, V, nV")
    return factor


@dataclass(frozen=True, eq=False)
class Record:
    """One ECG. Make changed copies with `record.but(...)`.

    labels    code -> 1 (yes) or 0 (no); a code that is not there is unknown, unless its vocabulary is in `complete`.
              Codes carry their vocabulary: "scp:NORM", "snomed:164889003", "aha:22", "cinc2017:A", "own:my_label".
    complete  vocabularies for which every code that is not listed is a "no" (for PTB-XL {"scp"}).
    values    numbers to regress on, by name.
    fold      the database's own fold, `split` its own part ("train", "validation", "test"), where it has them.
    extra     what else is known, as text (device, site ...).
    """

    signal: np.ndarray  # (C, T) float32, mV, NaN = no sample
    rate: float  # Hz
    leads: tuple[str, ...]  # C names
    id: str = ""
    patient: str | None = None
    age: float | None = None  # years
    sex: str | None = None  # "F" or "M"
    labels: dict[str, int] = field(default_factory=dict)
    complete: frozenset[str] = frozenset()
    values: dict[str, float] = field(default_factory=dict)
    report: str | None = None
    waves: np.ndarray | None = None  # WAVE; None = not annotated
    scored: np.ndarray | None = None  # SPAN; where `waves` is exhaustive
    beats: np.ndarray | None = None  # BEAT, ascending
    rhythms: np.ndarray | None = None  # RHYTHM, ascending
    source: str = ""  # database or folder it came from
    split: str | None = None
    fold: int | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        signal = np.asarray(self.signal)
        if signal.ndim != 2:
            raise InputError(f"record {self.id!r}: the signal has {signal.ndim} axes; it must be (leads, samples)")
        C, T = signal.shape
        if C == 0 or T == 0:
            raise InputError(f"record {self.id!r}: the signal is empty ({C} leads, {T} samples)")
        if len(self.leads) != C:
            raise InputError(f"record {self.id!r}: {C} signals but {len(self.leads)} lead names")
        if not (np.isfinite(self.rate) and 0 < self.rate <= 100_000):
            raise InputError(f"record {self.id!r}: rate {self.rate} Hz; it must be above 0 and at most 100000")
        names = tuple(lead_name(name) for name in self.leads)
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InputError(f"record {self.id!r}: lead {sorted(twice)[0]} stands there twice")
        object.__setattr__(self, "signal", np.ascontiguousarray(signal, dtype=np.float32))
        object.__setattr__(self, "leads", names)
        object.__setattr__(self, "rate", float(self.rate))

    @property
    def seconds(self) -> float:
        return self.signal.shape[1] / self.rate

    def lead(self, name: str) -> np.ndarray:
        """The signal of one lead, `(T,)`."""
        name = lead_name(name)
        if name not in self.leads:
            raise InputError(f"record {self.id!r}: no lead {name}; it has {', '.join(self.leads)}")
        return self.signal[self.leads.index(name)]

    def but(self, **changes) -> Record:
        """A copy with some fields changed."""
        return replace(self, **changes)


def waves_array(rows) -> np.ndarray:
    """WAVE rows, in order of their onset (peak where the onset is not known)."""
    waves = np.array([tuple(row) for row in rows], dtype=WAVE)
    return waves[np.argsort(np.where(waves["onset"] >= 0, waves["onset"], waves["peak"]), kind="stable")]
