"""Normal, atrial fibrillation or other rhythm: the classes that the PhysioNet/CinC challenge 2017 scores.

Records that are too noisy ("~") are left out; `rhythm` has them as a fourth class.
"""

from . import Task

TASK = Task("rhythm3", "multiclass", ("N", "A", "O"), {name: (f"cinc2017:{name}",) for name in "NAO"})
