"""Schiller XML, written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgraft.record import LEADS

STEP = 0.001  # mV of a unit
NAMES = ("GRAVES", "HENRIETTA", "OPERATORSON")  # what must not come out
NUMBER, BORN, DAY, SERIAL = "777-123-456", "19500615", "20111201", "SN-0815"
MEASURED = {"HR": "61", "RR": "980", "P": "-", "PQ": "150", "QRS": "90", "QT": "400", "QTC": "29999", "AXIS_QRS": "-21"}
MARKS = {"R_QRS_ON": (20, 120), "R_QRS_OFF": (43, 142), "R_P_ON": (0, 100), "R_T_OFF": (90, 190)}


def save(path, signal, rate, leads, **more) -> Path:
    """A file whose samples are round(signal / STEP) * STEP. `more`, see `document`."""
    digital = np.round(np.asarray(signal) / STEP).astype(np.int64)
    path = Path(path)
    path.write_text(document(block(digital, rate, leads, **more.pop("block", {})), **more))
    return path


def block(
    digital,
    rate,
    leads,
    kind="ECG_RHYTHMS",
    unit="UV",
    per_bit="1.0",
    exponent="1",
    mark=",",
    coded="COMMASEPARATE",
) -> str:
    """An element `wavedata`."""
    channels = "".join(
        f"<channel><annotation_lead><name>R_AMPL</name><value>0.7</value></annotation_lead><name>{lead}</name>\n"
        f"<data>{mark.join(map(str, row))}{mark}</data><datastype>{coded}</datastype>"
        f"<samplecount>{len(row)}</samplecount></channel>"
        for lead, row in zip(leads, digital)
    )
    return f"""<wavedata><type>{kind}</type>
<resolution><samplerate><exponent>{exponent}</exponent><value>{rate:g}</value></samplerate><yres><unitperbit>{per_bit}</unitperbit><units>{unit}</units></yres></resolution>{channels}
<channelconfiguration>ECG_STANDARD</channelconfiguration></wavedata>"""


def document(
    *blocks, measured=MEASURED, marks=MARKS, texts=(("INTERPRETATION", f"Normal ECG\nConfirmed by {NAMES[2]}"),)
) -> str:
    values = "".join(
        f"<annotation_global><name>{name}</name><value>{value}</value></annotation_global>"
        for name, value in measured.items()
    )
    for name, times in marks.items():
        values += f"<rhythm_global><name>{name}</name>{''.join(f'<value>{at}</value>' for at in times)}</rhythm_global>"
    said = "".join(
        f"<textdata><type>{kind}</type><remarks/><textdata>{text}</textdata></textdata>" for kind, text in texts
    )
    filters = {"MAINS": "50", "HIGHPASS_CUTOFF_FREQ": "0.05", "LOWPASS_CUTOFF_FREQ": "150", "SMOOTHING": "OFF"}
    filters = "".join(f"<filter><name>{k}</name><value>{v}</value></filter>" for k, v in filters.items())
    return f"""<?xml version="1.0"?>
<com.xiriuz.sema.xml.schillerEDI.SchillerEDI>
<patdata><id>{NUMBER}</id><lastname>{NAMES[0]}</lastname><firstname>{NAMES[1]}</firstname><birthdate>{BORN}</birthdate>
<gender>FEMALE</gender><weight><value>80.5</value><unit>kg</unit></weight>
<height><value>0.0</value><unit>cm</unit></height></patdata>
<examdescript><startdatetime><date>{DAY}</date><time>072734000</time></startdatetime>
<idu><aquiring_user><id>{NAMES[2]}</id></aquiring_user></idu>
<aquiringdevice><hardware><vendor>Schiller</vendor><type>EmbeddedECG</type><model>AT-10P</model>
<serialnum>{SERIAL}</serialnum></hardware><software><version>252</version></software></aquiringdevice></examdescript>
<eventdata><event><offset>0</offset>{"".join(blocks)}{values}<filters_data>{filters}</filters_data>{said}</event></eventdata>
</com.xiriuz.sema.xml.schillerEDI.SchillerEDI>"""


def variants(folder) -> list[Path]:
    """Small valid files of every kind that the reader tells apart."""
    folder = Path(folder)
    digital = np.round(np.random.default_rng(5).normal(0, 30, (12, 200)).cumsum(axis=1)).astype(np.int64)
    few, leads = digital[:2, :60], ("I", "II")
    beats = block(digital[:2, :50], 500, leads, "ECG_AVERAGES")
    twelve = block(digital, 250, [lead.upper() for lead in LEADS])
    texts = {
        "beats": document(beats, block(few, 500, leads)),
        "several": document(block(few, 500, leads), block(few, 250, leads), twelve),
        "unmarked": document(block(few, 500, leads, "ECG"), marks={}, texts=(), measured={}),
        "semicolon": document(block(few / 1000, 500, leads, unit="MV", mark=";")),
        "blanks": document(block(few, 500, leads, mark=" ", per_bit="2.5")),
        "final": document(block(few, 500, leads), texts=(("INTERPRETATION", "first"), ("CONFIRMED", "final"))),
    }
    for name, text in texts.items():
        (folder / f"{name}.xml").write_text(text)
    return [folder / f"{name}.xml" for name in texts]
