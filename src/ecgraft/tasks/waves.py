"""P wave, QRS complex, T wave or none of them, for each lead and sample."""

from ..record import WAVES
from . import Task

TASK = Task("waves", "waves", WAVES)
