"""An encoder of HL7 aECG, apart from the reader: what a small file looks like, and its variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 0.0005  # mV
CODES = {"aVR": "AVR", "aVL": "AVL", "aVF": "AVF"}
START = "20110817091511.000"
SUBJECT = """<id root="1.2.3" extension="99887766"/><subjectDemographicPerson><name><family>Quastenflosser</family>
<given>Latimeria</given></name><administrativeGenderCode code="F"/><birthTime value="19500302"/>
</subjectDemographicPerson>"""
DEVICE = """<author><seriesAuthor><manufacturedSeriesDevice><id extension="SN001234567"/>
<manufacturerModelName>ELI250</manufacturerModelName></manufacturedSeriesDevice><manufacturerOrganization>
<name>Mortara Instrument, Inc.</name></manufacturerOrganization></seriesAuthor></author>
<secondaryPerformer><seriesPerformer><assignedPerson><name>Wellenreiter</name></assignedPerson></seriesPerformer>
</secondaryPerformer><controlVariable><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_HIGH_PASS"/><component>
<controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ"/><value type="PQ" value="0.05" unit="Hz"/>
</controlVariable></component></controlVariable></controlVariable>"""


def clock(rate, start=START, absolute=True, unit="s", increment=None) -> str:
    factor = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    step = f'<increment value="{increment or repr(factor / rate)}" unit="{unit}"/>'
    kind, data = ("TIME_ABSOLUTE", "GLIST_TS") if absolute else ("TIME_RELATIVE", "GLIST_PQ")
    head = f'<head value="{start}"/>' if absolute else f'<head value="{start}" unit="s"/>'
    value = f'<value xsi:type="{data}">{head}{step}</value>'
    return f'<component><sequence><code code="{kind}"/>{value}</sequence></component>\n'


def lead(name: str, numbers, scale="0.5", unit="uV", origin="0", kind="SLIST_PQ") -> str:
    digits = " ".join(str(number) for number in numbers)
    code = f"MDC_ECG_LEAD_{CODES.get(name, name)}"
    return f"""<component><sequence><code code="{code}" codeSystem="2.16.840.1.113883.6.24"/>
