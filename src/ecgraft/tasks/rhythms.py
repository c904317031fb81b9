"""The rhythm that a twelve-lead ECG shows: ten of `findings` of which a record has one."""

from . import Task
from ._findings import codes

NAMES = (
    *("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "sinus arrhythmia", "atrial fibrillation"),
    *("atrial flutter", "supraventricular tachycardia", "AV block II", "AV block III", "paced rhythm"),
)
TASK = Task("rhythms", "multiclass", NAMES, {name: codes(name) for name in NAMES})
