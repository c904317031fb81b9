"""Which findings each record has, and its rate and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .config import Config
from .draw import Draw
from .findings import CONDUCTION, INFARCTS, RHYTHMS, SEGMENTS, SINUS


@dataclass
class Plan:
    """Per record, (B,): `has` maps a finding to a bool tensor; intervals in seconds."""

    has: dict[str, torch.Tensor]
    rr: torch.Tensor  # mean interval of the ventricles; of the atria in 2AVB1, 2AVB2 and 3AVB
    flutter: torch.Tensor  # duration of a flutter wave
    pr: torch.Tensor  # P onset to QRS onset
    p: torch.Tensor  # duration of P
    qrs: torch.Tensor  # duration of QRS
    ectopic_qrs: torch.Tensor  # duration of a ventricular (ectopic, paced, escape) QRS
    qtc: torch.Tensor  # QT at a rate of 60 a minute (Fridericia)
    t_share: torch.Tensor  # duration of T as a share of the time from QRS offset to T offset
    handheld: torch.Tensor  # bool

    def any(self, *names: str) -> torch.Tensor:
        """Has it one of these findings? (B,)"""
        return torch.stack([self.has[name] for name in names]).any(0)


def plan(draw: Draw, patient: Draw, config: Config) -> Plan:
    """Rhythm and ischemia are the record's; conduction, hypertrophy, infarcts and geometry are the patient's."""
    has = _rhythm(draw, config)
    has |= _ectopy(draw, has, config)
    has |= _morphology(draw, patient, has, config)
    flutter = draw.normal("flutter", 0.215, 0.02).clamp(0.17, 0.27)
    rr = 60 / _rate(draw, has, flutter)
    qrs = _qrs_duration(patient, has)
    qtc = patient.normal("qtc", 0.405, 0.021).clamp(0.35, 0.455)
    qtc = torch.where(has["LNGQT"], draw.uniform("qtc/long", 0.48, 0.58), qtc) + 0.6 * (qrs - 0.095).clamp(min=0)
    p = patient.normal("p/duration", 0.102, 0.013) + 0.012 * patient.chance("p/wide", 0.15)
    ectopic = patient.normal("ectopic/duration", 0.152, 0.017).clamp(0.122, 0.2)
    t_share = patient.normal("t/share", 0.65, 0.075).clamp(0.42, 0.85)
    pr = _pr(draw, patient, has, rr)
    handheld = draw.chance("handheld", config.handheld)
    return Plan(
        has, rr, flutter, pr, torch.minimum(p.clamp(0.065, 0.15), 0.84 * pr), qrs, ectopic, qtc, t_share, handheld
    )


def _one_of(draw: Draw, name: str, group: tuple[str, ...], config: Config) -> dict[str, torch.Tensor]:
    """At most one finding of a group, each with its prevalence."""
    shares = [config.share(member) for member in group]
    which = draw.choice(name, [*shares, max(1 - sum(shares), 0)])
    return {member: which == i for i, member in enumerate(group)}


def _rhythm(draw: Draw, config: Config) -> dict[str, torch.Tensor]:
    has = _one_of(draw, "rhythm", RHYTHMS, config)
    has["SR"] = ~torch.stack(list(has.values())).any(0)
    return has


def _sinus(has: dict) -> torch.Tensor:
    return torch.stack([has[name] for name in SINUS]).any(0)


def _ectopy(draw: Draw, has: dict, config: Config) -> dict[str, torch.Tensor]:
    """What is wanted; the labels come from the beats that there are."""
    wanted = {name: draw.chance(name, config.share(name)) for name in ("PAC", "PVC", "BIGU", "1AVB")}
    sinus = _sinus(has)
    bigeminy = wanted["BIGU"] & sinus & ~has["STACH"]
    return {
        "BIGU": bigeminy,
        "PVC": (wanted["PVC"] & (sinus | has["AFIB"])) | bigeminy,
        "PAC": wanted["PAC"] & sinus & ~bigeminy,
        "1AVB": wanted["1AVB"] & sinus & ~has["STACH"],
    }


def _morphology(draw: Draw, patient: Draw, has: dict, config: Config) -> dict[str, torch.Tensor]:
    own = ~(has["PACE"] | has["3AVB"])  # the ventricles are reached by the conduction system
    out = {name: yes & own for name, yes in _one_of(patient, "conduction", CONDUCTION, config).items()}
    out["WPW"] = out["WPW"] & _sinus(has) & ~has["1AVB"]
    narrow = own & ~out["CLBBB"] & ~out["WPW"]
    out |= {name: yes & narrow for name, yes in _one_of(draw, "segment", SEGMENTS, config).items()}
    for name in ("LAFB", "LVH", "QWAVE"):
        out[name] = patient.chance(name, config.share(name)) & narrow
    out["LVOLT"] = patient.chance("LVOLT", config.share("LVOLT")) & ~out["LVH"]
    out["INVT"] = draw.chance("INVT", config.share("INVT")) & narrow & ~out["CRBBB"]
    fast = has["STACH"] | has["SVTAC"] | has["AFLT"]
    out["LNGQT"] = draw.chance("LNGQT", config.share("LNGQT")) & own & ~fast
    site = patient.choice("site", (3, 3, 2))  # of an old infarct
    for i, (name, elevation) in enumerate(zip(INFARCTS, SEGMENTS)):
        out[name] = (out["QWAVE"] & (site == i)) | out[elevation]
    return out


def _rate(draw: Draw, has: dict, flutter: torch.Tensor) -> torch.Tensor:
    """Beats a minute: of the ventricles, of the atria in 2AVB1, 2AVB2 and 3AVB."""
    rates = {
        "SR": draw.normal("rate/SR", 75, 11).clamp(62, 97),
        "SBRAD": draw.normal("rate/SBRAD", 52, 5).clamp(36, 58),
        "STACH": 103 + 38 * draw.uniform("rate/STACH") ** 2 + 35 * draw.uniform("rate/more") ** 4,
        "SARRH": draw.normal("rate/SARRH", 72, 10).clamp(62, 92),
        "AFIB": draw.lognormal("rate/AFIB", 88, 0.3).clamp(42, 175),
        "AFLT": 60 / (flutter * (2 + draw.choice("ratio", (5, 3, 4)))),
        "SVTAC": draw.normal("rate/SVTAC", 172, 18).clamp(130, 215),
        "PACE": 60 + 30 * draw.uniform("rate/PACE") ** 3,
        "2AVB1": draw.normal("rate/2AVB", 78, 10).clamp(58, 105),
        "2AVB2": draw.normal("rate/2AVB", 78, 10).clamp(58, 105),
        "3AVB": draw.normal("rate/3AVB", 85, 12).clamp(60, 115),
    }
    return sum(has[name] * rate for name, rate in rates.items())


def _pr(draw: Draw, patient: Draw, has: dict, rr: torch.Tensor) -> torch.Tensor:
    """P onset to QRS onset: shorter at a fast rate, over 200 ms in 1AVB, under 120 ms in WPW."""
    pr = patient.normal("pr", 0.158, 0.019).clamp(0.122, 0.198)
    pr = torch.where(has["STACH"], torch.minimum(pr, 0.16 - 0.1 * (0.6 - rr)), pr)
    pr = torch.where(has["1AVB"], draw.uniform("pr/long", 0.208, 0.34), pr)
    return torch.where(has["WPW"], draw.uniform("pr/short", 0.085, 0.115), pr)


def _qrs_duration(patient: Draw, has: dict) -> torch.Tensor:
    duration = patient.normal("qrs/duration", 0.092, 0.0095).clamp(0.068, 0.108)
    duration = duration + 0.006 * has["LVH"] + 0.005 * has["LAFB"]
    wide = {
        "CRBBB": patient.normal("qrs/CRBBB", 0.138, 0.011).clamp(0.121, 0.175),
        "CLBBB": patient.normal("qrs/CLBBB", 0.147, 0.013).clamp(0.122, 0.19),
        "WPW": patient.normal("qrs/WPW", 0.13, 0.012).clamp(0.111, 0.165),
    }
    for name, value in wide.items():
        duration = torch.where(has[name], value, duration)
    return duration
