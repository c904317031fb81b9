"""What a graft says of a record."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..record import WAVES
from ..signal.intervals import Interval, to_dict


@dataclass
class Prediction:
    """What a graft says of a record. Times are samples of the record at its own `rate`.

    probability  label -> probability, calibrated on validation data; answer: the labels that are said to hold
    score        label -> how alike the ECG is to the words, for zero-shot; uncalibrated: that as a probability
    log_odds     (K,) calibrated log odds of the labels; members: the grafts of a union (model.union)
    value        the number, in the task's unit, for regression
    coverage     share of records whose true answer is among the possible ones: of these, for
      possible   classes that may hold; sure: whether it is one alone, else it is better to leave the answer open
      verdict    label -> "yes", "no" or "not sure"
      interval   lowest and highest value, for regression
    unusual      whether the record is unlike those that the graft was trained on: its distance is above the limit. None
                 where the graft cannot tell
    waves        rows of record.WAVE of every lead; confidence (n,): the mean probability of each wave inside it
    together     rows of the leads together (lead -1), with their confidence
    intervals    heart rate, PR, QRS, QT ... of the waves of the leads together (signal.intervals)
    unreadable, no_p  spans, in samples, in which nothing could be read, and in which the atria do not beat
    beats        rows of record.BEAT
    notes        what was assumed about the record, and what is wrong with its signal
    """

    record: str
    graft: str
    kind: str
    rate: float
    probability: dict[str, float] = field(default_factory=dict)
    answer: list[str] = field(default_factory=list)
    score: dict[str, float] = field(default_factory=dict)
    uncalibrated: dict[str, float] = field(default_factory=dict)
    log_odds: np.ndarray | None = None
    members: list[str] = field(default_factory=list)
    value: float | None = None
    coverage: float | None = None
    possible: list[str] | None = None
    sure: bool | None = None
    verdict: dict[str, str] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    unusual: bool | None = None
    distance: float | None = None
    limit: float | None = None
    waves: np.ndarray | None = None
    confidence: np.ndarray | None = None
    together: np.ndarray | None = None
    together_confidence: np.ndarray | None = None
    intervals: list[Interval] = field(default_factory=list)
    unreadable: list[tuple[int, int]] = field(default_factory=list)
    no_p: list[tuple[int, int]] = field(default_factory=list)
    beats: np.ndarray | None = None
    leads: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For JSON: waves and beats as lists of rows, in seconds."""
        out = {"record": self.record, "graft": self.graft, "kind": self.kind, "notes": self.notes}
        if self.probability:
            out |= {"probability": {k: round(v, 6) for k, v in self.probability.items()}, "answer": self.answer}
        out |= {"members": self.members} if self.members else {}
        for key in ("score", "uncalibrated"):
            out |= {key: {k: round(v, 6) for k, v in getattr(self, key).items()}} if self.score else {}
        if self.value is not None:
            out["value"] = round(self.value, 4)
        out |= self._certainty()
        if self.waves is not None:
            out |= self._delineated()
        if self.beats is not None:
            rows = zip(self.beats["sample"] / self.rate, self.beats["symbol"].astype(str))
            out["beats"] = [{"time": round(float(t), 4), "class": symbol} for t, symbol in rows]
        return out

    def _certainty(self) -> dict:
        """What is known of it."""
        out = {"unusual": self.unusual}
        if self.distance is not None:
            out |= {"distance": round(self.distance, 4), "limit": None if self.limit is None else round(self.limit, 4)}
        if self.coverage is not None:
            out["coverage"] = self.coverage
        if self.possible is not None:
            out |= {"possible": self.possible, "sure": self.sure}
        if self.verdict:
            out["verdict"] = self.verdict
        if self.interval is not None:
            out["interval"] = [round(v, 4) if np.isfinite(v) else None for v in self.interval]
        return out

    def _delineated(self) -> dict:
        """Waves in seconds, the intervals, and where there is nothing to be said."""
        spans = {"not readable": self.unreadable, "no P waves": self.no_p}
        return {
            "intervals": to_dict(self.intervals),
            "together": self._rows(self.together, self.together_confidence),
            "waves": self._rows(self.waves, self.confidence),
            **{name: [[round(t / self.rate, 4) for t in span] for span in each] for name, each in spans.items()},
        }

    def _rows(self, waves: np.ndarray | None, confidence: np.ndarray | None) -> list[dict]:
        if waves is None:
            return []
        sure = np.full(len(waves), np.nan) if confidence is None else confidence
        return [self._wave(row) | ({"confidence": round(float(p), 4)} if p == p else {}) for row, p in zip(waves, sure)]

    def _wave(self, row) -> dict:
        times = {
            key: round(int(row[key]) / self.rate, 4) if row[key] >= 0 else None for key in ("onset", "peak", "offset")
        }
        lead = "all" if row["lead"] < 0 else self.leads[row["lead"]]
        return {"wave": WAVES[row["kind"]], "lead": lead, **times}
