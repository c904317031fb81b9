"""What a simulated ECG can show, and the codes of it.

A finding's name is its SCP-ECG statement where there is one. STE-A, STE-I and STE-L (ST elevation by territory), STD
and 2AVB1, 2AVB2 (Wenckebach, Mobitz II) are finer than or named unlike SCP; they carry the SCP code of the whole.
SNOMED CT codes are those of the PhysioNet/CinC Challenges 2020-2021 where these have one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A label and its codes."""

    name: str
    codes: tuple[str, ...]


_CODES = {
    "NORM": "scp:NORM",
    "SR": "scp:SR snomed:426783006",
    "SBRAD": "scp:SBRAD snomed:426177001",
    "STACH": "scp:STACH snomed:427084000",
    "SARRH": "scp:SARRH snomed:427393009",
    "AFIB": "scp:AFIB snomed:164889003",
    "AFLT": "scp:AFLT snomed:164890007",
    "SVTAC": "scp:SVTAC snomed:426761007",
    "PACE": "scp:PACE snomed:10370003",
    "PAC": "scp:PAC snomed:284470004",
    "PVC": "scp:PVC snomed:427172004",
    "BIGU": "scp:BIGU snomed:11157007",
    "1AVB": "scp:1AVB snomed:270492004",
    "2AVB1": "scp:2AVB snomed:195042002 snomed:54016002",
    "2AVB2": "scp:2AVB snomed:195042002 snomed:28189009",
    "3AVB": "scp:3AVB snomed:27885002",
    "CRBBB": "scp:CRBBB snomed:59118001 snomed:713427006",
    "CLBBB": "scp:CLBBB snomed:164909002 snomed:733534002",
    "WPW": "scp:WPW snomed:74390002",
    "LAFB": "scp:LAFB snomed:445118002",
    "LVH": "scp:LVH snomed:164873001",
    "LVOLT": "scp:LVOLT snomed:251146004",
    "QWAVE": "scp:QWAVE snomed:164917005",
    "AMI": "scp:AMI snomed:54329005",
    "IMI": "scp:IMI",
    "LMI": "scp:LMI",
    "STE-A": "scp:STE_ snomed:164931005",
    "STE-I": "scp:STE_ snomed:164931005",
    "STE-L": "scp:STE_ snomed:164931005",
    "STD": "scp:STD_ snomed:429622005",
    "INVT": "scp:INVT snomed:59931005",
    "LNGQT": "scp:LNGQT snomed:111975006",
}
FINDINGS = tuple(Finding(name, tuple(codes.split())) for name, codes in _CODES.items())
NAMES = tuple(finding.name for finding in FINDINGS)
CODES = tuple(dict.fromkeys(code for finding in FINDINGS for code in finding.codes))

# At most one of each group. The rest of RHYTHMS is sinus rhythm of 60 to 100 a minute.
RHYTHMS = ("SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "SVTAC", "PACE", "2AVB1", "2AVB2", "3AVB")
CONDUCTION = ("CRBBB", "CLBBB", "WPW")
SEGMENTS = ("STE-A", "STE-I", "STE-L", "STD")
SINUS = ("SR", "SBRAD", "STACH", "SARRH")
INFARCTS = ("AMI", "IMI", "LMI")  # Q waves or ST elevation, in the order of STE-A, STE-I, STE-L
