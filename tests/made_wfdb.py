"""An encoder of WFDB records, written from the specification with arithmetic on integers: the oracle of the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 0.001  # mV
SYMBOLS = ' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'
BITS = {"16": 16, "61": 16, "160": 16, "24": 24, "32": 32, "80": 8, "212": 12, "310": 10, "311": 10}
FLAC = {"508": "PCM_S8", "516": "PCM_16", "524": "PCM_24"}


def save(path, signal, rate: float, leads, format: str = "16", units: float = 1000, **more) -> Path:
    """A record of one signal file: `signal` (C, T) mV as round(signal * units)."""
    digital = np.rint(np.asarray(signal, float) * units).astype(int)
    return raw(path, digital.tolist(), rate, leads, format, f"{units}/mV", **more)


def raw(path, digital: list[list[int]], rate, leads, format="16", gain="1000/mV", **more) -> Path:
    """digital: samples of each lead, per_frame times as many for the fast ones.

    more: per_frame, skew (of each lead), offset, length ("" to leave it out), comments, initial, baseline
    """
    path = Path(path).with_suffix(".hea")
    name, count = path.stem, len(digital)
    each = more.get("per_frame", [1] * count)
    frames = len(digital[0]) // each[0]
    first = [(values or [0])[0] for values in digital] if format != "8" else more.get("initial", [0] * count)
    if format in FLAC:
        flac(path.with_suffix(".dat"), digital, format, more.get("offset", 0))
    else:
        flat = [v for f in range(frames) for x, n in zip(digital, each) for v in x[f * n : (f + 1) * n]]
        path.with_suffix(".dat").write_bytes(bytes(more.get("offset", 0)) + pack(format, flat))
    kinds = [f"{format}x{n}" if n > 1 else format for n in each]
    kinds = [kind + (f":{late}" if late else "") for kind, late in zip(kinds, more.get("skew", [0] * count))]
    kinds = [kind + (f"+{more['offset']}" if more.get("offset") else "") for kind in kinds]
    gain = gain.replace("/", f"({more['baseline']})/") if "baseline" in more else gain
    lines = [f"{name} {count} {rate:g} {more.get('length', frames)}".strip()]
    for kind, lead, start, x in zip(kinds, leads, first, digital):
        lines.append(f"{name}.dat {kind} {gain} {BITS.get(format, 16)} 0 {start} {sum(x) % 65536} 0 {lead}")
    return header(path, lines, more.get("comments", ()))


def header(path: Path, lines, comments=()) -> Path:
    path.write_bytes("".join(f"{line}\r\n" for line in (*lines, *(f"# {text}" for text in comments))).encode())
    return path


def pack(format: str, values: list[int]) -> bytes:
    if format in ("8", "80"):
        return bytes((v + (128 if format == "80" else 0)) % 256 for v in values)
    if format in ("16", "24", "32", "61"):
        order = "big" if format == "61" else "little"
        return b"".join((v % (1 << BITS[format])).to_bytes(BITS[format] // 8, order) for v in values)
    if format == "160":
        return b"".join((v + 32768).to_bytes(2, "little") for v in values)
    if format == "212":
        words = [(a % 4096, b % 4096) for a, b in zip(values[::2], [*values, 0][1::2])]
        whole = bytes(v for a, b in words for v in (a % 256, a // 256 + b // 256 * 16, b % 256))
        return whole[: (len(values) * 3 + 1) // 2]
    filled = [v % 1024 for v in values] + [0] * (-len(values) % 3)
    out = b""
    for a, b, c in zip(filled[::3], filled[1::3], filled[2::3]):
        if format == "310":
            out += (a * 2 + c % 32 * 2048).to_bytes(2, "little") + (b * 2 + c // 32 * 2048).to_bytes(2, "little")
        else:
            out += (a + b * 1024 + c * 1024**2).to_bytes(4, "little")
    return out


def flac(path: Path, digital: list[list[int]], format: str, offset: int = 0) -> None:
    import soundfile

    block = np.array([[0] * offset + x for x in digital]).T
    block = (
        block.astype(np.int32) << 8 if format == "524" else (block << (8 if format == "508" else 0)).astype(np.int16)
    )
    soundfile.write(path, block, 96000, FLAC[format], format="FLAC")


def annotate(path: Path, marks, resolution: float | None = None, more: bytes = b"") -> Path:
    """marks: (sample, symbol, note); more: words before them."""
    out, now = more, 0
    if resolution:
        text = f"## time resolution: {resolution:g}".encode()
        out += words(22 << 10, 63 << 10 | len(text)) + text + b"\0" * (len(text) % 2)
    for sample, symbol, note in marks:
        step = sample - now
        if not 0 <= step < 1024:
            out += words(59 << 10, step >> 16 & 0xFFFF, step & 0xFFFF)
            step = 0
        out += words(SYMBOLS.index(symbol) << 10 | step)
        if note:
            out += words(63 << 10 | len(note)) + note.encode() + b"\0" * (len(note) % 2)
        now = sample
    path.write_bytes(out + b"\0\0")
    return path


def words(*values: int) -> bytes:
    return b"".join(v.to_bytes(2, "little") for v in values)


def noise(leads: int, samples: int, largest: int, seed: int = 0) -> list[list[int]]:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (leads, samples)).tolist()


def segments(folder: Path, name: str = "m") -> Path:
    """Two segments and a gap, in variable layout."""
    raw(folder / f"{name}1", noise(2, 30, 100), 250, ("II", "V1"))
    raw(folder / f"{name}2", noise(2, 20, 100, 1), 250, ("RESP", "II"), "212")
    layout = [f"{name}0 2 250 0", "~ 0 200/mV 11 0 -1024 0 0 II", "~ 0 200/mV 11 0 -1024 0 0 V1"]
    header(folder / f"{name}0.hea", layout)
    return header(folder / f"{name}.hea", [f"{name}/4 2 250 60", f"{name}0 0", f"{name}1 30", "~ 10", f"{name}2 20"])


def variants(folder: Path) -> list[Path]:
    """Small records of every format and kind."""
    found = []
    for format in (*BITS, *FLAC, "8"):
        largest = 100 if format in ("8", "80", "508") else 400
        found.append(raw(folder / f"f{format}", noise(3, 101, largest), 250, ("I", "II", "V1"), format))
    said = ["Age: 61  Sex: F", "Dx: 426177001,164934002", "Name: A B", "Patient ID: 12", "Value: QT = 400", "free text"]
    found.append(raw(folder / "said", noise(2, 40, 99), 250, ("I", "II"), comments=said, baseline=-12, length=""))
    frames = {"per_frame": [1, 4], "skew": [3, 1], "offset": 10}
    found.append(raw(folder / "fast", [noise(1, 30, 99)[0], noise(1, 120, 99)[0]], 60, ("I", "CM5"), **frames))
    found.append(raw(folder / "flat", noise(2, 300, 9), 250, ("ECG", "ECG"), "516", comments=["<diagnoses>:", "AF."]))
    found.append(segments(folder))
    beats = [(10, "+", "(AFIB"), (20, "N", ""), (50, "V", "odd"), (99, "+", "(N")]
    annotate(folder / "f16.atr", beats, resolution=250)
    annotate(folder / "f212.qrs", [(5, "N", ""), (100, "N", "")])
    waves = [(10, "(", ""), (12, "p", ""), (14, ")", ""), (20, "N", ""), (30, "t", ""), (36, ")", "")]
    for lead in ("i", "ii", "v1"):
        annotate(folder / f"f24.{lead}", waves)
    annotate(folder / "f32.q1c", waves)
    annotate(folder / "f61.pu0", waves, more=words(59 << 10, 0, 3))
    return found
