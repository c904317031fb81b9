"""Reports in varied wording, English and German, from the findings and the measured rate and intervals."""

from __future__ import annotations

import random

from .findings import FINDINGS, NAMES

WORDS = {  # finding: English | ... , German | ...
    "SR": ("sinus rhythm|normal sinus rhythm", "Sinusrhythmus|normofrequenter Sinusrhythmus"),
    "SBRAD": ("sinus bradycardia|bradycardic sinus rhythm", "Sinusbradykardie|bradykarder Sinusrhythmus"),
    "STACH": ("sinus tachycardia|tachycardic sinus rhythm", "Sinustachykardie|tachykarder Sinusrhythmus"),
    "SARRH": ("sinus arrhythmia|respiratory sinus arrhythmia", "Sinusarrhythmie|respiratorische Sinusarrhythmie"),
    "AFIB": ("atrial fibrillation|irregular rhythm without P waves, atrial fibrillation",
             "Vorhofflimmern|absolute Arrhythmie bei Vorhofflimmern"),
    "AFLT": ("atrial flutter|typical atrial flutter", "Vorhofflattern|typisches Vorhofflattern"),
    "SVTAC": ("supraventricular tachycardia|narrow complex tachycardia without visible P waves",
              "supraventrikuläre Tachykardie|Schmalkomplextachykardie ohne erkennbare P-Wellen"),
    "PACE": ("paced rhythm|ventricular pacing", "Schrittmacherrhythmus|ventrikuläre Schrittmacherstimulation"),
    "PAC": ("premature atrial complexes|atrial extrasystoles", "supraventrikuläre Extrasystolen|SVES"),
    "PVC": ("premature ventricular complexes|ventricular extrasystoles", "ventrikuläre Extrasystolen|VES"),
    "BIGU": ("ventricular bigeminy|bigeminal rhythm", "ventrikulärer Bigeminus|Bigeminus"),
    "1AVB": ("first degree AV block|AV block I, prolonged PR interval", "AV-Block I. Grades|AV-Block I°"),
    "2AVB1": ("second degree AV block, Wenckebach type|AV block II, Mobitz type I",
              "AV-Block II. Grades Typ Wenckebach|AV-Block II° Typ Mobitz I"),
    "2AVB2": ("second degree AV block, Mobitz type II|AV block II, Mobitz II with constant PR",
              "AV-Block II. Grades Typ Mobitz II|AV-Block II° Mobitz II"),
    "3AVB": ("third degree AV block|complete AV block with escape rhythm",
             "AV-Block III. Grades|kompletter AV-Block mit Ersatzrhythmus"),
    "CRBBB": ("complete right bundle branch block|RBBB", "kompletter Rechtsschenkelblock|RSB"),
    "CLBBB": ("complete left bundle branch block|LBBB", "kompletter Linksschenkelblock|LSB"),
    "WPW": ("ventricular pre-excitation|WPW pattern with delta wave", "Präexzitation|WPW-Muster mit Deltawelle"),
    "LAFB": ("left anterior fascicular block|left anterior hemiblock", "linksanteriorer Hemiblock|LAHB"),
    "LVH": ("left ventricular hypertrophy|voltage criteria for LVH",
            "Linksherzhypertrophie|Zeichen der linksventrikulären Hypertrophie"),
    "LVOLT": ("low QRS voltages|low voltage", "Niedervoltage|niedrige QRS-Amplituden"),
    "QWAVE": ("pathological Q waves|abnormal Q waves", "pathologische Q-Zacken|auffällige Q-Zacken"),
    "AMI": ("anterior myocardial infarction|anterior infarct", "Vorderwandinfarkt|Myokardinfarkt der Vorderwand"),
    "IMI": ("inferior myocardial infarction|inferior infarct", "Hinterwandinfarkt|inferiorer Myokardinfarkt"),
    "LMI": ("lateral myocardial infarction|lateral infarct", "Seitenwandinfarkt|lateraler Myokardinfarkt"),
    "STE-A": ("anterior ST elevation|ST elevation in V1 to V4", "ST-Hebungen anterior|ST-Hebung in V1 bis V4"),
    "STE-I": ("inferior ST elevation|ST elevation in II, III and aVF",
              "ST-Hebungen inferior|ST-Hebung in II, III und aVF"),
    "STE-L": ("lateral ST elevation|ST elevation in I, aVL, V5 and V6",
              "ST-Hebungen lateral|ST-Hebung in I, aVL, V5 und V6"),
    "STD": ("ST depression|depressed ST segments", "ST-Senkungen|gesenkte ST-Strecken"),
    "INVT": ("T wave inversion|inverted T waves", "T-Negativierungen|negative T-Wellen"),
    "LNGQT": ("long QT interval|prolonged QT", "verlängerte QT-Zeit|QT-Verlängerung"),
    "NORM": ("normal ECG|ECG within normal limits", "normales EKG|EKG ohne pathologischen Befund"),
}  # fmt: skip
_FRAMES = (
    ("{0}.", "{0}. Rate {rate}/min.", "Rate {rate} bpm. {0}.", "ECG: {0}; heart rate {rate}/min.",
     "{0}. PR {pr} ms, QRS {qrs} ms, QT {qt} ms.", "{0}. QRS {qrs} ms."),
    ("{0}.", "{0}. Frequenz {rate}/min.", "HF {rate}/min. {0}.", "EKG: {0}; Frequenz {rate}/min.",
     "{0}. PQ {pr} ms, QRS {qrs} ms, QT {qt} ms.", "{0}. QRS {qrs} ms."),
)  # fmt: skip


PARTS = {"all": slice(None), "first": slice(0, None, 2), "second": slice(1, None, 2)}  # of wordings and of frames


def report(names: list[str], numbers: dict[str, int], german: bool, seed: str, wording: str = "all") -> str:
    """One report of the findings `names`. `numbers`: rate (a minute), pr, qrs, qt (ms; -1 where there is none)."""
    choose = random.Random(seed)
    words = [choose.choice(phrases(name, german, wording)) for name in (*NAMES[1:], "NORM") if name in names]
    words[0] = words[0][0].upper() + words[0][1:]
    text = choose.choice((", ", "; ", " - ")).join(words)
    frames = [frame for frame in _FRAMES[german][PARTS[wording]] if numbers["pr"] > 0 or "{pr}" not in frame]
    return choose.choice(frames).format(text, **numbers)


def phrases(name: str, german: bool, wording: str = "all") -> list[str]:
    """How a finding is called in reports of this wording: what the others, "first" and "second", never say."""
    return WORDS[name][german].split("|")[PARTS[wording]]


def prompts(codes: dict[str, tuple[str, ...]], wording: str = "all") -> dict[str, list[str]]:
    """Label -> what reports of this wording call the findings that have one of its codes, in both languages.

    Labels that the simulator has no finding for are left out.
    """
    found = {}
    for label, wanted in codes.items():
        names = [finding.name for finding in FINDINGS if set(finding.codes) & set(wanted)]
        found[label] = [said for name in names for german in (False, True) for said in phrases(name, german, wording)]
    return {label: said for label, said in found.items() if said}
