"""An encoder of EDF, EDF+, BDF and BDF+, written from the specification: the oracle of the reader and the writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 0.001  # mV
WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


def field(said, length: int) -> bytes:
    data = said if isinstance(said, bytes) else str(said).encode("ascii")
    assert len(data) <= length, said
    return data.ljust(length)


def digits(values: np.ndarray, width: int) -> bytes:
    """Little-endian integers of `width` bytes, by arithmetic on each."""
    return b"".join(int(v).to_bytes(width, "little", signed=True) for v in values)


def tal(onset: str, *texts: str, lasts: str = "") -> bytes:
    return f"{onset}{chr(21) + lasts if lasts else ''}\x14{chr(20).join(texts)}\x14\0".encode()


def raw(path, signals: list[dict], records: list[list], *, seconds="1", width=2, tals=None, **head) -> Path:
    """Any file. signals: fields by name; records: for each data record the digits of each signal; tals: bytes of its
    annotations for each data record (None: there are none); head: fields of the header; cut: bytes to lose at the end;
    more: bytes behind the end."""
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".edf")
    cut, more, gap = head.pop("cut", 0), head.pop("more", b""), head.pop("gap", b"")
    rows = [
        (
            s.get("label", "ECG II"),
            "AgCl",
            s.get("unit", "uV"),
            *s.get("physical", (-32768, 32767)),
            *s.get("digital", (-32768, 32767)),
            s.get("filters", "HP:0.05Hz LP:150Hz"),
            s.get("samples", len(records[0][i]) if records else 0),
            "",
        )
        for i, s in enumerate(signals)
    ]
    notes = []
    if tals is not None:
        room = max(map(len, tals))
        room += -room % (2 * width * 3)
        notes = [data.ljust(room, b"\0") for data in tals]
        name = "EDF Annotations" if width == 2 else "BDF Annotations"
        rows.append((name, "", "", -1, 1, -32768, 32767, "", room // width, ""))
    said = {"patient": "X X X X", "recording": "Startdate X X X X", "date": "01.01.85", "time": "00.00.00"}
    said |= {"size": 256 * (len(rows) + 1), "reserved": "", "stated": len(records), "count": len(rows)} | head
    data = b"0       " if width == 2 else b"\xffBIOSEMI"
    data += field(said["patient"], 80) + field(said["recording"], 80) + field(said["date"], 8) + field(said["time"], 8)
    data += field(said["size"], 8) + field(said["reserved"], 44) + field(said["stated"], 8) + field(seconds, 8)
    data += field(said["count"], 4)
    for i, length in enumerate(WIDTHS):
        data += b"".join(field(row[i], length) for row in rows)
    data += gap
    for i, record in enumerate(records):
        data += b"".join(digits(values, width) for values in record)
        data += notes[i] if notes else b""
    path.write_bytes(data[: len(data) - cut] + more)
    return path


def save(path, signal, rate: float, leads, *, width=2, **more) -> Path:
    """Plain EDF (width 2) or BDF (3), in uV; data records of 1 s where they hold the signal, else one for all."""
    x = np.round(np.asarray(signal) / STEP).astype(int)  # (C, T)
    C, T = x.shape
    samples = int(rate) if rate == int(rate) and T % int(rate) == 0 else T
    seconds = f"{samples / rate:.6f}"[:8].rstrip("0").rstrip(".")
    records = [[x[c, at : at + samples] for c in range(C)] for at in range(0, T, samples)]
    return raw(path, [{"label": f"ECG {lead}"} for lead in leads], records, seconds=seconds, width=width, **more)


def wave(samples: int = 50, height: int = 900) -> np.ndarray:
    """Digits with a heart beat in them."""
    at = np.arange(samples)
    return np.round(height * np.exp(-(((at - samples // 2) / 2.0) ** 2)) - 20 * np.sin(at / 9)).astype(int)


def ours(folder: Path) -> Path:
    """Everything that ecgraft writes as annotations."""
    texts = [
        "beat V",
        "R-wave",
        "report: Sinus",
        "report+ rhythm",
        "report: Normal",
        "P wave: onset 0, peak 0.04@@ECG II",
    ]
    data = b"".join(tal("+0.1", text) for text in texts) + tal("+0.1", "waves annotated@@ECG II", lasts="1")
    data += tal("+0.5", "no signal", lasts="0.2") + tal("+0.3", "(AFIB", lasts="0.5") + tal("+1.9", "Recording ends")
    records = [[wave()], [wave()]]
    recording, patient = "Startdate X X X ecgraft", "X F X X age:64"
    tals = [tal("+0", "") + data, tal("+1", "")]
    head = {"reserved": "EDF+C", "recording": recording, "patient": patient}
    return raw(folder / "ours.edf", [{"label": "ECG II"}], records, tals=tals, **head)


def variants(folder) -> list[Path]:
    """Small files that take every branch of the reader."""
    folder = Path(folder)
    x = np.stack([wave(100), wave(100, -500)]) * STEP
    one, two = {"label": "ECG II"}, {"label": "EKG V1-Ref", "unit": b"\xb5V"}
    person = {
        "patient": "MCH-0234567 F 02-MAY-1951 Haagse_Harry",
        "recording": "Startdate 02-MAR-2002 EMG561 BK/JOP Sony",
    }
    beats = [tal(f"+{i}", "") + tal(f"+{i}.25", "N") + tal(f"+{i}.75", "V") for i in range(2)]
    beats[0] += (
        tal("+0.5", "(AFIB") + tal("+0.6", "Atrial flutter", lasts="0.2") + tal("+0.9", "Pause") + tal("-0.1", "x")
    )
    apart = [tal("+0.5", ""), tal("+2.52", ""), tal("+3.52", "")]
    slow, brain = {"label": "V5", "unit": "mV"}, {"label": "EEG C3-A2"}
    comma = {"label": "ECG I", "physical": ("-3,2768", "3,2767"), "unit": "mV", "digital": ("-32768.0", 32767)}
    upside = {"label": "ECG I", "physical": (3276.7, -3276.8), "unit": "uV", "digital": (-32768, 32767)}
    others = [{"label": "Resp", "unit": ""}, {"label": "SpO2", "unit": "%"}, {"label": "ECG 2", "digital": (5, 5)}]
    r = [wave(50), wave(50, 400)]
    return [
        save(folder / "plain.edf", x, 50, ("II", "V1")),
        save(folder / "wide.bdf", x, 50, ("II", "V1"), width=3),
        raw(folder / "person.edf", [one, two], [r, r], tals=beats, reserved="EDF+C", **person),
        raw(folder / "apart.edf", [one], [[wave()]] * 3, tals=apart, reserved="EDF+D"),
        raw(folder / "apart.bdf", [one], [[wave()]] * 3, tals=apart, reserved="BDF+D", width=3),
        raw(folder / "rates.edf", [one, slow], [[wave(50), wave(25)]] * 2),
        raw(folder / "odd.edf", [one, slow, two], [[wave(50), wave(20), wave(50)]] * 2),
        raw(folder / "sleep.edf", [brain, one, {"label": "C4"}], [[wave(), wave(), wave()]] * 2),
        raw(folder / "others.edf", [one, *others], [[wave()] * 4] * 2),
        raw(folder / "comma.edf", [comma], [[wave()]] * 2, seconds="0,5"),
        raw(folder / "upside.edf", [upside], [[wave()]] * 2, seconds="0.333333"),
        raw(folder / "open.edf", [one, two], [r, r, r], stated=-1, cut=30),
        raw(folder / "open.bdf", [one, two], [r, r, r], stated=-1, cut=200, width=3),
        raw(folder / "size.edf", [one], [[wave()]] * 2, size=768, gap=b" " * 256),
        raw(folder / "more.edf", [one], [[wave()]] * 2, more=b"trailing"),
        raw(folder / "blank.edf", [{"label": "ch1", "unit": ""}], [[wave()]] * 2),
        raw(folder / "still.edf", [one], [[wave()], [wave()], [np.full(50, 7)]], seconds="0"),
        raw(folder / "code.edf", [one | {"digital": (-2048, 2047)}], [[wave()], [np.full(50, -32768)]]),
        ours(folder),
    ]
