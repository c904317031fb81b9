"""The four classes of the PhysioNet/CinC challenge 2017: normal, atrial fibrillation, other rhythm, too noisy.

Scored by the mean F1 of all classes; the challenge's own score leaves "~" out.
"""

from . import Task

TASK = Task("rhythm", "multiclass", ("N", "A", "O", "~"), {name: (f"cinc2017:{name}",) for name in "NAO~"})
