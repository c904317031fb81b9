"""Writing a record as a DICOM waveform object (PS3.3 A.34): the same record gives the same bytes.

A 12-lead ECG where the leads are of the twelve, the rate is 200 to 1000 Hz and there are at most 16384 samples; else
a general ECG (24 leads, 200 to 1000 Hz), an ambulatory one (12 leads, 50 to 1000 Hz), or a general 32-bit one. Nobody
is named: dates, which the standard wants, are of the year 1900, and UIDs come from the content. Labels, waves and beats
are not written.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from pathlib import Path

import numpy as np

from ...record import LEADS, InputError, Record
from .codes import MEANING, MEASURE, NUMBER, UNSPECIFIED

STORAGE = "1.2.840.10008.5.1.4.1.1.9.1."
TWELVE, GENERAL, AMBULATORY, LONG = (STORAGE + end for end in "1234")
MOST = 24  # leads in a group
UTF8, EXPLICIT = "ISO_IR 192", "1.2.840.10008.1.2.1"
UNKNOWN_DAY = "19000101"
PIECE = 1024  # characters of one text value
UNITS = {"": ("ms", "millisecond"), "axis": ("deg", "degree"), "rate": ("/min", "per minute")}
MEANINGS = {"heart rate": "Heart rate", "PR": "PR interval", "QRS": "QRS duration", "QT": "QT interval"}
MEANINGS |= {"QTc": "QTc interval", "RR": "RR interval"}


def write(record: Record, path: Path) -> list[Path]:
    """One file. A lead keeps the step it was recorded with where its values are whole numbers of that and not of 1 uV;
    else they are rounded to 1 uV, or to the finest step that holds the lead's range in 16 bit; in 32-bit objects to
    1 nV. Samples that are missing are the padding value."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    from .file import quiet

    with quiet():
        kind = _object(record, path)
        bits = 32 if kind == LONG else 16
        samples, steps = _quantised(record.signal, bits, _recorded(record))  # (C, T)
        names = _uids(record, samples, steps, kind)
        meta = FileMetaDataset()
        _fill(meta, MediaStorageSOPClassUID=kind, MediaStorageSOPInstanceUID=names[2], TransferSyntaxUID=EXPLICIT)
        _fill(meta, ImplementationClassUID=_uid("ecgraft"), ImplementationVersionName="ecgraft")
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        _header(data, record, kind, names)
        data.WaveformSequence = [_group(record, samples, steps, bits)]
        notes = _notes(record)
        if notes:
            data.WaveformAnnotationSequence = notes
        data.save_as(path, enforce_file_format=True)
    return [path]


def _object(record: Record, path: Path) -> str:
    """The class of object that the standard has for such leads, rate and length."""
    C, T = record.signal.shape
    if C > MOST:
        raise InputError(f"{path}: {C} leads; a DICOM ECG has at most {MOST}. Choose some")
    if set(record.leads) <= set(LEADS) and 200 <= record.rate <= 1000 and T <= 16384:
        return TWELVE
    if 200 <= record.rate <= 1000:
        return GENERAL
    return AMBULATORY if C <= 12 and 50 <= record.rate <= 1000 else LONG


def _recorded(record: Record) -> float:
    """The step (uV) that the record was made with, as its reader told; 0 where that is not known or differs."""
    try:
        return float(record.extra.get("resolution", "")) * 1e3
    except ValueError:
        return 0.0


def _whole(values: np.ndarray, step: float) -> bool:
    """Whether values (n,) uV, which were rounded to float32, are whole numbers of a step."""
    return bool(np.all(np.abs(values - np.rint(values / step) * step) <= 1e-4 * step + 1.2e-7 * np.abs(values)))


def _quantised(signal: np.ndarray, bits: int, recorded: float) -> tuple[np.ndarray, list[str]]:
    """(C, T) integers, the lowest where there is no sample; for each lead the uV of a step, as text."""
    top = 2 ** (bits - 1) - 1
    kind = np.dtype(f"<i{bits // 8}")
    samples, steps = np.full(signal.shape, -top - 1, kind), []
    for row, out in zip(signal, samples):
        known = np.isfinite(row)
        values = row[known].astype(np.float64) * 1e3  # uV
        largest = np.abs(values).max(initial=0.0)
        finest = 1.0 if bits == 16 else 1e-3
        holds = recorded > 1e-3 and np.rint(largest / recorded) <= top
        keeps = holds and not _whole(values, finest) and _whole(values, recorded)
        steps.append(f"{recorded:.6g}" if keeps else _step(largest, top, finest))
        out[known] = np.clip(np.rint(values / float(steps[-1])), -top, top)
    return samples, steps


def _step(largest: float, top: int, finest: float) -> str:
    """The smallest step from `finest` on by which `largest` uV is at most `top`, in the 16 letters of a number."""
    needed = largest / top
    if needed <= finest:
        return f"{finest:g}"
    digits = 10.0 ** (math.floor(math.log10(needed)) - 5)
    return f"{math.ceil(needed / digits) * digits:.6g}"


