"""CardioSoft XML, written by hand: resting ECGs and exercise tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgraft.record import LEADS

STEP = 0.001  # mV of a unit
NAMES = ("GRAVES", "HENRIETTA", "OPERATORSON")  # what must not come out
NUMBER, BORN = "777-123-456", (15, 6, 1950)
LINES = (
    "Normal sinus rhythm",
    "When compared with ECG of 07-MAY-1997 14:51, nothing new",
    f"Confirmed by {NAMES[2]}",
)


def save(path, signal, rate, leads, **more) -> Path:
    """A file whose samples are round(signal / STEP) * STEP. `more`, see `document`."""
    digital = np.round(np.asarray(signal) / STEP).astype(np.int64)
    path = Path(path)
    path.write_text(document(strip(digital, rate, leads, **more.pop("strip", {})), **more), encoding="latin-1")
    return path


def settings(rate, count, leads, unit="uVperLsb", step="1") -> str:
    units = f' units="{unit}"' if unit else ""
    return f"""<NumberOfLeads>{leads}</NumberOfLeads><SampleRate units="Hz">{rate:g}</SampleRate>
<ChannelSampleCountTotal>{count}</ChannelSampleCountTotal><Resolution{units}>{step}</Resolution>"""


def strip(digital, rate, leads, tag="StripData", inner="", more="", **kind) -> str:
    """Leads of their own; `inner`: an element around each set of leads."""
    data = "".join(
        f'<WaveformData lead="{lead}">\n\t\t{",".join(map(str, row))}\n\t</WaveformData>'
        for lead, row in zip(leads, digital)
    )
    data = f"<{inner}>{data}</{inner}>" if inner else data
    return f"<{tag}>{settings(rate, len(digital[0]), len(leads), **kind)}{more}{data}</{tag}>"


def whole(digital, rate, leads, by_second=True, total="") -> str:
    """FullDisclosure: a second of each lead after the other, or sample by sample."""
    C, T = digital.shape
    rows = digital.reshape(C, T // rate, rate).swapaxes(0, 1).ravel() if by_second else digital.T.ravel()
    data = "".join(f"{value},{chr(10) if i % 20 == 19 else ''}" for i, value in enumerate(rows))
    return f"""<FullDisclosure><StartTime><Minute>0</Minute><Second>1</Second></StartTime>
<NumberOfChannels>{C}</NumberOfChannels><SampleRate units="Hz">{rate}</SampleRate>
<Resolution units="uVperLsb">1</Resolution><LeadOrder>{",".join(leads)}</LeadOrder>
<FullDisclosureData>{total}{data}</FullDisclosureData></FullDisclosure>"""


def document(
    *groups,
    medians="",
    lines=LINES,
    conclusion=(),
    person='<Age units="years">53</Age>',
    kind="RestECG",
    day=(1, 12, 2011),
) -> str:
    said = "".join(f"<DiagnosisText>{line}</DiagnosisText>" for line in lines)
    final = "".join(f"<ConclusionText>{line}</ConclusionText>" for line in conclusion)
    born, on = (f"<Day>{d}</Day><Month>{m}</Month><Year>{y}</Year>" for d, m, y in (BORN, day))
    return f"""<?xml version="1.0" encoding="ISO8859-1" ?>
<CardiologyXML><ObservationType>{kind}</ObservationType><ObservationDateTime><Hour>7</Hour>{on}</ObservationDateTime>
<ClinicalInfo><Technician><FamilyName>{NAMES[2]}</FamilyName></Technician>
<DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>V6.73</SoftwareVer><AnalysisVer>12SL V21</AnalysisVer></DeviceInfo>
</ClinicalInfo><PatientInfo><PID>{NUMBER}</PID><Name><FamilyName>{NAMES[0]}</FamilyName><GivenName>{NAMES[1]}</GivenName>
</Name>{person}<BirthDateTime>{born}</BirthDateTime><Gender>FEMALE</Gender><Height units="cm">175</Height>
<Weight units="lb">165</Weight></PatientInfo>
<FilterSetting><CubicSpline>No</CubicSpline><Filter50Hz>No</Filter50Hz><Filter60Hz>Yes</Filter60Hz>
<LowPass units="Hz">100</LowPass><HighPass units="Hz">0.01</HighPass></FilterSetting>
<Interpretation><Diagnosis>{said}</Diagnosis><Conclusion>{final}</Conclusion></Interpretation>
<RestingECGMeasurements><VentricularRate units="BPM">74</VentricularRate><PQInterval units="ms">172</PQInterval>
<QRSDuration units="ms">74</QRSDuration><QTInterval units="ms"></QTInterval><QTCInterval units="ms">-1</QTCInterval>
<PAxis units="degrees">43</PAxis><RAxis units="degrees">-20</RAxis>{medians}</RestingECGMeasurements>
{"".join(groups)}</CardiologyXML>"""


def variants(folder) -> list[Path]:
    """Small valid files of every kind that the reader tells apart."""
    folder = Path(folder)
    digital = np.round(np.random.default_rng(5).normal(0, 20, (12, 200)).cumsum(axis=1)).astype(np.int64)
    three, bike = digital[:3], ("I", "2", "3")
    median = strip(
        digital[:2, :40], 500, ("I", "II"), "MedianSamples", more="<FirstValid>2</FirstValid><LastValid>39</LastValid>"
    )
    beats = '<ArrhythmiaResults><Time units="ms">505</Time><BeatClass>dominant</BeatClass></ArrhythmiaResults>'
    strips = strip(three[:, :50], 50, bike, inner="Strip")
    medians = strip(three[:, :30], 50, bike, "MedianData", inner="Median")
    exercise = {"kind": "ExerciseECG", "lines": (), "person": '<Age units="months">30</Age>'}
    texts = {
        "rest": document(strip(digital[:, :60], 500, LEADS, more=beats), medians=median, conclusion=("Normal ECG",)),
        "bike": document(strips, medians, whole(three, 50, bike), **exercise),
        "mixed": document(
            whole(three, 50, bike, by_second=False, total="<SampleCountTotal>9</SampleCountTotal>"), **exercise
        ),
        "inside": document(f"<Strip>{strip(three, 500, LEADS[:3])}</Strip>", person=""),
        "silent": document(strip(three, 500, LEADS[:3], unit="", step="2.5"), medians=median.replace("500", "")),
    }
    for name, text in texts.items():
        (folder / f"{name}.xml").write_text(text, encoding="latin-1")
    return [folder / f"{name}.xml" for name in texts]
