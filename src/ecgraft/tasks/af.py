"""Atrial fibrillation against the rest, in every vocabulary that tells it from all else (flutter counts as rest)."""

from . import Task

CODES = (
    "scp:AFIB",
    "snomed:164889003",  # atrial fibrillation
    "snomed:282825002",  # paroxysmal
    "snomed:426749004",  # chronic
    "snomed:314208002",  # rapid
    "snomed:195080001",  # fibrillation and flutter
    "aha:50",
    "cinc2017:A",
    "cpsc2018:2",
    "code15:AF",
    "cpsc2021:AFf",  # persistent
    "cpsc2021:AFp",  # paroxysmal: some of the record
    "ludb:Atrial fibrillation",
)
TASK = Task("af", "multilabel", ("atrial fibrillation",), {"atrial fibrillation": CODES})
