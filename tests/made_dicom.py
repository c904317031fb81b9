"""Encoder of DICOM waveforms from PS3.5 and PS3.3 C.10.9, without pydicom: the reader's oracle and fuzzing seeds."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEP = 0.001  # mV
TWELVE, GENERAL, PDF = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.9.1.2", "1.2.840.10008.5.1.4.1.1.104.1"
HEMODYNAMIC = "1.2.840.10008.5.1.4.1.1.9.2.1"
SYNTAX = {"explicit": "1.2.840.10008.1.2.1", "implicit": "1.2.840.10008.1.2", "big": "1.2.840.10008.1.2.2"}
SYNTAX["deflated"] = "1.2.840.10008.1.2.1.99"
NUMBER = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64} | {f"V{i}": 2 + i for i in range(1, 7)}
KIND = {"SB": "i1", "UB": "u1", "MB": "u1", "AB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4", "SV": "i8"}
LONG = ("OB", "OW", "SQ", "UN", "UT")


@dataclass(frozen=True)
class Form:
    """How elements are written: VRs, byte order, and whether sequences and items say their length."""

    implicit: bool = False
    big: bool = False
    open: bool = False

    def pack(self, form: str, *values) -> bytes:
        return struct.pack((">" if self.big else "<") + form, *values)

    def element(self, tag: int, vr: str, value) -> bytes:
        """value: text, bytes, numbers, or a list of items (lists of elements)."""
        if vr == "SQ":
            inside = b"".join(self.item(item) for item in value)
            body, said = (
                inside + self.pack("HHI", 0xFFFE, 0xE0DD, 0) * self.open,
                0xFFFFFFFF if self.open else len(inside),
            )
        else:
            body = self.value(vr, value)
            said = len(body)
        head = self.pack("HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + self.pack("I", said) + body
        return head + vr.encode() + (self.pack("HI", 0, said) if vr in LONG else self.pack("H", said)) + body

    def item(self, elements) -> bytes:
        inside = b"".join(self.element(*e) for e in sorted(elements))
        if self.open:
            return self.pack("HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inside + self.pack("HHI", 0xFFFE, 0xE00D, 0)
        return self.pack("HHI", 0xFFFE, 0xE000, len(inside)) + inside

    def value(self, vr: str, value) -> bytes:
        if vr in ("US", "UL"):
            return b"".join(self.pack({"US": "H", "UL": "I"}[vr], v) for v in np.atleast_1d(value).tolist())
        data = value if isinstance(value, bytes) else str(value).encode()
        return data + (b"\0" if vr in ("UI", "OB", "OW", "UN") else b" ") * (len(data) % 2)


def code(tag: int, value: str, scheme: str, meaning: str) -> tuple:
    row = [(0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080104, "LO", meaning)]
    return tag, "SQ", [row]


def channel(lead: str, source="MDC", unit="uV", sensitivity="1", baseline="0", correction="1", **more) -> list:
    """A channel definition; `more`: label, skew, seconds, offset, filters (low, high, notch), status, coded."""
    number = NUMBER.get(lead, 0)
    coded = more.get("coded") or {"MDC": f"2:{number}", "SCPECG": f"5.6.3-9-{number}", "99LOCAL": "x"}[source]
    rows = [code(0x003A0208, coded, source, f"Lead {lead}"), (0x003A021A, "US", 16)]
    rows += [(0x003A0210, "DS", sensitivity), (0x003A0212, "DS", correction), (0x003A0213, "DS", baseline)] * bool(
        sensitivity
    )
    rows += [code(0x003A0211, unit, "UCUM", unit)] * bool(unit and sensitivity)
    texts = {
        "label": (0x003A0203, "SH"),
        "skew": (0x003A0215, "DS"),
        "seconds": (0x003A0214, "DS"),
        "offset": (0x003A0218, "DS"),
    }
    texts |= {"status": (0x003A0205, "CS")}
    rows += [(*tag, more[key]) for key, tag in texts.items() if key in more]
    return rows + [(0x003A0220 + i, "DS", f) for i, f in enumerate(more.get("filters", ()))]


def group(
    form: Form, raw: np.ndarray, rate, channels: list, said="SS", label="RHYTHM", origin="ORIGINAL", **more
) -> list:
    """A multiplex group of raw samples (C, T). `more`: padding, start (ms), bits, length, count (what it claims)."""
    kind = np.dtype(KIND[said]).newbyteorder(">" if form.big else "<")
    vr = "OB" if kind.itemsize == 1 else "OW"
    rows = [(0x003A0004, "CS", origin), (0x003A0020, "SH", label), (0x003A001A, "DS", rate), (0x54001006, "CS", said)]
    rows = [row for row in rows if row[2] is not None]
    rows += [(0x003A0005, "US", more.get("count", len(raw))), (0x003A0010, "UL", more.get("length", raw.shape[1]))]
    rows += [(0x003A0200, "SQ", channels), (0x54001004, "US", more.get("bits", 8 * kind.itemsize))]
    rows += [(0x5400100A, vr, np.array(more["padding"]).astype(kind).tobytes())] if "padding" in more else []
    rows += [(0x00181068, "DS", more["start"])] if "start" in more else []
    return rows + [(0x54001010, vr, np.ascontiguousarray(raw.T).astype(kind).tobytes())]


def text(line: str) -> list:
    return [(0x00700006, "ST", line), (0x0040A0B0, "US", [1, 0])]


def measure(value: str, meaning: str, number, unit="ms", scheme="MDC", channels=(1, 0)) -> list:
    rows = [code(0x0040A043, value, scheme, meaning), code(0x004008EA, unit, "UCUM", unit)]
    return [*rows, (0x0040A30A, "DS", number), (0x0040A0B0, "US", list(channels))]


def mark(value: str, meaning: str, places, several=2, where="POINT", scheme="SCPECG", channels=(1, 0)) -> list:
    rows = [code(0x0040A043, value, scheme, meaning), (0x0040A130, "CS", where), (0x0040A132, "UL", places)]
    return [*rows, (0x0040A180, "US", several), (0x0040A0B0, "US", list(channels))]


def finding(value: str, meaning: str, scheme="SCT", answer=None) -> list:
    more = [code(0x0040A168, *answer)] if answer else []
    return [code(0x0040A043, value, scheme, meaning), (0x0040A0B0, "US", [1, 0]), *more]


def file(path: Path, groups: list, form=Form(), sop=TWELVE, notes=(), more=(), preamble=True, syntax=None) -> Path:
    """The file of groups, annotations and `more` elements."""
    rows = [(0x00080016, "UI", sop), (0x00080018, "UI", "1.2.3"), (0x00080060, "CS", "ECG"), *more]
    rows += [(0x54000100, "SQ", groups)] * bool(groups) + [(0x0040B020, "SQ", list(notes))] * bool(notes)
    body = b"".join(form.element(*row) for row in sorted(rows, key=lambda row: row[0]))
    syntax = syntax or ("implicit" if form.implicit else "big" if form.big else "explicit")
    if syntax == "deflated":
        machine = zlib.compressobj(wbits=-15)
        body = machine.compress(body) + machine.flush()
    meta = Form().element(0x00020010, "UI", SYNTAX[syntax])
    head = b"\0" * 128 + b"DICM" + Form().element(0x00020000, "UL", len(meta)) + meta if preamble else b""
    path.write_bytes(head + body)
    return path


def save(path: Path, signal: np.ndarray, rate: float, leads, form=Form(), syntax=None, preamble=True, **more) -> Path:
    """A valid file whose samples are round(signal / STEP) * STEP mV."""
    raw = np.rint(np.asarray(signal) / STEP).astype(int)
    kept = {key: more.pop(key) for key in ("sop", "notes", "more") if key in more}
    made = group(form, raw, f"{rate:g}", [channel(lead, label=lead) for lead in leads], **more)
    return file(path, [made], form, preamble=preamble, syntax=syntax, **kept)


def variants(folder: Path) -> list[Path]:
    """Small valid files for every branch of the reader."""
    x = np.random.default_rng(0).integers(-90, 90, (3, 60)) * STEP
    leads, made = ("I", "II", "V1"), []

    def put(name: str, **how) -> None:
        made.append(save(folder / f"{name}.dcm", x, 500, leads, **how))

    marks = [mark(f"5.10.3-{i}", "", p) for i, p in zip((1, 2, 3, 4, 5), (3, 5, 8, 12, 20))] + [mark("5.7.1-3", "", 9)]
    notes = [
        text("Sinus rhythm"),
        measure("2:16160", "QT", 400),
        finding("164889003", "AF"),
        finding("F-000B7", "N", "SRT"),
    ]
    notes += [mark("10:8208", "beat", [5, 30], where="MULTIPOINT", scheme="MDC", several=9), *marks]
    people = [
        (0x00100010, "PN", "A^B"),
        (0x00101010, "AS", "045Y"),
        (0x00101020, "DS", "1.8"),
        (0x00080005, "CS", "ISO_IR 192"),
    ]
    put("plain", notes=notes, more=people)
    put("implicit", form=Form(implicit=True), notes=notes, more=people)
    put("open", form=Form(implicit=True, open=True), notes=notes)
    put("big", form=Form(big=True, open=True), notes=notes)
    put("deflated", syntax="deflated", notes=notes)
    put("bare", preamble=False)
    for said in ("SB", "UB", "MB", "AB", "US", "SL", "UL", "SV"):
        raw = np.rint(x / STEP) + (128 if said[0] == "U" else 0)
        rows = [channel(lead, baseline="-128" if said[0] == "U" else "0") for lead in leads]
        made.append(file(folder / f"{said}.dcm", [group(Form(), raw, 250, rows, said, padding=7)], sop=GENERAL))
    raw, short = np.rint(x / STEP).astype(int), np.rint(x[:, :20] / STEP).astype(int)
    rows = [channel(lead, skew=str(i), filters=(0.05, 150, 50), status="OK") for i, lead in enumerate(leads)]
    two = [group(Form(), raw, 50, rows), group(Form(), short, 50, rows, label="MEDIAN BEAT", origin="DERIVED")]
    made.append(file(folder / "median.dcm", two, notes=notes))
    page = [group(Form(), raw[i : i + 1], 500, [channel(n)], start=120 * i) for i, n in enumerate(leads)]
    made.append(file(folder / "page.dcm", page))
    press = [
        channel("I"),
        channel("ART", "99LOCAL", unit="mm[Hg]", label="ART"),
        channel("x", "99LOCAL", coded="MDC_ECG_LEAD_V2"),
    ]
    made.append(file(folder / "hemo.dcm", [group(Form(), raw, 240, press)], sop=HEMODYNAMIC))
    return made
