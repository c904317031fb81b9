"""fit(): the only training loop. What it minimises, and every trick, is in the objective that it is handed.

A run is a function of (seed, step): batches, views and dropout are drawn from both, so a run that was killed goes on
from its last checkpoint to the same weights as one that was not. Several processes (torchrun) train together: each
takes its own batches, gradients and norms are those of all, the first one writes.
"""

from __future__ import annotations

import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as config_class
from torch import nn

from ..nn import ranks
from ..record import InputError
from . import checkpoint
from .log import Bar, Log
from .optimizer import build_optimizer, rate_at, set_rate

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@config_class(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """How long and how fast to train.

    steps, accumulate   optimizer steps, and batches to each of them
    rate, decay         peak learning rate and weight decay of AdamW; `warmup` is a share of the steps
    clip                largest norm of the gradient (0: no limit)
    precision           "auto" is bf16 where the processor computes in it, else fp32
    evaluate_every      steps between validations (0: only at the end); `patience` validations without a better score
                        end the run (0: never)
    keep                "best" gives back the weights with the best validation score, "last" the last ones
    average             decay of the running mean of the weights that is validated and kept (0: the weights themselves)
    checkpoint_every    seconds between checkpoints
    """

    steps: int = Field(1000, ge=1)
    accumulate: int = Field(1, ge=1)
    rate: float = Field(2e-3, gt=0)
    decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(1.0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: int = Field(0, ge=0)
    patience: int = Field(0, ge=0)
    keep: Literal["best", "last"] = "best"
    average: float = Field(0.0, ge=0, lt=1)
    checkpoint_every: float = Field(60.0, gt=0)
    seed: int = 0


@dataclass
class Result:
    """What a run came to: `log` rows, the `score` of the weights that the objective now holds and their `step`.

    seconds  that a step took, at the median; NaN where a finished run was only loaded
    waited   share of a step that was spent on waiting for its batch, at the median
    """

    log: list[dict] = field(default_factory=list)
    score: float = math.nan
    step: int = 0
    seconds: float = math.nan
    waited: float = math.nan


def fit(
    objective: nn.Module,
    batches: Callable[[int], dict],
    config: Config,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    title: str = "training",
    progress: bool = True,
) -> Result:
    """Minimises `objective(batch)["loss"]` over `batches(number)`; leaves the kept weights in the objective.

    `validate(objective) -> score`, higher is better. With a `folder` the run can be killed and goes on when called
    again with the same arguments; the folder then holds the log and the last checkpoint.
    """
    run = _Run(objective.to(device), config, torch.device(device), folder)
    run.resume()
    first = ranks.rank() == 0
    log, seconds = Log(folder / LOG if folder and first else None, run.step), []
    with Bar(title, config.steps, run.step, progress and first) as bar, _interrupt_after_step() as interrupted:
        while run.step < config.steps and not run.out_of_patience:
            begun = time.perf_counter()
            parts, records = run.take_step(batches)
            seconds.append((time.perf_counter() - begun, run.waited))
            bar.step(run.step, records * ranks.world())
            if run.step % 10 == 0 or run.step == config.steps:
                parts = {name: ranks.total(value.float()) / ranks.world() for name, value in parts.items()}
                log.write(run.step, rate=run.rate, **parts)
                bar.say(f"loss {float(parts['loss']):.3f}")
            if run.due_validation(validate):
                run.keep(validate(run.averaged()))
                log.write(run.step, validation=run.score)
            run.checkpoint(seconds=0 if interrupted else config.checkpoint_every)
            if interrupted:
                raise KeyboardInterrupt
    run.checkpoint(seconds=0)
    run.settle(validate)
    if not seconds:
        return Result(log.rows, run.best, run.best_step)
    took, waited = statistics.median(s for s, _ in seconds), statistics.median(w / s for s, w in seconds)
    return Result(log.rows, run.best, run.best_step, took, waited)


class _Run:
    """The state of a run: what a checkpoint holds."""

    def __init__(self, objective: nn.Module, config: Config, device: torch.device, folder: Path | None):
        self.objective, self.config, self.device, self.folder = objective, config, device, folder
        ranks.share_norms(objective, ranks.world() > 1)
        ranks.same_everywhere(objective)
        self.optimizer = build_optimizer(objective.parameters(), config.rate, config.decay)
        self.step, self.best, self.best_step, self.since_best = 0, -math.inf, 0, 0
        self.score = self.rate = math.nan
        self.waited = 0.0
        self.kept: dict[str, torch.Tensor] = {}
        self.mean = self._copy() if config.average else {}
        self.saved_at, self.saved_step = time.monotonic(), -1
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=_bf16(config.precision, device))
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.since_best

    def take_step(self, batches) -> tuple[dict, int]:
        """One optimizer step; the loss with its parts, and the number of records seen."""
        config, records, loss, self.waited = self.config, 0, 0.0, 0.0
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        self.rate = rate_at(self.step, config.steps, config.rate, config.warmup, config.schedule)
        set_rate(self.optimizer, self.rate)
        self.objective.train()
        for part in range(config.accumulate):
            asked = time.perf_counter()
            batch = batches(self.step * config.accumulate + part)
            self.waited += time.perf_counter() - asked
            with self.autocast:
                out = self.objective(batch)
            (out["loss"] / config.accumulate).backward()
            loss = loss + out["loss"].detach()
            records += len(batch["x"])
        ranks.average_gradients(self._free())
        norm = nn.utils.clip_grad_norm_(self._free(), config.clip or math.inf)
        if not math.isfinite(float(loss + norm)):  # of any process: the gradients are those of all
            self._give_up(float(out["loss"].detach()))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(self.step)
        self._average()
        self.step += 1
        return {key: value.detach() for key, value in out.items() if torch.is_tensor(value)}, records

    def _give_up(self, loss: float) -> None:
        """Raises InputError, after saving the weights as they were before this step."""
        self.checkpoint(seconds=0)
        kept = f"; the weights before it are in {self.folder / CHECKPOINT}" if self.folder else ""
        raise InputError(
            f"the loss is {loss} at step {self.step}, or its gradient is not finite{kept}. Lower the learning rate "
            "(training.rate=0.0003), in a new folder or after deleting this one"
        )

    def due_validation(self, validate) -> bool:
        every = self.config.evaluate_every
        return validate is not None and (self.step == self.config.steps or (every > 0 and self.step % every == 0))

    def keep(self, score: float) -> None:
        """Remembers the weights (their running mean) if they are the best so far."""
        self.score = score
        self.since_best += 1
        if score > self.best or self.config.keep == "last":
            self.best, self.best_step, self.since_best = score, self.step, 0
            self.kept = self._copy()
        if self.mean:
            self.objective.load_state_dict(self._live, strict=False)

    def averaged(self) -> nn.Module:
        """The objective with the running mean of its weights in place; `keep` puts the weights back."""
        if self.mean:
            self._live = self._copy()
            self.objective.load_state_dict(self.mean, strict=False)
        return self.objective.eval()

    def settle(self, validate) -> None:
        """Puts the kept weights in place at the end."""
        if validate is not None and self.kept:
            self.objective.load_state_dict(self.kept, strict=False)
        elif self.mean:
            self.objective.load_state_dict(self.mean, strict=False)
        ranks.share_norms(self.objective, False).eval()

    def checkpoint(self, seconds: float) -> None:
        """Writes where the run stands, unless that was done less than `seconds` ago."""
        now = time.monotonic()
        if self.folder is None or self.step == self.saved_step or now - self.saved_at < seconds or ranks.rank():
            return
        groups = {"weights": self._copy(), "optimizer": checkpoint.optimizer_tensors(self.optimizer)}
        groups |= {"kept": self.kept, "mean": self.mean}
        state = {key: getattr(self, key) for key in ("step", "best", "best_step", "since_best")}
        checkpoint.save(self.folder / CHECKPOINT, groups, state)
        self.saved_at, self.saved_step = now, self.step

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, where there is one."""
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return
        groups, state = checkpoint.load(self.folder / CHECKPOINT)
        self.objective.load_state_dict(groups.get("weights", {}), strict=False)
        checkpoint.restore_optimizer(self.optimizer, groups.get("optimizer", {}))
        self.kept, self.mean = groups.get("kept", {}), groups.get("mean", {})
        for key, value in state.items():
            setattr(self, key, value)
        self.saved_step = self.step

    def _free(self) -> list[nn.Parameter]:
        return [p for p in self.objective.parameters() if p.requires_grad]

    def _copy(self) -> dict[str, torch.Tensor]:
        """A copy of what training may change: free parameters and buffers."""
        return {name: value.detach().clone() for name, value in self._moving()}

    def _moving(self):
        for name, value in self.objective.named_parameters():
            if value.requires_grad:
                yield name, value
        yield from self.objective.named_buffers()

    @torch.no_grad()
    def _average(self) -> None:
        """mean <- d mean + (1 - d) weights, with a smaller d in the first steps so that the start is forgotten."""
        if not self.mean:
            return
        d = min(self.config.average, (1 + self.step) / (10 + self.step))
        moving = dict(self._moving())
        smooth = [name for name, value in moving.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.mean[name] for name in smooth], [moving[name] for name in smooth], 1 - d)
        for name in moving.keys() - smooth:
            self.mean[name].copy_(moving[name])


@contextmanager
def _interrupt_after_step() -> Iterator[list]:
    """Holds a first Ctrl-C back until the step is done (the list is then not empty); a second one breaks in at once."""
    pending: list = []
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_):
        pending.append(True)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield pending
    finally:
        signal.signal(signal.SIGINT, before)


def _bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16. "auto": where the hardware does so natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
