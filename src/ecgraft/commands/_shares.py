"""Which weights of an encoder belong to which task, by the files of a model folder. No torch (model.chain has it all).

Beside the header of a graft this reads one tensor: a bit for each weight, whether its task reads it.
"""

from __future__ import annotations

import numpy as np

from ._blocks import Block, facts, plain, table
from ._trained import Trained

READS, OWN = "shared.reads", "shared.own"  # tensors of a graft (nn.shared)


def of_folder(files: list[Trained], size: int) -> list[Block]:
    """A table of the tasks whose weights build on each other, if there are such. `size`: bytes of the folder."""
    chained = ordered([found for found in files if found.kind == "graft" and found.get("shared")])
    if not chained:
        return []
    rows, left = table("task", "strategy", "number", "own weights", "% of all", "reads, % of all", "KiB"), 1.0
    if chained[0].get("shared").get("root") == "encoder":
        left = 0.0
    for found in chained:
        own, of, read = counts(found)
        left = max(0.0, left - own / of)
        cells = [
            found.header.get("name"),
            found.header.get("adapter"),
            _told(found).get("task number"),
        ]
        cells += [f"{own:,}", f"{100 * own / of:.1f}", f"{100 * read / of:.1f}", f"{_kib(found):,.0f}"]
        rows.add_row(*map(plain, cells))
    rows.add_row("free", "", "", "", f"{100 * left:.1f}", "", f"{size / 1024:,.0f} in all")
    return [("weights in common" + _further(chained), rows)]


def of_graft(found: Trained) -> list[Block]:
    """What the weights of one graft stand on; nothing where they are not shared."""
    said = found.get("shared")
    if not said:
        return []
    own, of, read = counts(found)
    told, after = _told(found), said["after"]
    before = "the weights of the encoder" if said["root"] == "encoder" else "nothing: it is the first task"
    if after:
        before = f"graft {after.get('graft')}, fingerprint {after.get('fingerprint')}"
    rows = {
        "stands on": before, "fingerprint": said["fingerprint"],
        "owns": f"{own:,} of {of:,} weights, {100 * own / of:.1f} %", "reads": f"{read:,}, {100 * read / of:.1f} %",
        "convolutions that read the signal": f"{said['stem']}",
        "phases": [f"{phase['phase']} {phase['steps']} steps{_scored(phase)}" for phase in told.get("phases", [])],
        "sparsity found": told.get("sparsity found"),
        "output channels that read nothing": told.get("output channels that read nothing"),
    }  # fmt: skip
    return [("weights in common with other tasks", facts(rows))]


def ordered(grafts: list[Trained]) -> list[Trained]:
    """Each after the one that it stands on; those whose file is missing last."""
    left, found = {graft.header.get("name"): graft for graft in grafts}, []
    while left:
        last = found[-1].header.get("name") if found else None
        name = next((key for key, graft in left.items() if graft.get("shared")["after"].get("graft") == last), None)
        if name is None:
            return found + list(left.values())
        found.append(left.pop(name))
    return found


def counts(found: Trained) -> tuple[int, int, int]:
    """Weights that the task owns, of how many in all, and how many it reads, its own among them."""
    bits = found.tensor(READS)
    of = _told(found).get("of", 8 * bits.size)
    return found.shapes[OWN][0], max(1, of), int(np.unpackbits(bits).sum())


def _further(chained: list[Trained]) -> str:
    """How many tasks more there is room for, as the last one says."""
    more = _told(chained[-1]).get("further tasks", 0)
    if more is None:  # the last one owns nothing: what the one before it said still holds
        return _further(chained[:-1]) if len(chained) > 1 else ", room for any number of tasks that own none"
    return f", room for {more} more task{'s' * (more != 1)}"


def _told(found: Trained) -> dict:
    """What the card says of the weights."""
    return found.get("card").get("weights", {})


def _kib(found: Trained) -> float:
    return found.path.stat().st_size / 1024


def _scored(phase: dict) -> str:
    score = phase.get("score")
    return "" if score is None else f" (validation {score:.3g})"