def _uid(text: str) -> str:
    """A UID of what is said: a UUID of version 5 as a number, under the arc for them (2.25)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'ecgraft:' + text).int}"


def _uids(record: Record, samples: np.ndarray, steps: list[str], kind: str) -> tuple[str, str, str]:
    """Of the study, the series and the object."""
    rest = (kind, record.leads, record.rate, steps, record.patient, record.age, record.sex, record.report)
    digest = hashlib.sha256(repr((*rest, sorted(record.values.items()))).encode() + samples.tobytes()).hexdigest()
    return _uid(f"study {digest}"), _uid(f"series {digest}"), _uid(f"object {digest}")


def _fill(data, **values) -> None:
    for keyword, value in values.items():
        setattr(data, keyword, value)


def _header(data, record: Record, kind: str, names: tuple[str, str, str]) -> None:
    """The modules of patient, study, series, equipment and waveform identification; what is not known is empty."""
    data.SpecificCharacterSet = UTF8
    _fill(data, SOPClassUID=kind, SOPInstanceUID=names[2], StudyInstanceUID=names[0], SeriesInstanceUID=names[1])
    _fill(data, StudyDate="", StudyTime="", StudyID="", AccessionNumber="", ReferringPhysicianName="")
    _fill(data, Modality="ECG", SeriesNumber="1", InstanceNumber="1", Manufacturer="ecgraft")
    _fill(data, ContentDate=UNKNOWN_DAY, ContentTime="000000", AcquisitionDateTime=UNKNOWN_DAY + "000000")
    _fill(data, PatientName="Anonymous^", PatientID=_identity(record.patient), PatientBirthDate="")
    _fill(data, PatientSex=record.sex or "", PatientIdentityRemoved="YES", AcquisitionContextSequence=[])
    data.DeidentificationMethod = "ecgraft keeps no names, numbers and dates"
    if record.age is not None and 0 <= record.age < 1000:
        data.PatientAge = _age(record.age)
    if "height" in record.values:
        data.PatientSize = f"{record.values['height'] / 100:.6g}"
    if "weight" in record.values:
        data.PatientWeight = f"{record.values['weight']:.6g}"


def _identity(patient: str | None) -> str:
    """A pseudonym that a patient ID can hold; one that it cannot as a hash of it."""
    if patient is None or (len(patient) <= 64 and patient.isprintable() and "\\" not in patient):
        return patient or ""
    return hashlib.sha256(patient.encode()).hexdigest()[:32]


def _age(years: float) -> str:
    """Whole years as "045Y"; from 2 years down in months, from a month down in days."""
    if years >= 2:
        return f"{int(years):03d}Y"
    months = int(years * 12 + 1e-6)
    return f"{months:03d}M" if months else f"{int(years * 365.25):03d}D"


def _group(record: Record, samples: np.ndarray, steps: list[str], bits: int):
    from pydicom.dataset import Dataset

    C, T = samples.shape
    group = Dataset()
    _fill(group, WaveformOriginality="ORIGINAL", NumberOfWaveformChannels=C, NumberOfWaveformSamples=T)
    _fill(group, SamplingFrequency=_number(record.rate), MultiplexGroupLabel="RHYTHM")
    group.ChannelDefinitionSequence = [_channel(name, step, bits) for name, step in zip(record.leads, steps)]
    _fill(group, WaveformBitsAllocated=bits, WaveformSampleInterpretation="SS" if bits == 16 else "SL")
    lowest = np.iinfo(samples.dtype).min
    if (samples == lowest).any():
        group.WaveformPaddingValue = np.array(lowest, samples.dtype).tobytes()
        group["WaveformPaddingValue"].VR = "OW"
    group.WaveformData = np.ascontiguousarray(samples.T).tobytes()
    group["WaveformData"].VR = "OW"
    return group


def _channel(name: str, step: str, bits: int):
    from pydicom.dataset import Dataset

    channel, number = Dataset(), NUMBER.get(name, UNSPECIFIED)
    _fill(channel, ChannelLabel=re.sub(r"[^ -\[\]-~]", "?", name)[:16].strip() or "ECG")
    channel.ChannelSourceSequence = [_code(f"2:{number}", "MDC", MEANING.get(name, "Unspecified lead"))]
    _fill(channel, ChannelSensitivity=step, ChannelSensitivityUnitsSequence=[_code("uV", "UCUM", "microvolt")])
    _fill(channel, ChannelSensitivityCorrectionFactor="1", ChannelBaseline="0", ChannelSampleSkew="0")
    channel.WaveformBitsStored = bits
    return channel


def _code(value: str, scheme: str, meaning: str):
    from pydicom.dataset import Dataset

    code = Dataset()
    _fill(code, CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    return code


def _notes(record: Record) -> list:
    """The report, a line an annotation, and the measurements."""
    from pydicom.dataset import Dataset

    found = []
    lines = (re.sub(r"[\x00-\x1f\x7f]+", " ", line).strip() for line in (record.report or "").splitlines())
    for piece in (line[i : i + PIECE] for line in lines for i in range(0, len(line), PIECE)):
        found.append(Dataset())
        _fill(found[-1], UnformattedTextValue=piece, ReferencedWaveformChannels=[1, 0], AnnotationGroupNumber=0)
    for name, (_, codes, _) in MEASURE.items():
        value = record.values.get(name)
        if value is not None and math.isfinite(value):
            unit = UNITS[name.rpartition(" ")[2] if name.endswith(("axis", "rate")) else ""]
            found.append(Dataset())
            _fill(found[-1], ConceptNameCodeSequence=[_code(codes[0], "MDC", MEANINGS.get(name, name))])
            _fill(found[-1], MeasurementUnitsCodeSequence=[_code(unit[0], "UCUM", unit[1])])
            _fill(found[-1], NumericValue=_number(value), ReferencedWaveformChannels=[1, 0], AnnotationGroupNumber=1)
    return found


def _number(value: float) -> str:
    """A decimal string of at most 16 letters, as exact as they allow."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)
