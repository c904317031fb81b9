"""Philips ECG XML, written by hand: XLI (LZW, second differences, residuals), base64, hexadecimal, plain numbers."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np

from ecgraft.record import LEADS

STEP = 0.001  # mV of a unit
NAMES = ("GRAVES", "HENRIETTA", "OPERATORSON", "DR WHO", "Ward Seven")  # what must not come out
NUMBER, BORN, DAY, SERIAL = "777-123-456", "1950-06-15", "2011-12-01", "US71621374"
STATEMENTS = (
    ("SR", "SINUS RHYTHM", "normal P axis"),
    ("LVH", "PROBABLE LVH", ""),
    ("", "Compared with 01-DEC-2011", ""),
)


def save(path, signal, rate, leads, **more) -> Path:
    """A file whose samples are round(signal / STEP) * STEP. `more`, see `document`."""
    digital = np.round(np.asarray(signal) / STEP).astype(np.int64)
    text = document(digital, rate, tuple(leads), **more)
    path = Path(path)
    path.write_bytes(text.encode(more.get("charset", "utf-8")))
    return path


def document(
    digital,
    rate,
    leads,
    version="1.04",
    kind="PhilipsECG",
    packing="XLI",
    encoding="Base64",
    charset="utf-8",
    wave=None,  # attributes of parsedwaveforms in place of these or, if None, left out
    spare=0,  # empty channels after the leads
    data=None,  # in place of the samples
    beats="",  # element repbeats
    interpretations=None,
    acquired="<samplingrate>250</samplingrate><numberchannelsallocated>12</numberchannelsallocated>",
    patient=f"<age><dateofbirth>{BORN}</dateofbirth></age><sex>Female</sex><height><inch>70</inch></height>"
    "<weight><kg>80.5</kg></weight>",
) -> str:
    channels = list(digital) + [np.zeros_like(digital[0])] * spare
    said = {"dataencoding": encoding, "compression": packing, "leadlabels": " ".join(leads), "resolution": "1"}
    said |= {"numberofleads": len(leads), "samplespersecond": f"{rate:g}", "hipass": "0.05", "lowpass": "150"}
    said |= {"durationperchannel": f"{len(digital[0]) * 1000 / rate:.10g}"} | (wave or {})
    said = " ".join(f'{key}="{value}"' for key, value in said.items() if value)
    content = encoded(channels, leads, packing, encoding) if data is None else data
    interpretations = interpretation() if interpretations is None else interpretations
    return f"""<?xml version="1.0" encoding="{charset}"?>
<restingecgdata xmlns="http://www3.medical.philips.com" status="New" lang="en">
<documentinfo><documentname>{NUMBER}.xml</documentname><documenttype>{kind}</documenttype>
<documentversion>{version}</documentversion><editor id="x">{NAMES[3]}</editor></documentinfo>
<dataacquisition date="{DAY}" time="07:27:34">
<machine machineid="{SERIAL}" detaildescription="Philips Medical Products:860315:A.07">PageWriter TC</machine>
<acquirer><operator id="9">{NAMES[2]}</operator><departmentname>{NAMES[4]}</departmentname></acquirer>
<signalcharacteristics>{acquired}<acquisitiontype>10-WIRE</acquisitiontype></signalcharacteristics></dataacquisition>
<patient><generalpatientdata><patientid>{NUMBER}</patientid>
<name><lastname>{NAMES[0]}</lastname><firstname>{NAMES[1]}</firstname></name>{patient}</generalpatientdata></patient>
<interpretations>{interpretations}</interpretations>
<waveforms><parsedwaveforms {said}>{content}</parsedwaveforms>{beats}</waveforms></restingecgdata>"""


def interpretation(statements=STATEMENTS, rate="61", date=DAY, **more) -> str:
    said = "".join(
        f"<statement><statementcode>{code}</statementcode><leftstatement>{left}</leftstatement>"
        f"<rightstatement>{right}</rightstatement></statement>"
        for code, left, right in statements
    )
    return f"""<interpretation date="{date}" time="07:27:34"><globalmeasurements><heartrate>{rate}</heartrate>