<value xsi:type="{kind}"><origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>
<digits>{digits} </digits></value></sequence></component>
"""


def sequences(*parts: str) -> str:
    return f"<component><sequenceSet>{''.join(parts)}</sequenceSet></component>"


def series(*parts: str, code="RHYTHM", tag="series", more="") -> str:
    """A series of sequence sets; `more` comes after them (annotations, a derivation)."""
    around = "component" if tag == "series" else "derivation"
    low = f'<effectiveTime><low value="{START}"/></effectiveTime>'
    return f'<{around}><{tag}><code code="{code}"/>{low}{DEVICE}{"".join(parts)}{more}</{tag}></{around}>'


def boundary(low=None, high=None, at=None, absolute=False, lead="") -> str:
    """The time (and lead) of an annotation, in ms from the start or as time stamps."""
    unit = "" if absolute else ' unit="ms"'
    value = f'<value value="{at}"{unit}/>' if at is not None else "<value>"
    value += "".join(f'<{k} value="{v}"{unit}/>' for k, v in (("low", low), ("high", high)) if v is not None)
    value += "" if at is not None else "</value>"
    kind = "TIME_ABSOLUTE" if absolute else "TIME_RELATIVE"
    parts = f'<component><boundary><code code="{kind}"/>{value}</boundary></component>'
    parts += f'<component><boundary><code code="MDC_ECG_LEAD_{lead}"/></boundary></component>' if lead else ""
    return f"<support><supportingROI><code code='ROIPS'/>{parts}</supportingROI></support>"


def note(code: str, value: str = "", support: str = "", *inside: str) -> str:
    return f'<component><annotation><code code="{code}"/>{value}{support}{"".join(inside)}</annotation></component>\n'


def coded(code: str, system="2.16.840.1.113883.6.24", more="") -> str:
    return f'<value xsi:type="CE" code="{code}" codeSystem="{system}" {more}/>'


def measured(code: str, value, unit: str) -> str:
    return note(code, f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>')


def said(text: str) -> str:
    inner = note("MDC_ECG_INTERPRETATION_STATEMENT", f'<value xsi:type="ST">{text}</value>')
    return note("MDC_ECG_INTERPRETATION", "", "", inner)


def notes(*parts: str, person="") -> str:
    who = f"<assignedPerson><name>{person}</name></assignedPerson>" if person else "<assignedDevice/>"
    author = f"<author><assignedEntity><assignedAuthorType>{who}</assignedAuthorType></assignedEntity></author>"
    return f"<subjectOf><annotationSet>{author}{''.join(parts)}</annotationSet></subjectOf>"


def document(body: str, subject=SUBJECT, more="", encoding="utf-8", head="") -> bytes:
    return f"""<?xml version="1.0" encoding="{encoding}"?>{head}
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">
<id root="61d1a24f-b47e"/><code code="93000"/><effectiveTime><center value="20110817091511"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>{subject}</trialSubject></subject>
</subjectAssignment></componentOf></timepointEvent></componentOf>{more}
{body}</AnnotatedECG>
""".encode(encoding)


def save(path, signal, rate, leads, **more) -> Path:
    """`signal` (C, T) in mV, stored in steps of STEP. `more`: subject, more, encoding."""
    numbers = np.rint(np.asarray(signal) / STEP).astype(int)
    parts = [lead(name, row) for name, row in zip(leads, numbers)]
    path = Path(path)
    path.write_bytes(document(series(sequences(clock(rate), *parts)), **more))
    return path


def observed(loinc: str, value, unit: str) -> str:
    """What is known of the subject, by a LOINC code."""
    value = f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>'
    return f'<controlVariable><relatedObservation><code code="{loinc}"/>{value}</relatedObservation></controlVariable>'


def annotated() -> str:
    """Annotations of every kind, of a signal of 100 samples at 500 Hz (200 ms)."""
    r = note("MDC_ECG_WAVC_TYPE", coded("MDC_ECG_WAVC_PEAK"), boundary(at=72, lead="II"))
    qrs = note("MDC_ECG_WAVC", coded("MDC_ECG_WAVC_QRSWAVE"), boundary(60, 90))
    wave = note(
        "MDC_ECG_WAVC", coded("MDC_ECG_WAVC_PWAVE"), boundary(f"{START[:15]}020", f"{START[:15]}040", absolute=True)
    )
    end = note("MDC_ECG_WAVC", coded("MDC_ECG_WAVC_TWAVE"), boundary(high=160))
    beat = note(
        "MDC_ECG_BEAT", coded("MDC_ECG_BEAT_V_P_C"), "", wave, qrs, end, measured("MDC_ECG_TIME_PD_QT", 300, "ms")
    )
    rhythm = note("MDC_ECG_RHY", coded("MDC_ECG_RHY_ATR_FIB"), boundary(0, 200))
    snomed = coded("164889003", "2.16.840.1.113883.6.96", 'displayName="AF"')
    found = note("MDC_ECG_INTERPRETATION_STATEMENT", snomed)
    machine = notes(rhythm, beat, found, measured("MDC_ECG_HEART_RATE", 75, "bpm"), said("of a machine"))
    person = notes(
        said("Atrial fibrillation, seen by Dr. Wellenreiter"),
        said("unlike the ECG of 12-MAR-2010 10:21"),
        note("MDC_ECG_WAVC_TYPE", coded("MDC_ECG_WAVC_RWAVE"), "", r),
        note("MDC_ECG_WAVC_TYPE", coded("MDC_ECG_WAVC_QRSTWAVE"), boundary(58, 162, lead="I")),
        person="Wellenreiter",
    )
    return machine + person


def variants(folder) -> list[Path]:
    """Small files of every kind that is read."""
    rng, folder = np.random.default_rng(5), Path(folder)
    x = rng.integers(-900, 900, (12, 100))
    two = lead("I", x[0]) + lead("II", x[1])
    beat = series(
        sequences(clock(500, "0", False), lead("I", x[2][:50])), code="REPRESENTATIVE_BEAT", tag="derivedSeries"
    )
    quarter = [START, "20110817091511.040", "20110817091511.080"]
    threes = [
        sequences(clock(500, at), lead(f"V{i}", x[i][:20]), lead("aVR", x[0][:20])) for i, at in enumerate(quarter, 1)
    ]
    bodies = {
        "annotated": series(sequences(clock(500), two), more=annotated() + beat),
        "relative": series(sequences(clock(250, "0", False, "ms"), two), more=annotated()),
        "layout": series(*threes),
        "two series": series(sequences(clock(500), two)) + series(sequences(clock(1000, unit="us"), lead("V1", x[3]))),
        "beat only": beat.replace("derivation>", "component>").replace("derivedSeries", "series"),
        "rates": series(sequences(clock(500), two), sequences(clock(100), lead("V1", x[3]))),
        "decimals": series(sequences(clock(500), lead("I", x[0] / 4), lead("X", x[1], "1e-3", "mV", "-0.25"))),
        "nan": series(sequences(clock(500), lead("I", ["NaN", *x[0][1:]]))),
        "times": series(sequences(lead("I", x[0]), lead("II", [3], kind="LIST"))).replace(
            "</sequenceSet>",
            '<component><sequence><code code="TIME_RELATIVE"/><value><origin value="0" unit="s"/><scale value="2" '
            'unit="ms"/><digits>0 1 2 3</digits></value></sequence></component></sequenceSet>',
        ),
    }
    for name, body in bodies.items():
        more = observed("21612-7", 18, "mo") + observed("8302-2", 1.7, "m") if name == "annotated" else ""
        (folder / f"{name}.xml").write_bytes(document(body, more=more))
    (folder / "utf16.xml").write_bytes(document(bodies["nan"], encoding="utf-16"))
    return sorted(folder.glob("*.xml"))
