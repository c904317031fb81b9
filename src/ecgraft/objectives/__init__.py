"""One file per thing to minimise.

A pretraining objective has `Config`, `NEEDS` (what it reads of a batch besides x, present and length) and

    build(config, encoder, recipe) -> nn.Module       # with the attribute `encoder`, which is what is kept
    objective(batch) -> {"loss": scalar, ...}         # batches in mV; other entries are logged
    objective.compare(seen, batch) -> {"loss": ...}   # the same from views that are encoded already, for `joint`

and, where it has to know the corpus, `fit(record_features (n, R), beat_features (m, F), batch)`, called once before the
first step. What it needs later lies in buffers, so that a checkpoint holds it.
"""
