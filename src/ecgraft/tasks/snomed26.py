"""The 26 scored classes of the PhysioNet/CinC challenge 2021 (several may hold), by the challenge's abbreviations.

From dx_mapping_scored.csv of its evaluation code: 30 codes, of which four pairs count as one class.
"""

from . import Task

CLASSES = {
    "AF": "164889003",  # atrial fibrillation
    "AFL": "164890007",  # atrial flutter
    "BBB": "6374002",  # bundle branch block, side not said
    "Brady": "426627000",  # bradycardia
    "CLBBB|LBBB": "733534002 164909002",
    "CRBBB|RBBB": "713427006 59118001",
    "IAVB": "270492004",  # first degree AV block
    "IRBBB": "713426002",  # incomplete right bundle branch block
    "LAD": "39732003",  # left axis deviation
    "LAnFB": "445118002",  # left anterior fascicular block
    "LQRSV": "251146004",  # low QRS voltages
    "NSIVCB": "698252002",  # nonspecific intraventricular conduction disorder
    "NSR": "426783006",  # sinus rhythm
    "PAC|SVPB": "284470004 63593006",  # premature atrial, supraventricular premature
    "PR": "10370003",  # pacing rhythm
    "PRWP": "365413008",  # poor R wave progression
    "PVC|VPB": "427172004 17338001",  # premature ventricular
    "LPR": "164947007",  # prolonged PR interval
    "LQT": "111975006",  # prolonged QT interval
    "QAb": "164917005",  # abnormal Q wave
    "RAD": "47665007",  # right axis deviation
    "SA": "427393009",  # sinus arrhythmia
    "SB": "426177001",  # sinus bradycardia
    "STach": "427084000",  # sinus tachycardia
    "TAb": "164934002",  # abnormal T wave
    "TInv": "59931005",  # T wave inversion
}
CODES = {name: tuple(f"snomed:{code}" for code in codes.split()) for name, codes in CLASSES.items()}
TASK = Task("snomed26", "multilabel", tuple(CODES), CODES)