<print>150</print><qrsdur>90</qrsdur><qtint>Failed</qtint><qtcb>412</qtcb><pfrontaxis>Indeterminate</pfrontaxis>
<qrsfrontaxis>-21</qrsfrontaxis></globalmeasurements><mdsignatureline>Confirmed by {NAMES[3]}</mdsignatureline>
<severity code="AB">- ABNORMAL ECG -</severity>{said}{more.get("after", "")}</interpretation>"""


def repbeats(digital, leads, rate, encoding="Base64", inner=True, **attributes) -> str:
    """Representative beats: as a child `waveform` (1.04) or in the element itself (1.03)."""
    said = {"dataencoding": encoding, "samplespersec": f"{rate:g}", "resolution": "1"} | attributes
    head = " ".join(f'{key}="{value}"' for key, value in said.items() if value)
    items = ""
    for lead, row in zip(leads, digital):
        data, length = encoded([row], (), "", encoding), f'duration="{len(row) * 1000 / rate:g}"'
        own = f"<pdur>100</pdur><waveform {length}>{data}</waveform>" if inner else data
        items += f'<repbeat leadname="{lead}" {"" if inner else length}>{own}</repbeat>'
    return f"<repbeats {head}>{items}</repbeats>"


def encoded(channels, leads, packing: str, encoding: str) -> str:
    """The text of a waveform."""
    if encoding == "Plain":
        return "\n".join(" ".join(map(str, row)) for row in channels)
    data = xli(residuals(channels, leads)) if packing == "XLI" else np.stack(channels).astype("<i2").tobytes()
    return data.hex() if encoding == "Hex" else base64.encodebytes(data).decode()


def residuals(channels, leads) -> list[np.ndarray]:
    """What the formulas of III, aVR, aVL and aVF, whose halves go towards zero, leave over."""
    lead, out = dict(zip(leads, channels)), list(channels)
    formula = {
        "III": lambda: lead["II"] - lead["I"] - lead["III"],
        "aVR": lambda: -np.fix((lead["I"] + lead["II"]) / 2) - lead["aVR"],
        "aVL": lambda: np.fix((lead["I"] - lead["III"]) / 2) - lead["aVL"],
        "aVF": lambda: np.fix((lead["II"] + lead["III"]) / 2) - lead["aVF"],
    }
    for i, name in enumerate(leads):
        out[i] = formula[name]().astype(np.int64) if name in formula else out[i]
    return out


def xli(channels) -> bytes:
    packed = b""
    for row in channels:
        z = [int(value) for value in row]
        bends = [2 * z[i - 1] - z[i - 2] - z[i] for i in range(2, len(z))]
        words = [*z[:2], *(bend + 64 for bend in bends[1:]), 64][: len(z)]
        planes = bytes(w >> 8 & 255 for w in words) + bytes(w & 255 for w in words)
        body = bits(lzw(planes))
        packed += struct.pack("<IHh", len(body), 1, bends[0] if bends else 0) + body
    return packed


def lzw(data: bytes) -> list[int]:
    table, codes, word = {bytes((i,)): i for i in range(256)}, [], b""
    for i in data:
        longer = word + bytes((i,))
        if longer in table:
            word = longer
            continue
        codes.append(table[word])
        if len(table) < 1023:
            table[longer] = len(table)
        word = bytes((i,))
    return [*codes, table[word], 1023]


def bits(codes) -> bytes:
    """Ten bits each, the first bit first."""
    text = "".join(f"{code:010b}" for code in codes)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def with_pulse(digital: np.ndarray, rate: float) -> np.ndarray:
    """A calibration pulse of 1 mV in all leads after the signal: 0.1 s of zero, 0.2 s, 0.1 s of zero."""
    pulse = np.repeat([0, 1, 0], [round(part * rate) for part in (0.1, 0.2, 0.1)]) * round(1 / STEP)
    return np.concatenate([digital, np.tile(pulse, (len(digital), 1))], axis=1)


def variants(folder) -> list[Path]:
    """Small valid files of every kind that the reader tells apart."""
    folder = Path(folder)
    digital = np.round(np.random.default_rng(5).normal(0, 30, (15, 60)).cumsum(axis=1)).astype(np.int64)
    x, few = digital * STEP, digital[:3] * STEP
    beat = repbeats(digital[:3, :25], LEADS[:3], 500)
    old = {"kind": "SierraECG", "version": "1.03"}
    mute = {"compression": None, "leadlabels": None, "numberofleads": None, "samplespersecond": None}
    flag = mute | {"compressflag": "True", "compressmethod": "XLI", "nbitspersample": "16", "resolution": None}
    rates = "<samplingrate>250</samplingrate><signalresolution>1</signalresolution>"
    rates += "<signalbandwidth>0.05-150</signalbandwidth><numberchannelsallocated>12</numberchannelsallocated>"
    plain = {"packing": "", "encoding": "Plain"}
    direct = repbeats(digital[:3, :25], LEADS[:3], 500, "Plain", False, samplespersec=None)
    final = interpretation(rate="70", date="2011-12-02", after="<confirmingclinician>DR WHO</confirmingclinician>")
    made = {
        "xli": save(folder / "xli.xml", x[:12], 250, LEADS, spare=2, beats=beat),
        "old": save(folder / "old.xml", x[:12], 250, LEADS, **old, wave=flag, acquired=rates, beats=direct),
        "wide": save(folder / "wide.xml", few, 250, LEADS[:3], charset="utf-16", packing="", version="1.04.01"),
        "plain": save(folder / "plain.xml", few, 250, LEADS[:3], **plain, interpretations=interpretation() + final),
        "hex": save(folder / "hex.xml", few, 250, LEADS[:3], packing="", encoding="Hex", wave={"signaloffset": "7"}),
        "more": save(folder / "more.xml", x, 250, (*LEADS, "V3R", "V4R", "V7"), version="1.04.02"),
        "odd": save(folder / "odd.xml", few, 250, ("-aVR", "V3d", "RESP"), **plain),
    }
    pulse = with_pulse(digital[:3], 250) * STEP
    return [*made.values(), save(folder / "pulse.xml", pulse, 250, LEADS[:3])]
