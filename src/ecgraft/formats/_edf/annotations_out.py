"""What is known of a record beside its samples -> EDF+ annotations, which viewers show and `_edf.annotations` reads.

beat N                             a heart beat, by its symbol in WFDB ("R-wave" where it has no class)
(AFIB                              a rhythm, for its duration
P wave: onset 0, peak 0.05, offset 0.1@@ECG II   a wave of that signal; seconds after the time of the annotation
waves annotated@@ECG II            for its duration all waves are
report: Sinus rhythm               a line of the report; "report+" goes on with it
no signal@@ECG II                  for its duration there are no samples
Recording ends                     what follows fills up the last data record
"""

from __future__ import annotations

import numpy as np

from ...record import WAVES, Record

LONGEST = 60  # letters of a report in one annotation: every data record has room for the longest
PARTS = ("onset", "peak", "offset")


def of_record(record: Record, labels: list[str], length: int) -> list[tuple[int, bytes]]:
    """(sample, TAL), in order of time. `length`: samples of a lead in the file, from the first data record on."""
    rate, T = record.rate, record.signal.shape[1]
    said = [(0, 0, text) for text in _report(record.report or "")]
    if record.beats is not None:
        rows = zip(record.beats["sample"].tolist(), record.beats["symbol"].astype(str).tolist())
        said += [(at, 0, "R-wave" if symbol == "?" else f"beat {symbol}") for at, symbol in rows]
    if record.rhythms is not None:
        said += [(start, stop - start, f"({name}") for start, stop, name in record.rhythms.tolist()]
    if record.waves is not None:
        said += [_wave(row, rate, labels) for row in record.waves.tolist() if max(row[2:]) >= 0]
    if record.scored is not None:
        said += [(a, b - a, "waves annotated" + _about(lead, labels)) for lead, a, b in record.scored.tolist()]
    said += _missing(record.signal, labels)
    said += [(T, 0, "Recording ends")] if length > T else []
    said = [(max(at, 0), lasts, text) for at, lasts, text in said]
    return [(at, _tal(at / rate, lasts / rate, text)) for at, lasts, text in sorted(said, key=lambda row: row[0])]


def pack(times: list[str], marks: list[tuple[int, bytes]], width: int) -> np.ndarray:  # (records, bytes) uint8
    """The annotations of each data record: its own time, then as many marks as there is room for; none is late for it.

    EDF+ lets an annotation stand in any data record, so that one of many marks does not make all of them large.
    """
    stamps = [f"+{time}\x14\x14\0".encode() for time in times]
    first = max(map(len, stamps))
    total, longest = sum(len(data) for _, data in marks), max((len(data) for _, data in marks), default=0)
    room = first + max(longest, -(-total // len(times)))
    while True:
        room += -room % (2 * width)
        rows, left = [], 0
        for stamp in stamps:
            row = bytearray(stamp)
            while left < len(marks) and len(row) + len(marks[left][1]) <= room:
                row += marks[left][1]
                left += 1
            rows.append(bytes(row).ljust(room, b"\0"))
        if left == len(marks):
            return np.frombuffer(b"".join(rows), np.uint8).reshape(len(times), room)
        room += max(1, room // 16)


def _tal(onset: float, duration: float, text: str) -> bytes:
    lasts = f"\x15{_number(duration)}" if duration > 0 else ""
    clean = "".join(" " if ord(letter) < 32 else letter for letter in text)
    return f"+{_number(onset)}{lasts}\x14{clean}\x14\0".encode()


def _number(value: float) -> str:
    said = f"{value:.6f}".rstrip("0").rstrip(".")
    return said or "0"


def _about(lead: int, labels: list[str]) -> str:
    return f"@@{labels[lead]}" if lead >= 0 else ""


def _report(text: str) -> list[str]:
    """Each line in pieces at its blanks."""
    found = []
    for line in text.split("\n"):
        words, piece, kind = line.split(), "", "report:"
        for word in words:
            while len(word) > LONGEST:
                found.append(f"{kind} {(piece + ' ' + word[:LONGEST]).strip()}")
                piece, word, kind = "", word[LONGEST:], "report+"
            if len(piece) + len(word) >= LONGEST:
                found.append(f"{kind} {piece}")
                piece, kind = "", "report+"
            piece = f"{piece} {word}".strip()
        found += [f"{kind} {piece}"] if piece else []
    return found


def _wave(row: tuple, rate: float, labels: list[str]) -> tuple[int, int, str]:
    kind, lead, *at = row
    known = [(part, sample) for part, sample in zip(PARTS, at) if sample >= 0]
    first = min(sample for _, sample in known)
    after = ", ".join(f"{part} {_number((sample - first) / rate)}" for part, sample in known)
    return first, max(sample for _, sample in known) - first, f"{WAVES[kind]} wave: {after}{_about(lead, labels)}"


def _missing(signal: np.ndarray, labels: list[str]) -> list[tuple[int, int, str]]:
    """Runs without samples: of all leads together, or of each."""
    gone = np.isnan(signal)
    if not gone.any():
        return []
    same = (gone == gone[0]).all()
    found = []
    for row, label in [(gone[0], "")] if same else zip(gone, (f"@@{label}" for label in labels)):
        edges = np.flatnonzero(np.diff(row, prepend=False, append=False)).reshape(-1, 2).tolist()
        found += [(start, stop - start, "no signal" + label) for start, stop in edges]
    return found
