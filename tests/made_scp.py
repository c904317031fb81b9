"""SCP-ECG files, written from the standard (EN 1064) without a line of the reader: an oracle, and seed for damage."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np

STEP = 0.001  # mV
NANOVOLTS = 1000  # of STEP
CODES = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64, "CM5": 20, "I calibration": 31, "-aVR": 65}
CODES |= {f"V{i}": i + 2 for i in range(1, 7)}
# A Huffman table: bits -> a number, bits of a number that follows (as text), or ("go to", table from 1)
STANDARD = {"0": 0} | {"1" * abs(i) + "0" + "01"[i < 0]: i for i in range(-8, 9) if i}
STANDARD |= {"1111111110": "8", "1111111111": "16"}
OWN = {"00": 0, "010": 1, "011": -1, "100": 2, "101": -2, "110": "8", "1110": "16", "1111": ("go to", 2)}
OTHER = {"0": "16", "10": 7, "11" * 9: ("go to", 1)}  # a prefix of 18 bits
NAME, NUMBER, DOCTOR = "Quackenbush", "ZX-81-4711", "Frankenstein"
PATIENT = {0: b"Quackenbush\0", 1: b"Ermintrude\0", 2: b"ZX-81-4711\0", 5: struct.pack("<HBB", 1950, 6, 15)}
PATIENT |= {6: struct.pack("<HB", 70, 2), 7: struct.pack("<HB", 61500, 2), 8: b"\2", 20: b"Frankenstein\0"}
PATIENT |= {25: struct.pack("<HBB", 2020, 6, 14), 27: b"\5\0", 28: b"\x96\0", 29: b"\2", 35: b"history\0"}
MACHINE = bytes(6) + b"\0\x11CS-99\0" + b"\x14\xa0%c" + bytes(19) + b"1.0\0SN123456\0sw\0scp\0%s\0"


def device(language: int = 0, maker: bytes = b"") -> bytes:
    """Tag 14."""
    return MACHINE.replace(b"%c", bytes([language])).replace(b"%s", maker)


def crc(data: bytes) -> int:
    """CRC-CCITT byte by byte, as annex D of the standard describes it."""
    value = 0xFFFF
    for byte in data:
        value = (value >> 8 | value << 8) & 0xFFFF ^ byte
        value ^= (value & 0xFF) >> 4
        value ^= value << 12 & 0xFFFF
        value ^= (value & 0xFF) << 5
    return value


def checked(data: bytes) -> bytes:
    return struct.pack("<H", crc(data)) + data


def section(number: int, body: bytes, version: int = 20) -> bytes:
    body += bytes(len(body) % 2)
    name = b"SCPECG" if number == 0 else bytes(6)
    return checked(struct.pack("<HIBB", number, 16 + len(body), version, version) + name + body)


def record(bodies: dict[int, bytes], version: int = 20) -> bytes:
    """A whole file from the contents of its sections."""
    listed = sorted({*range(12), *bodies})
    blocks = [section(n, bodies[n], version) if bodies.get(n) else b"" for n in listed if n]
    place, pointers = 7, []
    for number, size in zip(listed, [16 + 10 * len(listed), *map(len, blocks)]):
        pointers.append(struct.pack("<HII", number, size, place if size else 0))
        place += size
    whole = b"".join([section(0, b"".join(pointers), version), *blocks])
    return checked(struct.pack("<I", len(whole) + 6) + whole)


def bits_of(numbers, tables: list[dict], every: int = 0) -> str:
    """Huffman code. `every`: after so many numbers, go to the other table."""
    out, now = [], 0
    for i, number in enumerate(numbers):
        if every and i and i % every == 0:
            word, target = next((w, t) for w, t in tables[now].items() if isinstance(t, tuple))
            out, now = [*out, word], target[1] - 1
        table = {meaning: word for word, meaning in tables[now].items()}
        if number in table:
            out.append(table[number])
            continue
        size = next(s for s in ("8", "16") if s in table and -(2 ** (int(s) - 1)) <= number < 2 ** (int(s) - 1))
        out.append(table[size] + format(int(number) % 2 ** int(size), f"0{size}b"))
    return "".join(out)


def packed(numbers, tables, every: int) -> bytes:
    if not tables:
        return np.asarray(numbers, "<i2").tobytes()
    word = bits_of([int(n) for n in numbers], tables, every)
    word += "0" * (-len(word) % 16)
    return bytes(int(word[i : i + 8], 2) for i in range(0, len(word), 8))


def table_bytes(tables: list[dict]) -> bytes:
    """Section 2."""
    if tables == [STANDARD]:
        return struct.pack("<H", 19999)
    out = struct.pack("<H", len(tables))
    for table in tables:
        out += struct.pack("<H", len(table))
        for word, meaning in table.items():
            size = len(word) + (int(meaning) if isinstance(meaning, str) else 0)
            value = meaning[1] if isinstance(meaning, tuple) else 0 if isinstance(meaning, str) else meaning
            out += struct.pack("<BBBhI", len(word), size, not isinstance(meaning, tuple), value, int(word[::-1], 2))
    return out


def differences(samples, order: int) -> np.ndarray:
    """The first one or two stay as they are. They are of 16 bits and may overflow, as the samples then do back."""
    out = np.asarray(samples, np.int64)
    out = np.concatenate([out[:order], np.diff(out, order)])
    return (out + 2**15) % 2**16 - 2**15


def leads_body(leads, spans, flags: int) -> bytes:
    codes = [CODES[n] if isinstance(n, str) else n for n in leads]
    rows = [struct.pack("<IIB", *span, code) for code, span in zip(codes, spans)]
    return struct.pack("<BB", len(leads), flags) + b"".join(rows)


def wave_body(lines, unit: int, interval: int, order: int, bimodal: int, tables, every: int) -> bytes:
    """Section 5 or 6."""
    parts = [packed(differences(line, order), tables, every) if len(line) else b"" for line in lines]
    sizes = struct.pack(f"<{len(parts)}H", *map(len, parts))
    return struct.pack("<HHBB", unit, interval, order, bimodal) + sizes + b"".join(parts)


def decimated(line: np.ndarray, areas, factor: int, one_for_rest: bool = False) -> list[int]:
    """Numbers of bimodal compression: samples in protected areas (from 1), else means of `factor` of them."""
    inside, out, i = {s - 1 for a, b in areas for s in range(a, b + 1)}, [], 0
    while i < len(line):
        ahead = [k for k in range(i, min(i + factor, len(line))) if k not in inside and (k == i or k - 1 not in inside)]
        if i in inside:
            out.append(int(line[i]))
            i += 1
        elif len(ahead) == factor or one_for_rest:
            out.append(round(float(np.mean(line[ahead]))))
            i += len(ahead)
        else:
            out += [int(line[k]) for k in ahead]
            i += len(ahead)
    return out


def joined(numbers, areas, factor: int, length: int, one_for_rest: bool) -> list[int]:
    """Samples of bimodal compression one after the other, before they are smoothed."""
    inside, numbers, out = {s - 1 for a, b in areas for s in range(a, b + 1)}, list(numbers), []
    while len(out) < length:
        size = next((n for n in range(length - len(out)) if len(out) + n in inside), length - len(out))
        own = [numbers.pop(0) for _ in range(size // factor)]
        out += own[:1] * (factor // 2)
        for a, b in itertools.pairwise(own):
            out += [a + int(np.copysign(np.floor(abs(b - a) * k / factor + 0.5), b - a)) for k in range(factor)]
        out += own[-1:] * (factor - factor // 2)
        if size % factor:
            out += (
                [numbers.pop(0)] * (size % factor) if one_for_rest else [numbers.pop(0) for _ in range(size % factor)]
            )
        while len(out) in inside and len(out) < length:
            out.append(numbers.pop(0))
    assert not numbers
    return out


def placed(beat, found, fiducial: int, length: int) -> np.ndarray:
    """(C, T) the reference beat at each beat (kind, start, fiducial, stop; samples from 1) of kind 0."""
    out = np.zeros((len(beat), length), np.int64)
    for kind, start, at, stop in found:
        for sample in range(start, stop + 1) if kind == 0 else ():
            out[:, sample - 1] += beat[:, sample - at + fiducial - 1]
    return out


def bodies(
    signal, rate, leads, tables=(STANDARD,), order=2, every=0, spans=None, beat=None, beats=(), areas=None, fiducial=1,
    subtract=False, factor=1, one_for_rest=False, flagged=True, unit=NANOVOLTS, beat_unit=NANOVOLTS, tags=(), **more,
):  # fmt: skip
    """The sections of one ECG. beat: (C, N) integers of `beat_unit` nV; areas: protected; more: section_8=bytes ..."""
    lines = np.rint(np.asarray(signal, float) * 1e6 / unit).astype(np.int64)
    C, T = lines.shape
    spans = spans or [(1, T)] * C
    if subtract:
        lines = lines - placed(np.asarray(beat) * (beat_unit // unit), beats, fiducial, T)
    lines = [line[a - 1 : b] for line, (a, b) in zip(lines, spans)]
    if factor > 1:
        lines = [decimated(line, areas or (), factor, one_for_rest) for line in lines]
    tables, interval = list(tables), round(1e6 / rate)
    about = dict(PATIENT) | {14: device()} | dict(tags)
    made = {1: b"".join(struct.pack("<BH", tag, len(v)) + v for tag, v in about.items()) + b"\xff\0\0"}
    made |= {2: table_bytes(tables)} if tables else {}
    made[3] = leads_body(leads, spans, 4 | (len(leads) << 3) & 0xFF | bool(subtract))
    if beat is not None:
        made[5] = wave_body(beat, beat_unit, interval, order, 0, tables, every)
    if beat is not None or beats:
        milliseconds = round(np.shape(beat)[1] * interval / 1000) if beat is not None else 0
        made[4] = struct.pack("<HHH", milliseconds, fiducial, len(beats))
        made[4] += b"".join(struct.pack("<HIII", *row) for row in beats)
        made[4] += b"".join(struct.pack("<II", *row) for row in areas or ())
    made[6] = wave_body(lines, unit, interval * factor, order, int(factor > 1 and flagged), tables, every)
    return made | {int(key.removeprefix("section_")): value for key, value in more.items() if value}


def save(path, signal, rate, leads, version: int = 20, **more) -> Path:
    """A small valid file; see `bodies`. Its samples are round(signal / STEP) * STEP, but with a factor above 1."""
    path = Path(path)
    path.write_bytes(record(bodies(signal, rate, leads, **more), version))
    return path


def stated(lines, confirmed: int = 0) -> bytes:
    """Section 8 or 11: lines are bytes; those of section 11 begin with their type."""
    head = struct.pack("<BHBBBBBB", confirmed, 2020, 6, 14, 9, 10, 0, len(lines))
    return head + b"".join(struct.pack("<BH", i + 1, len(line)) + line for i, line in enumerate(lines))


def measured(rows=((100, 180, 220, 310, 600, 44, -61, 999),), rr=800, rate=75, qtc=430, kinds=b"", spikes=0) -> bytes:
    """Section 7. Rows: ends of waves (ms) and axes."""
    out = struct.pack("<BBHH", len(rows), spikes, rr, 29999) + b"".join(struct.pack("<5H3h", *row) for row in rows)
    return out + bytes(10 * spikes) + struct.pack("<H", len(kinds)) + kinds + struct.pack("<HHHBH", rate, 0, qtc, 1, 0)


def waveform(C: int, T: int = 240, seed: int = 0) -> np.ndarray:
    """(C, T) mV: slow waves and spikes, on the grid of STEP."""
    rng, t = np.random.default_rng(seed), np.arange(T)
    x = np.sin(t / 17 + np.arange(C)[:, None]) + 1.5 * (t % 80 == 40) + rng.normal(0, 0.004, (C, T))
    return np.rint(x / STEP) * STEP


def broken(folder, number: int, body: bytes | None, **more):
    """A file in which one section has another content."""
    parts = bodies(waveform(2), 500, ("I", "II"), **more)
    parts |= {number: body} if body is not None else {}
    if body is None:
        del parts[number]
    (folder / "x.scp").write_bytes(record(parts))
    return folder / "x.scp"


BEATS = ((0, 21, 41, 60), (1, 0, 121, 0), (0, 181, 201, 220))
AREAS = ((37, 46), (117, 126), (197, 206))


def variants(folder) -> list[Path]:
    """Small files that take every branch of the reader."""
    x, eight = waveform(2), ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    beat = np.rint(1000 * np.hanning(50) * [[1], [2]]).astype(int)
    subtracted = dict(beat=beat, beats=BEATS, areas=AREAS, fiducial=21)
    notes = dict(section_7=measured(spikes=2), section_8=stated([b"Sinus rhythm\0", b"LVH\0"], 1), section_9=b"xx")
    notes |= dict(section_10=bytes(20), section_11=stated([b"\1NORM\0", b"\1LVH_PR\0", b"\2text\0", b"\3x"], 1))
    beat_times = [(0, 29999, 0, 0, 0, 999, 999, 999)] + [
        (s - 60, s - 20, s - 10, s + 20, s + 90, 1, 2, 3) for s in (82, 242, 402)
    ]
    kinds = {
        "standard": {}, "plain": dict(tables=(), order=0), "first": dict(order=1), "amplitudes": dict(order=0),
        "own": dict(tables=(OWN, OTHER), every=7), "one": dict(tables=(OWN,)), "noted": notes,
        "beat": dict(beat=beat, beats=BEATS), "subtracted": dict(subtract=True, beat_unit=2000, **subtracted),
        "bimodal": dict(subtract=True, factor=4, **subtracted), "halved": dict(factor=2, tables=(), **subtracted),
        "held": dict(factor=4, one_for_rest=True, tables=(), **subtracted), "later": dict(spans=[(1, 120), (121, 240)]),
        "beats": dict(beats=BEATS, areas=AREAS, section_7=measured(beat_times)), "utf": dict(tags={14: device(0x37)}),
    }  # fmt: skip
    kinds["one"]["tables"] = ({word: meaning for word, meaning in OWN.items() if not isinstance(meaning, tuple)},)
    made = [save(Path(folder) / f"{name}.scp", x, 500, ("I", "II"), **more) for name, more in kinds.items()]
    made.append(save(Path(folder) / "eight.scp", waveform(8, 120), 500, eight, tables=(), order=1))
    made.append(save(Path(folder) / "mixed.scp", waveform(3, 120), 300, ("-aVR", "I calibration", 200), version=30))
    return made
