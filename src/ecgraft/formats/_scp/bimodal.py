"""Bimodal compression of SCP-ECG (EN 1064, annex C): outside of protected areas, one number stands for some samples.

Three open readers disagree. This one follows scp-decode (E. Cervesato, in biosig), which opens the files of the
standard's compliance tests: in each stretch between protected areas the numbers lie `factor` apart and are joined by
straight lines, the first and the last are held for half of `factor`, and samples that fill no whole `factor` are
stored as they are. Then every sample outside becomes the mean of itself and its neighbours. Two things differ:
interpolated samples are rounded to the nearest (there towards 0), and the filter that it adds at the end is left out,
as the standard does not have it. PixelMed's reader takes one number for an incomplete `factor`: where only that
fits what a lead stores, it is taken here too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...record import InputError

COARSEST = 4  # samples to a number
LONGEST = 2**23  # samples of all leads
FILL = 16  # bits that may be left at the end of a lead: it is filled to two bytes
WAYS = ((True, False), (True, True), (False, False), (False, True))  # areas protected, one number for what is left


@dataclass(frozen=True)
class Plan:
    """How the samples of a lead come from the numbers that it stores."""

    count: int  # numbers
    left: np.ndarray  # (T,) the number before each sample
    share: np.ndarray  # (T,) how much of the way to the next, in parts of `factor`
    protected: np.ndarray  # (T,) bool


def factor(rhythm: int, beat: int) -> int:
    """Samples to a number, from the two sections' intervals (us, rounded)."""
    times = round(rhythm / beat)
    if not (1 <= times <= COARSEST and abs(rhythm - times * beat) <= times):
        raise InputError(f"section 6 has a sample every {rhythm} us, section 5 every {beat} us; they do not fit")
    return times


def plan(protected: np.ndarray, factor: int, one_for_rest: bool) -> Plan:
    """protected: (T,) bool."""
    outside = np.flatnonzero(~protected)
    new = np.diff(outside, prepend=-2) > 1
    size = np.diff(np.append(np.flatnonzero(new), len(outside)))  # of each stretch
    whole, rest = size // factor, size % factor
    stored = whole + (rest > 0 if one_for_rest else rest)
    before = np.cumsum(stored) - stored
    stretch = np.cumsum(new) - 1
    at = np.arange(len(outside)) - (np.cumsum(size) - size)[stretch]  # sample in its stretch
    number, share = np.divmod(at - factor // 2, factor)
    number = np.clip(number, 0, np.maximum(whole[stretch] - 1, 0))
    line = (at >= factor // 2) & (number < whole[stretch] - 1)
    behind = at - (whole * factor)[stretch]
    number = np.where(behind >= 0, whole[stretch] + (0 if one_for_rest else behind), number)
    left, shares = np.cumsum(protected) - protected, np.zeros(len(protected), np.int64)
    left[protected] += np.append(0, np.cumsum(stored))[
        np.cumsum(~protected & np.diff(~protected, prepend=0))[protected]
    ]
    left[outside] += before[stretch] + number
    shares[outside] = np.where(line, share, 0)
    return Plan(int(protected.sum() + stored.sum()), left, shares, protected)


def restore(numbers: np.ndarray, plan: Plan, factor: int) -> np.ndarray:
    """(T,) samples on the lines between numbers."""
    before, after = numbers[plan.left], numbers[np.minimum(plan.left + 1, len(numbers) - 1)]
    step = (after - before) * plan.share
    return before + np.sign(step) * ((2 * np.abs(step) + factor) // (2 * factor))


def smooth(samples: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The mean of each sample and its neighbours, but where `keep` says; rounded as the standard does."""
    total = samples[:-2] + samples[1:-1] + samples[2:]
    mean = np.sign(total) * ((np.abs(total) + 1) // 3)
    return np.where(keep, samples, np.concatenate([samples[:1], mean, samples[-1:]])[: len(samples)])


def fits(plans: list[Plan], spare: list[np.ndarray]) -> tuple[bool, bool]:
    """Whether what the leads store is enough for the plans, and whether it is exactly that.

    spare  for each lead, the bits behind each of its numbers
    """
    enough = all(p.count <= len(bits) for p, bits in zip(plans, spare))
    return enough, enough and all(bits[p.count - 1] < FILL for p, bits in zip(plans, spare))
