"""Philips ECG XML ("Sierra"), versions 1.03 to 1.04.02: PageWriter, HeartStart MRx, TraceMasterVue, IntelliSpace ECG.

By the schemas that come with sierra-ecg-tools (MIT). What they leave open was settled on real files: the last part of a
recording is a calibration pulse of 1 mV in all leads at once, which is no ECG and is cut off; up to four channels after
the named leads hold nothing else.
"""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..record import LEADS, InputError, Record
from ..signal.leads import LIMB
from . import Given, _digital, _said, check_size, resolution, told
from ._channels import MOST, NOT_ECG, unique
from ._given import NO_MEDIAN
from ._philips import about, xli
from ._xml import is_root, number, parse, root, text, to_number

TITLE, ROOT = "Philips ECG XML", "restingecgdata"
MEDIAN = True
KINDS = ("SierraECG", "PhilipsECG")
WORD = {"": "<i2", "8": "i1", "16": "<i2", "32": "<i4"}  # bits of a stored sample -> type
STANDARD = ("STD-12", "10-WIRE", "STD", "MASON-LIKAR")  # acquisitions whose leads are the twelve, in their order
PULSE = (950, 1050)  # uV


def claims(path: Path, head: bytes) -> int:
    return 2 if is_root(root(head)[0], ROOT) else 0


def read(path: Path, given: Given) -> Record:
    """The rhythm, or the representative beats with given.median. InputError for another version or compression."""
    tree = parse(path, ROOT)
    _check(tree, path)
    beats = tree.find("waveforms/repbeats")
    names, rows, rate, step, extra = _median(tree, beats, path) if given.median else _rhythm(tree, path, given)
    kept = [i for i, name in enumerate(names) if not NOT_ECG.match(name) and name.upper() != "PACE"]
    if not kept:
        raise InputError(f"{path}: no ECG among its channels ({', '.join(names)})")
    extra["skipped"] += [names[i] for i in range(len(names)) if i not in kept]
    signal = _digital.millivolt([rows[i] for i in kept], [step] * len(kept), "uV", path)
    leads = _named([names[i] for i in kept], signal, extra)
    person, derived = about.person(tree, given)
    extra["derived"] += derived
    facts = {"unit": "uV", "resolution": resolution([step / 1000])}
    facts |= {"device": about.device(tree), "filters": about.filters(tree)}
    said = about.statements(tree)
    if not given.median:
        facts["median"] = _median_there(tree, beats)
    return Record(signal, rate, leads, id=path.stem, **person, **said, extra=told(**facts, **extra))


def _check(tree: Element, path: Path) -> None:
    kind, version = text(tree, "documentinfo/documenttype"), text(tree, "documentinfo/documentversion")
    if kind not in KINDS:
        raise InputError(f"{path}: document type {kind[:40]!r}; only {' and '.join(KINDS)} are read")
    if not re.fullmatch(r"1\.0[34](\.\d+)?", version):
        raise InputError(f"{path}: version {version[:40]!r} of {kind}; versions 1.03 and 1.04 are read")


def _rhythm(tree: Element, path: Path, given: Given):
    """Names of the leads, their digital values (without offset), Hz, uV per unit, what there is to tell."""
    wave = tree.find("waveforms/parsedwaveforms")
    if wave is None or not text(wave):
        outside = tree.find("waveforms/unparsedwaveforms") is not None
        apart = tree.find("waveforms/leadwaveforms") is not None
        why = "its waveform lies in another file" if outside else "there is no waveform in it"
        why = "its leads are stored apart (leadwaveforms), which is not read" if apart else why
        raise InputError(f"{path}: {why}; export it with waveforms (parsedwaveforms)")
    rate = _setting(tree, wave, "samplespersecond", "samplingrate") or given.hz(path)
    step = _setting(tree, wave, "resolution", "resolution", "signalresolution")
    step = _digital.step(step or given.scale(path) * 1000, path)
    milliseconds = _number(wave.get("durationperchannel"))
    length = round(milliseconds * rate / 1000) if milliseconds else None
    check_size(length or 0, path)
    extra = {"assumed": [], "derived": [], "skipped": []}
    names = _names(tree, wave, path, given)
    if len(names) > MOST:
        raise InputError(f"{path}: {len(names)} leads; at most {MOST} are read")
    packed = _compression(wave)
    rows = _xli_rows(wave, names, extra, path) if packed else _plain_rows(wave, names, length, path)
    rows = [_digital.complete(row, length or 0, f"{path}: lead {name}") for name, row in zip(names, rows)]
    rows = [row[: length or min(map(len, rows))] for row in rows]
    rows = _limbs(rows, names, extra) if packed else rows
    offset = int(_setting(tree, wave, "signaloffset", "signaloffset") or 0)
    return names, _without_pulse([row - offset for row in rows], step, rate, extra), rate, step, extra


