"""What adapting and extending have in common: a job on the labelled records of a store, and where its graft is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import tasks
from ..model import Graft, Model
from ..model.graft import check_name
from ..store import Store
from . import _seen
from ._examples import Corpus
from ._job import Job
from ._settings import Settings, fitting_steps, with_defaults


def open_job(
    base: Model, store: Path, task: str, options: Settings, *, name: str = "", budget: float = 1.0, steps: int = 0,
    seed: int = 0, device: torch.device | str = "cpu", progress: bool = True,
) -> Job:  # fmt: skip
    """A job for a task on the labelled records of a store. Raises InputError where it has none for the task.

    name   of the graft; the task's where none is given
    steps  0: chosen by the number of records
    """
    opened = Store(store)
    corpus = Corpus.open(opened, tasks.find(task, opened))
    train, validation = corpus.few(budget, seed)
    options = with_defaults(options, steps or fitting_steps(len(train), options.batch), seed)
    name = check_name(name or corpus.task.name)
    return Job(base, corpus, train, validation, options, name, device=device, progress=progress)


def note_origin(graft: Graft, job: Job, folder: Path, told: dict[str, Any]) -> None:
    """Notes in the graft which records it has learnt from, and in `folder`, of its training, which patients.

    told  more for its card
    """
    of = [(job.corpus.store, np.union1d(job.train, job.validation))]
    of += [(other.store, other.rows("all")) for other in job.also]
    of += [(job.unlabelled.store, job.unlabelled.rows)] if job.unlabelled else []
    seen = [_seen.tensors(*each, job.progress) for each in of]
    graft.tensors |= _seen.joined([*seen, job.start.tensors] if job.continues else seen)
    _seen.note_persons(folder, of)
    graft.card |= {**told, "store": job.corpus.store.fingerprint}
