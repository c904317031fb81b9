"""The patient's age in years, from the ECG."""

from . import Task

TASK = Task("age", "regression", ("age",), value="age")
