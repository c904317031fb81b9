"""What a simulated ECG can show: names, codes and the words of the report.

A finding's name is its SCP-ECG statement where there is one. STE-A, STE-I and STE-L (ST elevation by territory) and
2AVB1, 2AVB2 (Wenckebach, Mobitz II) are finer than SCP; they carry the SCP code of the whole.
SNOMED CT codes are those of the PhysioNet/CinC Challenges 2020-2021.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A label: its codes, and how reports word it in English and in German."""

    name: str
    codes: tuple[str, ...]
    english: tuple[str, ...]
    german: tuple[str, ...]


def _finding(name: str, codes: str, english: str, german: str) -> Finding:
    return Finding(name, tuple(codes.split()), tuple(english.split("|")), tuple(german.split("|")))


FINDINGS = (
    _finding("NORM", "scp:NORM", "normal ECG|ECG within normal limits", "Normales EKG|EKG ohne pathologischen Befund"),
    _finding("SR", "scp:SR snomed:426783006", "sinus rhythm|normal sinus rhythm", "Sinusrhythmus|normofrequenter Sinusrhythmus"),
    _finding("SBRAD", "scp:SBRAD snomed:426177001", "sinus bradycardia|bradycardic sinus rhythm", "Sinusbradykardie|bradykarder Sinusrhythmus"),
    _finding("STACH", "scp:STACH snomed:427084000", "sinus tachycardia|tachycardic sinus rhythm", "Sinustachykardie|tachykarder Sinusrhythmus"),
    _finding("SARRH", "scp:SARRH snomed:427393009", "sinus arrhythmia|respiratory sinus arrhythmia", "Sinusarrhythmie|respiratorische Sinusarrhythmie"),
    _finding("AFIB", "scp:AFIB snomed:164889003", "atrial fibrillation|absolute arrhythmia in atrial fibrillation", "Vorhofflimmern|absolute Arrhythmie bei Vorhofflimmern"),
    _finding("AFLT", "scp:AFLT snomed:164890007", "atrial flutter|typical atrial flutter", "Vorhofflattern|typisches Vorhofflattern"),
    _finding("SVTAC", "scp:SVTAC snomed:426761007", "supraventricular tachycardia|narrow complex tachycardia without visible P waves", "supraventrikuläre Tachykardie|Schmalkomplextachykardie ohne erkennbare P-Wellen"),
    _finding("PACE", "scp:PACE snomed:10370003", "paced rhythm|ventricular pacing", "Schrittmacherrhythmus|ventrikuläre Schrittmacherstimulation"),
    _finding("PAC", "scp:PAC snomed:284470004", "premature atrial complexes|atrial extrasystoles", "supraventrikuläre Extrasystolen|SVES"),
    _finding("PVC", "scp:PVC snomed:427172004", "premature ventricular complexes|ventricular extrasystoles", "ventrikuläre Extrasystolen|VES"),
    _finding("BIGU", "scp:BIGU snomed:11157007", "ventricular bigeminy|bigeminal ventricular extrasystoles", "ventrikulärer Bigeminus|Bigeminus"),
    _finding("1AVB", "scp:1AVB snomed:270492004", "first degree AV block|prolonged PR interval, AV block I", "AV-Block I. Grades|AV-Block I°"),
    _finding("2AVB1", "scp:2AVB snomed:195042002 snomed:54016002", "second degree AV block, Wenckebach type|AV block II, Mobitz I", "AV-Block II. Grades Typ Wenckebach|AV-Block II° Mobitz I"),
    _finding("2AVB2", "scp:2AVB snomed:195042002 snomed:28189009", "second degree AV block, Mobitz II|AV block II with constant PR, Mobitz II", "AV-Block II. Grades Typ Mobitz|AV-Block II° Mobitz II"),
    _finding("3AVB", "scp:3AVB snomed:27885002", "third degree AV block|complete AV block with escape rhythm", "AV-Block III. Grades|kompletter AV-Block mit Ersatzrhythmus"),
    _finding("CRBBB", "scp:CRBBB snomed:59118001 snomed:713427006", "complete right bundle branch block|RBBB", "kompletter Rechtsschenkelblock|RSB"),
    _finding("CLBBB", "scp:CLBBB snomed:164909002 snomed:733534002", "complete left bundle branch block|LBBB", "kompletter Linksschenkelblock|LSB"),
    _finding("WPW", "scp:WPW snomed:74390002", "ventricular pre-excitation|WPW pattern with delta wave", "Präexzitation|WPW-Muster mit Deltawelle"),
    _finding("LAFB", "scp:LAFB snomed:445118002", "left anterior fascicular block|left anterior hemiblock", "linksanteriorer Hemiblock|LAHB"),
    _finding("LVH", "scp:LVH snomed:164873001", "left ventricular hypertrophy|voltage criteria for LVH", "Linksherzhypertrophie|Zeichen der linksventrikulären Hypertrophie"),
    _finding("LVOLT", "scp:LVOLT snomed:251146004", "low QRS voltages|low voltage", "Niedervoltage|niedrige QRS-Amplituden"),
    _finding("QWAVE", "scp:QWAVE snomed:164917005", "pathological Q waves|abnormal Q waves", "pathologische Q-Zacken|Q-Zacken"),
    _finding("AMI", "scp:AMI snomed:54329005", "anterior myocardial infarction|anterior infarct", "Vorderwandinfarkt|Myokardinfarkt der Vorderwand"),
    _finding("IMI", "scp:IMI snomed:73795002", "inferior myocardial infarction|inferior infarct", "Hinterwandinfarkt|inferiorer Myokardinfarkt"),
    _finding("LMI", "scp:LMI snomed:58612006", "lateral myocardial infarction|lateral infarct", "Seitenwandinfarkt|lateraler Myokardinfarkt"),
    _finding("STE-A", "scp:STE_ snomed:164931005", "anterior ST elevation|ST elevation in V1 to V4", "ST-Hebungen anterior|ST-Hebung V1 bis V4"),
    _finding("STE-I", "scp:STE_ snomed:164931005", "inferior ST elevation|ST elevation in II, III and aVF", "ST-Hebungen inferior|ST-Hebung in II, III und aVF"),
    _finding("STE-L", "scp:STE_ snomed:164931005", "lateral ST elevation|ST elevation in I, aVL, V5 and V6", "ST-Hebungen lateral|ST-Hebung in I, aVL, V5 und V6"),
    _finding("STD", "scp:STD_ snomed:429622005", "ST depression|depressed ST segments", "ST-Senkungen|gesenkte ST-Strecken"),
    _finding("INVT", "scp:INVT snomed:59931005", "T wave inversion|inverted T waves", "T-Negativierungen|negative T-Wellen"),
    _finding("LNGQT", "scp:LNGQT snomed:111975006", "long QT interval|prolonged QT", "verlängerte QT-Zeit|QT-Verlängerung"),
)  # fmt: skip
NAMES = tuple(finding.name for finding in FINDINGS)
CODES = tuple(dict.fromkeys(code for finding in FINDINGS for code in finding.codes))

# At most one of each group. The rest of RHYTHMS is sinus rhythm of 60 to 100 a minute.
RHYTHMS = ("SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "SVTAC", "PACE", "2AVB1", "2AVB2", "3AVB")
CONDUCTION = ("CRBBB", "CLBBB", "WPW")
SEGMENTS = ("STE-A", "STE-I", "STE-L", "STD")
SINUS = ("SR", "SBRAD", "STACH", "SARRH")
TERRITORIES = ("AMI", "IMI", "LMI")  # Q waves and ST elevation, in the order of STE-A, STE-I, STE-L
