"""R peaks: near one (the middle of a QRS complex), or not, for every sample; all leads are asked together."""

from . import Task

TASK = Task("qrs", "peaks", ("none", "QRS"))
