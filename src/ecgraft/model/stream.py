"""R peaks of an ECG that is still coming in, with a stated delay and bounded memory."""

from __future__ import annotations

import numpy as np

from ..record import BEAT, InputError, Record, UsageError
from ..signal.peaks import NEAR, decode
from ..training.batches import Examples
from . import infer
from .prediction import Prediction

START = 2.0  # s of ECG before the first look, or the delay, if that is longer
BEFORE = 1.0  # s of the window that lie before what a look is to decide, at least; the filter has an edge there too
SECOND = 1.0  # s that `as_stream` hands over at a time; it changes nothing
SHORTEST = 2 * NEAR  # s, the shortest delay: a peak is known by the samples within NEAR of it, and moves by up to NEAR
APART = 2 * NEAR  # s; what is closer to a peak that was given is the same beat: marks of two beats would be one


class Stream:
    """R peaks by a graft of kind "peaks", in samples at `rate` Hz from the start of the stream.

    The last window of the graft's recipe is looked at whenever `hop` seconds more have come in, counted in samples, so
    that answers do not depend on how the samples are cut into pushes. The filter is zero-phase and the network sees
    both sides: `delay` is what they see after a peak, less up to NEAR, by which a peak may move from look to look.

    What is said of time t depends on nothing later than t + latency: streams whose first n samples are equal give the
    same peaks up to sample n - latency * rate, that one included. Exempt are the first START seconds (or `delay`, up to
    a whole hop), which are decided by one look at their end, and `close`, which decides the rest where the ECG stops.

    latency  s, the longest time from a peak to its answer, computing aside: delay + hop, each in whole samples
    notes    what was assumed about the leads
    """

    def __init__(self, model, name: str, rate: float, leads, delay: float = 1.0, hop: float = 0.25, device="cpu"):
        """`rate` Hz; `leads` by name, as the rows of what is pushed; `delay` and `hop` in seconds.

        Raises UsageError if the graft is of another kind, or delay or hop do not fit its window; InputError if none of
        the leads can be used or the rate is too low.
        """
        graft = model.graft(name)
        if graft.task.kind != "peaks":
            raise UsageError(f"graft {name!r} is of kind {graft.task.kind!r}; a stream needs one of kind 'peaks' (qrs)")
        self._recipe, self._name = graft.recipe, name
        leads = (leads,) if isinstance(leads, str) else tuple(leads)
        probe = Record(np.random.default_rng(0).standard_normal((len(leads), 64)), rate, leads, id="stream")
        self.leads, self.rate, self.notes = probe.leads, probe.rate, graft.recipe.prepare(probe).notes
        _check(graft.recipe.seconds, delay, hop)
        ((_, self._made),) = model.ready([name], device)
        self._count(delay, hop)
        self._ring = np.full((len(leads), self._window), np.nan, np.float32)  # sample i at i modulo the window
        self._received, self._decided, self._last, self._closed = 0, 0, -self._window, False

    def _count(self, delay: float, hop: float) -> None:
        """Times in samples."""
        self._window = int(self._recipe.samples * self.rate / self._recipe.rate + 1e-6)
        self._delay, self._hop = round(delay * self.rate), max(1, round(hop * self.rate))
        self._near, self._apart = int(NEAR * self.rate), round(APART * self.rate)
        self._first = min(round(max(START, delay) * self.rate), self._window - self._hop)
        self.latency = (self._delay + self._hop) / self.rate

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples (C, n) in mV, n >= 0, NaN where there is none; gives the R peaks that are certain now.

        Peaks (P,) int64 ascend, from push to push too, and each is given once. Raises InputError for another shape, and
        UsageError after `close`; the stream is then as it was.
        """
        x, said = self._checked(samples), []
        while x.shape[1]:
            piece, x = np.split(x, [self._hop - self._received % self._hop], axis=1)
            self._ring[:, np.arange(self._received, self._received + piece.shape[1]) % self._window] = piece
            self._received += piece.shape[1]
            if self._received % self._hop == 0 and self._received >= self._first:
                said += self._look(self._received - self._delay + self._near)
        return np.array(said, dtype=np.int64)

    def close(self) -> np.ndarray:
        """The R peaks (P,) up to the end, when nothing more comes; a second time none."""
        said = self._look(self._received) if self._received and not self._closed else []
        self._closed = True
        return np.array(said, dtype=np.int64)

    def _checked(self, samples) -> np.ndarray:  # (C, n)
        if self._closed:
            raise UsageError("this stream is closed; begin a new one")
        expected = f"a stream of {', '.join(self.leads)} takes numbers (mV) of shape ({len(self.leads)}, n)"
        try:
            x = np.asarray(samples, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"samples that are no array of numbers ({error}); {expected}") from error
        if x.ndim != 2 or len(x) != len(self.leads):
            raise InputError(f"samples of shape {x.shape}; {expected}")
        return x

    def _look(self, stop: int) -> list[int]:
        """The peaks before sample `stop` that are still to be given.

        One may have come back over the end of the last look, but not by more than NEAR.
        """
        said = []
        for at in self._found().tolist():
            if self._decided - self._near <= at < stop and at - self._last >= self._apart:
                said.append(at)
                self._last = at
        self._decided = stop
        return said

    def _found(self) -> np.ndarray:  # (P,)
        """All peaks in the window as it stands."""
        start = max(0, self._received - self._window)
        x = self._ring[:, np.arange(start, self._received) % self._window]
        try:
            memory = infer.Memory([Record(x, self.rate, self.leads)], self._recipe)
        except InputError:  # leads and rate are known to be right: no lead that can be used has a sample in it
            return np.zeros(0, dtype=np.int64)
        ((_, outputs),) = infer.run(self._made, Examples(memory, np.arange(1)), self._recipe.samples)
        probability = outputs[self._name][memory.prepared[0].slots, 1].mean(0)  # (T,)
        return start + decode(probability, self._recipe.rate, to=self.rate)


def _check(window: float, delay: float, hop: float) -> None:
    """Raises UsageError where delay and hop (s) leave a time out, or less than BEFORE seconds of window before it."""
    longest = window - BEFORE - SHORTEST
    if longest <= 0:
        raise UsageError(f"the graft reads windows of {window:g} s; a stream needs more than {BEFORE + SHORTEST:g} s")
    if not 0 < hop <= longest:
        raise UsageError(f"hop {hop:g} s: with windows of {window:g} s it must be above 0 and at most {longest:g} s")
    longest = window - BEFORE - hop
    if not SHORTEST - 1e-9 <= delay <= longest + 1e-9:
        raise UsageError(
            f"delay {delay:g} s: with windows of {window:g} s and hops of {hop:g} s it must be from {SHORTEST:g} to "
            f"{longest:g} s"
        )


def as_stream(model, name: str, record: Record, delay: float = 1.0, device: str = "cpu") -> Prediction:
    """What a stream of the record's samples says: the R peaks of `Stream`, and its latency in the notes."""
    stream = Stream(model, name, record.rate, record.leads, delay, device=device)
    step = max(1, round(SECOND * record.rate))
    pieces = [stream.push(record.signal[:, at : at + step]) for at in range(0, record.signal.shape[1], step)]
    at = np.concatenate([*pieces, stream.close()])
    beats = np.zeros(len(at), BEAT)
    beats["sample"], beats["symbol"] = at, b"?"
    notes = [*stream.notes, f"read as a stream: an answer comes at most {stream.latency:g} s after its R peak"]
    return Prediction(record.id, name, "peaks", record.rate, beats=beats, leads=record.leads, notes=notes)
