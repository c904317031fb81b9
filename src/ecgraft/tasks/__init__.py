"""One file per task: its labels (codes of SCP, SNOMED, AHA ...) or waves, and how it is scored."""
