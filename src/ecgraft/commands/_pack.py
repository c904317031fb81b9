"""A network that has learnt, as a graft: its tensors, thresholds, certainty, and the card of how it came about."""

from __future__ import annotations

import datetime
import platform
from dataclasses import asdict

import numpy as np
import torch

from .. import __version__, adapters
from ..model import Graft
from ..nn.network import Network
from . import _calibrate, _probe
from ._features import features


def pack(job, network: Network) -> Graft:
    """The graft of a job (_job.Job) whose `result` stands in the network."""
    options = job.options
    found = job.answer(network.to(job.device), job.validation) if len(job.validation) else None
    fitted = _calibrate.fit(
        job.corpus, found, _some_features(job, network), job.calibration, options.calibrate, options.coverage
    )
    network.to("cpu")
    changed = job.strategy.changed(network) if job.strategy else _adapted(network)
    tensors = changed.pop("tensors") | fitted.tensors
    tensors |= {f"head.{key}": value for key, value in network.heads[job.name].state_dict().items()}
    return Graft(
        job.name, job.corpus.task, job.recipe, head=asdict(options.head), encoder=job.model.fingerprint,
        tensors={key: value.detach().clone() for key, value in tensors.items()},
        thresholds=fitted.thresholds, calibration=fitted.calibration, conformal=fitted.conformal,
        distance=fitted.distance, card=_card(job, network, found is not None) | changed.pop("card", {}), **changed,
    )  # fmt: skip


def _adapted(network: Network) -> dict:
    """What the adapter of the encoder changed, as fields of a graft."""
    attached = network.encoder.attached
    return {
        "adapter": attached.name,
        "adapter_config": asdict(attached.config),  # with the ranks of each layer, whatever the defaults become
        "tensors": {f"encoder.{key}": value for key, value in adapters.saved(network.encoder).items()},
    }


def _card(job, network: Network, scored: bool) -> dict:
    result, task = job.result, job.corpus.task
    card = {
        "date": datetime.date.today().isoformat(),
        "records": {"train": len(job.train), "validation": len(job.validation)},
        "settings": asdict(job.options) | {"training": asdict(job.training)},
        "score on validation": {task.metric: result.score, "step": result.step} if scored else None,
        "trained parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "versions": {"ecgraft": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    card |= {"allocation": job.allocated} if job.allocated else {}
    if scored and job.corpus.y is not None and task.labels:
        positive = (job.corpus.y[job.validation] * job.corpus.known_each[job.validation]).sum(0)
        card["positives"] = {label: int(n) for label, n in zip(task.labels, positive)}
    if job.also:
        card["records"]["of other stores"] = sum(len(corpus.rows("all")) for corpus in job.also)
    if job.unlabelled is not None:
        card["records"]["unlabelled"] = len(job.unlabelled.rows)
    if job.voting:
        card["neighbours"] = _probe.told(len(job.train))
    return card


def _some_features(job, network: Network) -> np.ndarray:
    """The pooled features of training records, for the distance that tells what is unlike them."""
    rows = _calibrate.some(job.train)
    if job.probing:
        return job.features(rows)
    return features(network.encoder, job.recipe, job.cache, rows, job.device)