def _setting(tree: Element, wave: Element, attribute: str, *elements: str) -> float | None:
    """As the waveform says, else as it was when it was acquired."""
    own = _number(wave.get(attribute))
    signal = tree.find("dataacquisition/signalcharacteristics")
    later = (number(signal, name) for name in elements)
    return own if own is not None else next((value for value in later if value is not None), None)


def _number(said: str | None) -> float | None:
    return to_number(said or "")


def _names(tree: Element, wave: Element, path: Path, given: Given) -> list[str]:
    """The leads that are stored, by name; in 1.03 the twelve, as the acquisition says."""
    names = wave.get("leadlabels", "").split()
    count = _number(wave.get("numberofleads"))
    if names:
        return names[: int(count)] if count and count >= 1 else names
    signal = tree.find("dataacquisition/signalcharacteristics")
    count = int(number(signal, "numberchannelsallocated") or number(signal, "numberchannelsvalid") or 12)
    kinds = [text(signal, name) for name in ("acquisitiontype", "leadset")]
    if any(kind in STANDARD for kind in kinds):
        return list(LEADS[: max(count, 1)])
    return list(given.names(min(max(count, 1), MOST), path))


def _compression(wave: Element) -> str:
    method = wave.get("compression") or wave.get("compressmethod") or ""
    off = wave.get("compressflag", "").lower() == "false" or method.lower() in ("", "none", "uncompressed")
    return "" if off else method


def _xli_rows(wave: Element, names: list[str], extra: dict, path: Path) -> list[np.ndarray]:
    """The channels of the leads, as they are stored."""
    method, first = _compression(wave), names[:6]
    if method.upper() != "XLI":
        raise InputError(f"{path}: compressed by {method[:40]!r}; only XLI is known. Export it without compression")
    if set(names) & set(xli.RESIDUAL) and first != list(LEADS[: len(first)]):
        raise InputError(f"{path}: its leads begin with {', '.join(first)[:80]}; XLI is only known for I, II, III ...")
    rows, count = xli.channels(_bytes(wave, wave.get("dataencoding", ""), path), len(names), str(path))
    if len(rows) < len(names):
        raise InputError(f"{path}: {len(rows)} of its {len(names)} leads are in it; export it again")
    if count > len(names):
        extra["skipped"].append(f"{count - len(names)} channels after the leads")
    return rows


def _limbs(rows: list[np.ndarray], names: list[str], extra: dict) -> list[np.ndarray]:
    """Leads from channels of XLI, of which III, aVR, aVL and aVF (where they are) hold residuals."""
    first = [name for name in names[:6] if name in LIMB]
    if not set(first) & set(xli.RESIDUAL):
        return rows
    extra["derived"].append(f"{', '.join(first[2:])} from I, II and what is stored of them (halves towards zero)")
    return [*xli.limbs(rows[: len(first)], first), *rows[len(first) :]]


def _plain_rows(wave: Element, names: list[str], length: int | None, path: Path) -> list[np.ndarray]:
    """Lead after lead, as text or as binary words, lower byte first."""
    encoding = wave.get("dataencoding", "")
    if encoding.lower() == "plain":
        values = _digital.numbers(text(wave), str(path))
    else:
        bits = (wave.get("bitspersample") or wave.get("nbitspersample") or "").strip()
        values = _words(_bytes(wave, encoding, path), bits, wave.get("signalsigned", ""), path)
    length = length or len(values) // len(names)
    return [values[i * length : (i + 1) * length] for i in range(len(names))]


