"""What can be seen in a 12-lead ECG, rhythms and shapes: the findings of the simulator."""

from . import Task
from ._findings import FINDINGS, codes

TASK = Task("findings", "multilabel", tuple(FINDINGS), {name: codes(name) for name in FINDINGS})
