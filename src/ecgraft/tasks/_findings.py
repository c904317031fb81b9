"""What can be seen in a 12-lead ECG: rhythms and shapes, in SCP-ECG and SNOMED CT codes (the simulator's findings).

Of several codes the first names the finding as such and is what the simulator writes; the others are kinds of it, or
the same under another name (the PhysioNet/CinC 2021 challenge scores 713427006 as 59118001, 733534002 as 164909002,
284470004 as 63593006, 427172004 as 17338001). An empty list: that vocabulary cannot say it without saying more.

SCP: scp_statements.csv of PTB-XL. SNOMED CT: dx_mapping_scored.csv and dx_mapping_unscored.csv of the challenge.
AHA: Mason et al., Circulation 2007;115:1325; a statement with a modifier is "aha:145+363" (ST deviation, elevation).
"""

# name -> (SCP codes, SNOMED codes)
FINDINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "normal ECG": (("scp:NORM",), ()),
    # rhythm
    "sinus rhythm": (("scp:SR",), ("snomed:426783006",)),
    "sinus bradycardia": (("scp:SBRAD",), ("snomed:426177001",)),
    "sinus tachycardia": (("scp:STACH",), ("snomed:427084000",)),
    "sinus arrhythmia": (("scp:SARRH",), ("snomed:427393009",)),
    "atrial fibrillation": (
        ("scp:AFIB",),
        ("snomed:164889003", "snomed:195080001", "snomed:426749004", "snomed:282825002", "snomed:314208002"),
    ),
    "atrial flutter": (("scp:AFLT",), ("snomed:164890007",)),
    "supraventricular tachycardia": (("scp:SVTAC", "scp:PSVT"), ("snomed:426761007", "snomed:67198005")),
    "atrial premature complex": (("scp:PAC",), ("snomed:284470004", "snomed:63593006")),
    "ventricular premature complex": (("scp:PVC",), ("snomed:427172004", "snomed:17338001", "snomed:164884008")),
    "bigeminy": (("scp:BIGU",), ("snomed:11157007", "snomed:251173003", "snomed:251168009")),
    "AV block I": (("scp:1AVB",), ("snomed:270492004",)),
    "AV block II": (("scp:2AVB",), ("snomed:195042002", "snomed:54016002", "snomed:426183003", "snomed:28189009")),
    "AV block III": (("scp:3AVB",), ("snomed:27885002",)),
    "paced rhythm": (("scp:PACE",), ("snomed:10370003", "snomed:251266004", "snomed:251268003")),
    # conduction
    "right bundle branch block": (("scp:CRBBB",), ("snomed:713427006", "snomed:59118001")),
    "left bundle branch block": (("scp:CLBBB",), ("snomed:733534002", "snomed:164909002")),
    "left anterior fascicular block": (("scp:LAFB",), ("snomed:445118002",)),
    "pre-excitation": (("scp:WPW",), ("snomed:74390002", "snomed:195060002")),
    # shape
    "left ventricular hypertrophy": (("scp:LVH",), ("snomed:164873001",)),
    "low voltage": (("scp:LVOLT",), ("snomed:251146004",)),
    "Q waves": (("scp:QWAVE",), ("snomed:164917005",)),
    "ST elevation": (("scp:STE_",), ("snomed:164931005",)),
    "ST depression": (("scp:STD_",), ("snomed:429622005", "snomed:704997005")),
    "T inversion": (("scp:INVT",), ("snomed:59931005",)),
    "long QT": (("scp:LNGQT",), ("snomed:111975006",)),
    # place of an infarction (ST elevation in these leads, or its Q waves)
    "anterior infarction": (("scp:AMI", "scp:ASMI", "scp:ALMI"), ("snomed:54329005",)),
    "inferior infarction": (("scp:IMI", "scp:ILMI", "scp:IPMI", "scp:IPLMI"), ()),
    "lateral infarction": (("scp:LMI", "scp:ALMI", "scp:ILMI", "scp:IPLMI"), ()),
}

AHA = {  # name -> AHA statements; it has none for an ECG in sinus rhythm that is not normal, and none for Q waves
    "normal ECG": "1",
    "sinus bradycardia": "22",
    "sinus tachycardia": "21",
    "sinus arrhythmia": "23",
    "atrial fibrillation": "50",
    "atrial flutter": "51",
    "supraventricular tachycardia": "55",
    "atrial premature complex": "30 31",
    "ventricular premature complex": "60",
    "bigeminy": "30+341 60+341",
    "AV block I": "82",  # prolonged PR interval is AHA's term for it
    "AV block II": "83 84 85",
    "AV block III": "88",
    "paced rhythm": "180 181 182 183 184",
    "right bundle branch block": "106",
    "left bundle branch block": "104",
    "left anterior fascicular block": "101",
    "pre-excitation": "108",
    "left ventricular hypertrophy": "142",
    "low voltage": "125",
    "ST elevation": "145+363 146+363",
    "ST depression": "145+362 146+362",
    "T inversion": "146+367 147+367",
    "long QT": "148",
    "anterior infarction": "160 165 166",
    "inferior infarction": "161",
    "lateral infarction": "163",
}


def codes(name: str) -> tuple[str, ...]:
    """All codes of a finding."""
    scp, snomed = FINDINGS[name]
    return (*scp, *snomed, *(f"aha:{code}" for code in AHA.get(name, "").split()))
