"""The four merged rhythms of the Chapman-Shaoxing database (Zheng et al., Sci Data 2020;7:48), in SNOMED CT.

AFIB: fibrillation and flutter. GSVT: supraventricular tachycardia of any kind, sinus tachycardia, wandering pacemaker.
SR: sinus rhythm, also where it is irregular. A record with rhythms of two of them is in none.
"""

from . import Task

RHYTHMS = {
    "AFIB": "164889003 164890007",  # atrial fibrillation, atrial flutter
    # sinus, supraventricular and atrial tachycardia, AV node and AV re-entry, wandering atrial pacemaker
    "GSVT": "427084000 426761007 713422000 233896004 233897008 195101003",
    "SB": "426177001",  # sinus bradycardia
    "SR": "426783006 427393009",  # sinus rhythm, sinus arrhythmia
}
CODES = {name: tuple(f"snomed:{code}" for code in codes.split()) for name, codes in RHYTHMS.items()}
TASK = Task("chapman", "multiclass", tuple(CODES), CODES)
