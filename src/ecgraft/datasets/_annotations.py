"""WFDB annotation files -> waves, beats and rhythms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..formats._annotations_out import BEATS as CODES_OF_BEATS
from ..record import BEAT, QRS, RHYTHM, SPAN, WAVE, InputError, P, T, waves_array

BEATS = CODES_OF_BEATS | {"?"}  # symbols that stand for a QRS complex (WFDB annotation codes)
KIND = {"p": P, "N": QRS, "t": T}
# A wave: its onsets, its peaks (two for a biphasic T), its offsets; "N()" where the onset follows the peak.
WAVE_MARKS = re.compile(r"(\(*)(p|N|t+)(\(?\)+)?")


@dataclass(frozen=True)
class Marks:
    """The annotations of one file, in order of time."""

    sample: np.ndarray  # (n,)
    symbol: tuple[str, ...]  # as WFDB writes them: N, V, p, (, +
    note: tuple[str, ...]

    def within(self, length: int) -> Marks:
        """Without the marks that lie outside of a record of `length` samples."""
        keep = np.flatnonzero((self.sample >= 0) & (self.sample < length))
        return Marks(self.sample[keep], tuple(self.symbol[i] for i in keep), tuple(self.note[i] for i in keep))


def read_marks(path: str, extension: str) -> Marks:
    """The annotation file `path`.`extension`. InputError where it is missing."""
    import wfdb

    if not Path(f"{path}.{extension}").is_file():
        raise InputError(f"{path}.{extension}: this annotation file is missing")
    found = wfdb.rdann(path, extension)
    notes = (note.strip("\0 ") for note in found.aux_note)
    return Marks(np.asarray(found.sample, np.int64), tuple(found.symbol), tuple(notes))


def beats(marks: Marks) -> np.ndarray:
    """BEAT rows: the marks that stand for a QRS complex."""
    return np.array([(at, s) for at, s in zip(marks.sample, marks.symbol) if s in BEATS], dtype=BEAT)


def rhythms(marks: Marks, length: int) -> np.ndarray:
    """RHYTHM rows: every rhythm holds until the next one, the last until the end."""
    rows = zip(marks.sample, marks.symbol, marks.note)
    changes = [(int(at), note[1:]) for at, symbol, note in rows if symbol == "+" and note.startswith("(")]
    stops = [at for at, _ in changes[1:]] + [length]
    return np.array([(at, stop, name) for (at, name), stop in zip(changes, stops) if stop > at], dtype=RHYTHM)


def waves(marks: Marks, lead: int = -1) -> np.ndarray:
    """WAVE rows from marks like "(p)(N)t)"; a boundary that is not marked is -1."""
    letters = "".join("N" if s in BEATS else s if s in ("p", "t", "(", ")") else "." for s in marks.symbol)
    rows = []
    for match in WAVE_MARKS.finditer(letters):
        opening, peaks, closing = match.groups(default="")
        first, count = match.start(2), len(peaks)
        peak = marks.sample[first]
        onset = marks.sample[first - min(count, len(opening))] if opening else -1
        if closing.startswith("("):
            onset = peak
        last = match.end(2) + closing.count("(") + min(count, closing.count(")")) - 1
        rows.append((KIND[peaks[0]], lead, onset, peak, marks.sample[last] if closing else -1))
    return waves_array(rows) if rows else np.empty(0, WAVE)


def span(waves: np.ndarray, lead: int = -1) -> np.ndarray:
    """One SPAN from the first onset to the last offset; none where there is no pair of them."""
    onset, offset = waves["onset"][waves["onset"] >= 0], waves["offset"][waves["offset"] >= 0]
    if not len(onset) or not len(offset) or offset.max() < onset.min():
        return np.empty(0, SPAN)
    return np.array([(lead, onset.min(), offset.max() + 1)], dtype=SPAN)
