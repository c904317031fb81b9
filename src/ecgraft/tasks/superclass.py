"""PTB-XL's five diagnostic superclasses (several may hold), for records in SCP-ECG, SNOMED CT and AHA codes.

SCP: every diagnostic statement of scp_statements.csv, by its diagnostic_class. SNOMED CT and AHA (Mason et al.,
Circulation 2007;115:1325): the statements that say the same. A normal ECG has no code among those of the PhysioNet/CinC
challenge (426783006 is sinus rhythm, which most abnormal ECGs have too), so there NORM is unknown.
"""

from . import Task

SCP = {
    "NORM": "NORM",
    "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
    "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ANEUR EL ISCAN",
    "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
    "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
}
SNOMED = {
    "NORM": "",
    "MI": "164865005 164867002 54329005 57054005",
    # changes of ST or T, ischaemia, long QT, strain
    "STTC": "428750005 55930002 164930006 429622005 704997005 164934002 59931005 111975006 370365005 "
    "164861001 413444003 413844008 426434006 425419005 425623009",
    # bundle branch, fascicular, intraventricular and AV block, pre-excitation
    "CD": "6374002 733534002 164909002 251120003 713427006 59118001 713426002 445118002 445211001 698252002 82226007 "
    "233917008 270492004 195042002 54016002 426183003 28189009 27885002 204384007 74390002 195060002",
    "HYP": "164873001 89792004 266249003 67741000119109 446813000 446358003 195126007 253352002 253339007",
}
AHA = {
    "NORM": "1",
    "MI": "160 161 162 163 165 166 173 174",
    "STTC": "145 146 147 148 153",
    "CD": "82 83 84 85 86 87 88 101 102 104 105 106 107 108",
    "HYP": "140 141 142 143 144",
}


def _codes(name: str) -> tuple[str, ...]:
    tables = (("scp", SCP), ("snomed", SNOMED), ("aha", AHA))
    return tuple(f"{vocabulary}:{code}" for vocabulary, table in tables for code in table[name].split())


TASK = Task("superclass", "multilabel", tuple(SCP), {name: _codes(name) for name in SCP})
