"""What to simulate: length, rate, how common each finding is, and how bad the recording."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from pydantic import field_validator
from pydantic.dataclasses import dataclass

from ..plugs import nearest
from .findings import RHYTHMS

# Rhythms: share of all records; what is left is sinus rhythm. The others: share of the records in which they can be
# (PAC, PVC, BIGU and 1AVB with a sinus rhythm, PVC also in AFIB; WPW in sinus; no morphology but LVOLT in PACE ...).
PREVALENCE = {
    "SBRAD": 0.08, "STACH": 0.10, "SARRH": 0.10, "AFIB": 0.16, "AFLT": 0.04, "SVTAC": 0.02, "PACE": 0.02,
    "2AVB1": 0.02, "2AVB2": 0.015, "3AVB": 0.015,
    "PAC": 0.15, "PVC": 0.15, "BIGU": 0.02, "1AVB": 0.07,
    "CRBBB": 0.07, "CLBBB": 0.05, "WPW": 0.02, "LAFB": 0.06, "LVH": 0.08, "LVOLT": 0.04, "QWAVE": 0.08,
    "STE-A": 0.03, "STE-I": 0.03, "STE-L": 0.02, "STD": 0.06, "INVT": 0.08, "LNGQT": 0.04,
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The noise levels are factors: 0 switches a kind off.

    seconds     length of an ECG
    rate        samples a second
    prevalence  overrides of single findings in PREVALENCE, such as prevalence.AFIB=0.5
    wander      level of baseline wander
    muscle      level of muscle noise
    motion      level of the steps and swings of single electrodes
    mains       level of 50 or 60 Hz hum
    handheld    share of records with the noise of a hand-held device
    swap        share of records with two electrodes swapped
    lead_loss   share of leads that were not recorded
    flat        share of leads that are recorded but flat
    german      share of reports in German
    wording     of reports: all, or the first or second half of the wordings and sentence frames, to test on the other
    records_per_patient  how many ECGs, one after the other, are of one patient
    """

    seconds: float = 10.0
    rate: float = 500.0
    prevalence: dict[str, float] = field(default_factory=dict)
    wander: float = 1.0
    muscle: float = 1.0
    motion: float = 1.0
    mains: float = 1.0
    handheld: float = 0.15
    swap: float = 0.02
    lead_loss: float = 0.005
    flat: float = 0.003
    german: float = 0.5
    wording: Literal["all", "first", "second"] = "all"
    records_per_patient: int = 1

    @field_validator("seconds", "rate", "records_per_patient")
    @classmethod
    def _positive(cls, value):
        if not 0 < value <= 100_000:
            raise ValueError("must be above 0 and at most 100000")
        return value

    @field_validator("handheld", "swap", "lead_loss", "flat", "german")
    @classmethod
    def _share(cls, value):
        if not 0 <= value <= 1:
            raise ValueError("is a share; it must be in [0, 1]")
        return value

    @field_validator("prevalence")
    @classmethod
    def _known(cls, value):
        for name, share in value.items():
            if name not in PREVALENCE:
                raise ValueError(f"unknown finding {name!r}; {nearest(name, PREVALENCE)}")
            if not 0 <= share <= 1:
                raise ValueError(f"{name} has {share}; it must be in [0, 1]")
        if sum((PREVALENCE | value)[name] for name in RHYTHMS) > 1 + 1e-9:
            raise ValueError(f"the rhythms {', '.join(RHYTHMS)} sum to more than 1")
        return value

    def share(self, name: str) -> float:
        """The prevalence of a finding."""
        return self.prevalence.get(name, PREVALENCE[name])

    @property
    def samples(self) -> int:
        return max(1, round(self.seconds * self.rate))
