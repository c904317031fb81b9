"""The nine classes of the China Physiological Signal Challenge 2018 (one to three of them hold).

SNOMED CT as the PhysioNet/CinC challenges wrote the same records ("cpsc_2018"): there 164884008 is a PVC and 426783006
a normal ECG, which it is not in the other parts of that collection: take the cpsc_2018 part alone.
"""

from . import Task

CLASSES = {
    "normal": ("cpsc2018:1", "snomed:426783006"),
    "AF": ("cpsc2018:2", "snomed:164889003"),
    "I-AVB": ("cpsc2018:3", "snomed:270492004"),
    "LBBB": ("cpsc2018:4", "snomed:164909002"),
    "RBBB": ("cpsc2018:5", "snomed:59118001"),
    "PAC": ("cpsc2018:6", "snomed:284470004"),
    "PVC": ("cpsc2018:7", "snomed:164884008"),
    "STD": ("cpsc2018:8", "snomed:429622005"),
    "STE": ("cpsc2018:9", "snomed:164931005"),
}
TASK = Task("cpsc2018", "multilabel", tuple(CLASSES), CLASSES)
