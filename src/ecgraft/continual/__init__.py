"""One file per strategy: how a model learns a further task.

A plug has `Config`, `START` (what the network of a task starts from) and, by that,

SHARED   weights that belong to tasks (nn.shared): a task learns the free ones and may read those of earlier tasks
         `plan(config, position) -> _parts.Plan`     # of the task at this position, the first is 1
BASE     the model's own encoder, for every task anew: `Config.adapter`, `Config.adapter_config`
LAST     the weights as the last task has left them; norms, biases, stems and heads are each task's own
         `around(supervised, past, config) -> objective`    # past: [Past] of the earlier tasks
         `remember(supervised, batches, config) -> kept`    # optional: what of a task is kept for later, after it
TOGETHER all tasks at once: `around([supervised], config) -> objective`

With SHARED and BASE the answers of earlier tasks stay as they are, bit for bit; the others are what these are measured
against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

SHARED, BASE, LAST, TOGETHER = "shared", "base", "last", "together"
KEEPS = (SHARED, BASE)  # starts with which earlier tasks answer as before


@dataclass
class Past:
    """An earlier task, when a further one is to be learnt.

    network   its network on the weights that are being learnt: it shares them, what is its own is held
    before    the same with the weights as they are before, held too
    kept      what `remember` gave
    """

    network: nn.Module
    before: nn.Module
    task: Any
    kept: Any = None
