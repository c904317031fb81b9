"""An encoder of GE MUSE XML, apart from the reader: what a small export looks like, and its variants."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np

STEP = 0.001  # mV
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
PATIENT = """<PatientID>99887766</PatientID><PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits>
<DateofBirth>03-02-1950</DateofBirth><Gender>FEMALE</Gender><HeightCM>170</HeightCM><WeightLBS>154</WeightLBS>
<PatientLastName>Quastenflosser</PatientLastName><PatientFirstName>Latimeria</PatientFirstName>"""
TEST = """<SiteName>Klinik Tiefsee</SiteName><AcquisitionDevice>MAC55 001234567</AcquisitionDevice>
<Status>CONFIRMED</Status><AcquisitionTime>09:15:11</AcquisitionTime><AcquisitionDate>08-17-2011</AcquisitionDate>
<OverreaderLastName>Wellenreiter</OverreaderLastName>"""
MEASURED = """<VentricularRate>60</VentricularRate><PRInterval>160</PRInterval><QRSDuration>90</QRSDuration>
<QTInterval>400</QTInterval><QTCorrected>401</QTCorrected><PAxis>45</PAxis><RAxis>-12</RAxis><TAxis>0</TAxis>
<QRSCount>1</QRSCount><QOnset>100</QOnset><QOffset>145</QOffset><POnset>20</POnset><POffset>70</POffset>
<TOffset>300</TOffset><ECGSampleBase>500</ECGSampleBase><ECGSampleExponent>0</ECGSampleExponent>"""
DIAGNOSIS = """<Modality>RESTING</Modality>
<DiagnosisStatement><StmtText>Sinus rhythm</StmtText></DiagnosisStatement>
<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>with 1st degree A-V block</StmtText></DiagnosisStatement>
<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtFlag>DELETED</StmtFlag><StmtText>Old infarct</StmtText>
</DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag>
<StmtText>When compared with ECG of 12-MAR-2010 10:21, PR has increased</StmtText></DiagnosisStatement>
<DiagnosisStatement><StmtFlag>USERINSERT</StmtFlag>
<StmtText>Confirmed by Wellenreiter, Anna M.D. on 8/18/2011</StmtText></DiagnosisStatement>"""


def lead(name: str, numbers, *, per_bit="1", unit="MICROVOLTS", crc=None, packed=None, more="", count=None) -> str:
    """A LeadData element of int16."""
    data = np.asarray(numbers).astype("<i2").tobytes()
    words = base64.b64encode(data).decode() if packed is None else packed
    words = "\n".join(words[i : i + 76] for i in range(0, len(words), 76))
    crc = zlib.crc32(data) if crc is None else crc
    return f"""<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>
<LeadSampleCountTotal>{len(numbers) if count is None else count}</LeadSampleCountTotal>
<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits>
<LeadHighLimit>32767</LeadHighLimit><LeadLowLimit>-32768</LeadLowLimit><LeadID>{name}</LeadID>
<LeadSampleSize>2</LeadSampleSize><LeadOff>FALSE</LeadOff>{more}<LeadDataCRC32>{crc}</LeadDataCRC32>
<WaveFormData>
{words}
</WaveFormData></LeadData>
"""


def waveform(leads: str, rate=500, kind="Rhythm", exponent=0, more="") -> str:
    return f"""<Waveform><WaveformType>{kind}</WaveformType><SampleType>CONTINUOUS_SAMPLES</SampleType>
<SampleBase>{rate}</SampleBase><SampleExponent>{exponent}</SampleExponent><HighPassFilter>16</HighPassFilter>
<LowPassFilter>150</LowPassFilter><ACFilter>60</ACFilter>{more}
{leads}</Waveform>
"""


def document(body: str, patient=PATIENT, test=TEST, encoding="ISO-8859-1") -> bytes:
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
    return f"""{head}<RestingECG><MuseInfo><MuseVersion>9.0.10.18530</MuseVersion></MuseInfo>
<PatientDemographics>{patient}</PatientDemographics><TestDemographics>{test}</TestDemographics>
{body}</RestingECG>
""".encode(encoding)


def save(path, signal, rate, leads, **more) -> Path:
    """`signal` (C, T) in mV, stored in steps of STEP. `more`: body, patient, test, encoding."""
    numbers = np.rint(np.asarray(signal) / STEP).astype(int)
    waves = waveform("".join(lead(name, row) for name, row in zip(leads, numbers)), f"{rate:g}")
    body = more.pop("body", "") + waves
    path = Path(path)
    path.write_bytes(document(body, **more))
    return path


def beats(*times, shapes=(), rr="") -> str:
    """QRSTimesTypes with the times as they are."""
    shapes = shapes or (0,) * len(times)
    marks = "".join(f"<QRS><Type>{shape}</Type><Time>{time}</Time></QRS>" for shape, time in zip(shapes, times))
    return f"<QRSTimesTypes>{marks}<GlobalRR>{rr}</GlobalRR></QRSTimesTypes>"


def variants(folder) -> list[Path]:
    """Small files of every kind that is read."""
    rng, folder = np.random.default_rng(5), Path(folder)
    x = rng.integers(-900, 900, (12, 30))
    eight = "".join(lead(name, row) for name, row in zip(EIGHT, x))
    block = f"<RestingECGMeasurements>{MEASURED}</RestingECGMeasurements>"
    original = f"<OriginalRestingECGMeasurements>{MEASURED}</OriginalRestingECGMeasurements>"
    told = f"<Diagnosis>{DIAGNOSIS}</Diagnosis><OriginalDiagnosis>{DIAGNOSIS}</OriginalDiagnosis>"
    median = waveform("".join(lead(name, row[:20]) for name, row in zip(EIGHT, x)), kind="Median")
    one = x[0].astype("<i2").tobytes()
    bodies = {
        "full": block + told + beats(10, 30, 50, rr="1000") + median + waveform(eight),
        "original": original + f"<OriginalDiagnosis>{DIAGNOSIS}</OriginalDiagnosis>" + waveform(eight, 5, exponent=2),
        "fifteen": waveform("".join(lead(f"V{i}R", row) for i, row in enumerate(x)) + lead("I", x[0]), 250),
        "hex": waveform(lead("I", x[0], packed=one.hex(), crc="")),
        "comma": waveform(lead("II", x[1], per_bit="4,88") + lead("V9", x[2], per_bit="-10")),
        "later": waveform(lead("I", x[0]) + lead("II", x[1], more="<LeadOffsetFirstSample>15</LeadOffsetFirstSample>")),
        "empty lead": waveform(lead("I", x[0]) + lead("II", [], packed="")),
        "bare": "<Waveform>" + lead("I", x[0], unit="MILLIVOLTS", per_bit="0.001", crc="0") + "</Waveform>",
    }
    for name, body in bodies.items():
        (folder / f"{name}.xml").write_bytes(document(body))
    (folder / "latin.xml").write_bytes(document(bodies["hex"], PATIENT.replace("Lati", "Lät"), encoding="windows-1252"))
    (folder / "utf16.xml").write_bytes(document(bodies["hex"], encoding="UTF-16"))
    return sorted(folder.glob("*.xml"))
