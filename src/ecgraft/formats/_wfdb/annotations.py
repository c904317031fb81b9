"""WFDB annotation files (MIT format) -> marks; marks -> waves, beats and rhythms.

https://wfdb.io/spec/annotation-files.html. The marks are those of `wfdb.rdann`, fifty times as fast, except that a file
ends at its end mark, as for the WFDB library in C, and that what breaks the format is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import BEAT, QRS, RHYTHM, SPAN, WAVE, InputError, P, T, waves_array
from .annotations_out import BEATS as CODES_OF_BEATS
from .annotations_out import COMMENT, NOTE, SKIP, SYMBOLS

BEATS = CODES_OF_BEATS | {"?"}  # symbols that stand for a QRS complex (WFDB annotation codes)
KIND = {"p": P, "N": QRS, "t": T}
# A wave: its onsets, its peaks (two for a biphasic T), its offsets; "N()" where the onset follows the peak.
WAVE_MARKS = re.compile(r"(\(*)(p|N|t+)(\(?\)+)?")
CODES = 50  # codes of marks; from SKIP on they are parts of the mark before
DEFINITION = re.compile(r"(\d{1,2}) (\S{1,20}) ")  # of a symbol: "42 X what it means"
RESOLUTION = re.compile(r"## time resolution: (\d{1,9}(?:\.\d{0,12})?)")


class Marks(NamedTuple):
    """The annotations of one file, in the order of the file."""

    sample: np.ndarray  # (n,)
    symbol: tuple[str, ...]  # as WFDB writes them: N, V, p, (, +
    note: tuple[str, ...]
    said: tuple[str, ...] = ()  # comments at 0, which are about the file
    resolution: float | None = None  # Hz that `sample` counts at, where the file says it

    def within(self, length: int) -> Marks:
        """Without the marks that lie outside of a record of `length` samples."""
        keep = np.flatnonzero((self.sample >= 0) & (self.sample < length))
        if len(keep) == len(self.sample):
            return self
        symbol, note = tuple(self.symbol[i] for i in keep), tuple(self.note[i] for i in keep)
        return self._replace(sample=self.sample[keep], symbol=symbol, note=note)


def read_marks(path: str, extension: str) -> Marks:
    """The annotation file `path`.`extension`. InputError where it is missing or damaged."""
    file = Path(f"{path}.{extension}")
    if not file.is_file():
        raise InputError(f"{file}: this annotation file is missing")
    try:
        return decode(file.read_bytes())
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def decode(data: bytes) -> Marks:
    """The bytes of an annotation file. InputError for what is none."""
    words = np.frombuffer(data, "<u2", len(data) // 2).astype(np.int64)
    codes, inside = words >> 10, np.zeros(len(words), bool)  # inside: of a long time or a text, no word of its own
    notes, end = [], _next_zero(words, 0)
    special = np.flatnonzero((codes == SKIP) | (codes == NOTE))
    free = 0
    for at, code, count in zip(special.tolist(), codes[special].tolist(), (words[special] & 0xFF).tolist()):
        if at < free:
            continue
        if end < at:
            break
        free = at + 1 + (2 if code == SKIP else (count + 1) // 2)
        if free > len(words):
            raise InputError("damaged annotations: a text or time is cut short")
        inside[at + 1 : free] = True
        if end < free:
            end = _next_zero(words, free)
        if code == NOTE:
            notes.append((at, data[2 * at + 2 : 2 * at + 2 + count].decode("latin-1").strip("\0 ")))
    words, codes, inside = words[:end], codes[:end], inside[:end]
    if ((codes >= CODES) & (codes < SKIP) & ~inside).any():
        raise InputError("damaged annotations: a code that is not used")
    return _marks(words, codes, inside, notes)


def _next_zero(words: np.ndarray, start: int) -> int:
    """Where the end mark is, if there is no text before it."""
    for first in range(start, len(words), 4096):
        found = np.flatnonzero(words[first : first + 4096] == 0)
        if len(found):
            return first + int(found[0])
    return len(words)


def _marks(words: np.ndarray, codes: np.ndarray, inside: np.ndarray, notes: list[tuple[int, str]]) -> Marks:
    """Words of a file up to its end -> marks. inside: words of times and texts; notes: texts and where they stand."""
    is_mark = (codes < SKIP) & ~inside
    places = np.flatnonzero(is_mark)
    step = np.where(is_mark, words & 0x3FF, 0)
    long = np.flatnonzero((codes == SKIP) & ~inside)
    step[long] = (words[long + 1] << 16 | words[long + 2]).astype(np.uint32).view(np.int32)
    sample, code = np.cumsum(step)[places], codes[places]
    texts = [""] * len(places)
    for mark, (_, text) in zip(np.searchsorted(places, [at for at, _ in notes]).tolist(), notes):
        if mark:
            texts[mark - 1] = text
    about = (sample == 0) & (code == SYMBOLS.index(COMMENT))
    said = tuple(texts[i] for i in np.flatnonzero(about))
    table, kept = _table(said), np.flatnonzero(~about & (code != 0))
    symbol = tuple([table[c] for c in code[kept].tolist()])
    found = next((match for match in map(RESOLUTION.match, said) if match), None)
    rate = float(found[1]) if found else 0.0
    return Marks(sample[kept], symbol, tuple([texts[i] for i in kept.tolist()]), said, rate or None)


def _table(said: tuple[str, ...]) -> list[str]:
    """Code -> symbol; a file may define some of its own."""
    table = list(SYMBOLS.ljust(CODES))
    for text in said:
        own = DEFINITION.match(text)
        if own and int(own[1]) < CODES:
            table[int(own[1])] = own[2]
    return table


def beats(marks: Marks) -> np.ndarray:
    """BEAT rows: the marks that stand for a QRS complex."""
    keep = [i for i, symbol in enumerate(marks.symbol) if symbol in BEATS]
    rows = np.empty(len(keep), BEAT)
    rows["sample"], rows["symbol"] = marks.sample[keep], [marks.symbol[i] for i in keep]
    return rows


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