def _words(data: bytes, bits: str, signed: str, path: Path) -> np.ndarray:
    if bits not in WORD:
        raise InputError(f"{path}: samples of {bits[:20]!r} bits; 8, 16 and 32 are read")
    kind = WORD[bits].replace("i", "u") if signed.lower() == "false" else WORD[bits]
    size = np.dtype(kind).itemsize
    return np.frombuffer(data[: len(data) // size * size], kind).astype(np.float64)


def _bytes(wave: Element, encoding: str, path: Path) -> bytes:
    said = "".join(text(wave).split())
    try:
        if encoding.lower() == "base64":
            return b64decode(said, validate=True)
        if encoding.lower() == "hex":
            return bytes.fromhex(said)
    except ValueError as error:
        raise InputError(f"{path}: its waveform is not {encoding} ({error}); get the file again") from error
    raise InputError(f"{path}: its waveform is encoded as {encoding[:40]!r}; Base64 is needed")


def _without_pulse(rows: list[np.ndarray], step: float, rate: float, extra: dict) -> list[np.ndarray]:
    """The samples before the calibration pulse, where all leads end in the same 0, 1 mV, 0."""
    digital = np.stack(rows)  # (C, T)
    C, T = digital.shape
    differ = np.flatnonzero((digital != digital[0]).any(axis=0))
    start = differ[-1] + 1 if len(differ) else T
    tail = digital[0, start:] * step
    if C < 2 or len(tail) < max(0.2 * rate, 1) or not PULSE[0] <= tail.max() <= PULSE[1]:
        return rows
    if not np.isin(tail, (0, tail.max())).all() or (tail > 0).sum() < 0.05 * rate:
        return rows
    extra["skipped"].append(f"calibration pulse in the last {T - start} samples")
    return [row[:start] for row in rows]


def _median(tree: Element, beats: Element | None, path: Path):
    """As `_rhythm`, of the representative beats."""
    items = [] if beats is None else beats.findall("repbeat")
    if not items:
        raise InputError(f"{path}: {NO_MEDIAN}")
    if _compression(beats):
        raise InputError(f"{path}: its representative beats are compressed by {_compression(beats)[:40]!r}, not known")
    rate, step, assumed = _beat_settings(tree, beats)
    _digital.step(step, f"{path}, representative beats")
    names, rows = [], []
    for item in items[: MOST + 1]:
        name, wave = item.get("leadname", ""), item.find("waveform")
        wave = item if wave is None else wave
        encoding = beats.get("dataencoding", "")
        plain = encoding.lower() == "plain"
        where = f"{path}, representative beat of {name[:20]}"
        row = _digital.numbers(text(wave), where) if plain else _words(_bytes(wave, encoding, where), "16", "", path)
        length = round((_number(wave.get("duration")) or 0) * rate / 1000)
        names, rows = [*names, name], [*rows, _digital.complete(row, length, where)[: length or None]]
    return names, rows, rate, step, {"assumed": assumed, "derived": [], "skipped": ["the rhythm"]}


def _beat_settings(tree: Element, beats: Element) -> tuple[float | None, float | None, list[str]]:
    """Hz and uV per unit; those of the rhythm where the beats (of 1.03) have none."""
    wave = tree.find("waveforms/parsedwaveforms")
    wave = Element("parsedwaveforms") if wave is None else wave
    rate = _number(beats.get("samplespersec") or beats.get("samplespersecond"))
    step = _number(beats.get("resolution"))
    silent = [what for what, value in (("rate", rate), ("resolution", step)) if not value]
    rate = rate or _setting(tree, wave, "samplespersecond", "samplingrate") or 0
    step = step or _setting(tree, wave, "resolution", "resolution", "signalresolution")
    return rate, step, [f"{' and '.join(silent)} of the median beat as of the rhythm"] if silent else []


def _median_there(tree: Element, beats: Element | None) -> str:
    items = [] if beats is None else beats.findall("repbeat")
    rate = _beat_settings(tree, beats)[0] if items else 0
    if not rate or _compression(beats):
        return ""
    wave = items[0].find("waveform")
    duration = _number((items[0] if wave is None else wave).get("duration"))
    return _said.extent(round((duration or 0) * rate / 1000), rate, len(items))


def _named(names: list[str], signal: np.ndarray, extra: dict) -> tuple[str, ...]:
    """Lead names; -aVR is turned round, a lead that the device made up from fewer electrodes (V3d) loses its d."""
    for i, name in enumerate(names):
        if name.endswith("d") and name.lstrip("-")[:-1] in LEADS:
            extra["derived"].append(f"{name[:-1]} by the device, from fewer electrodes")
            name = name[:-1]
        if name == "-aVR":
            np.negative(signal[i], out=signal[i])
            extra["derived"].append("aVR from -aVR")
            name = "aVR"
        names[i] = name or f"channel {i + 1}"
    return unique(names)
