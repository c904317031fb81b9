"""One file per thing to minimise.

A pretraining objective has `Config`, `NEEDS` (what it reads of a batch besides x, present and length) and

    build(config, encoder, recipe) -> nn.Module       # with the attribute `encoder`, which is what is kept
    objective(batch) -> {"loss": scalar, ...}         # batches in mV; other entries are logged
    objective.compare(seen, batch) -> {"loss": ...}   # the same from views that are encoded already, for `joint`

and, where it has to know the corpus, `fit(record_features (n, R), beat_features (m, F), batch)`, called once before the
first step. What it needs later lies in buffers, so that a checkpoint holds it.

One that learns from unlabelled records while a graft is trained has `STAGE = "adapt"`, `Config`, and

    check(config, task, network)                      # UsageError for what cannot be, before anything is read
    build(config, supervised) -> nn.Module            # around a `Supervised`, whose views are for labelled rows
    objective(batch) -> {"loss": scalar, ...}         # labelled rows first, as `labelled` (B,) says, then the tail
    objective.network                                 # what is validated and kept
    objective.after_step(step)                        # where a teacher follows

Without a tail it is the supervised one to the bit. A `steps` in its Config is that of the training.
"""

PRETRAIN, ADAPT = "pretrain", "adapt"


def stage(plug) -> str:
    """Where an objective belongs: "pretrain", unless it says "adapt"."""
    return getattr(plug, "STAGE", PRETRAIN)
