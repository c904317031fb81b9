"""The order of heart beats: P before QRS before T, with all that can be missing, as a path through states.

    TP -> P -> PQ -> QRS -> ST -> T -> TP    the usual beat; a wave may follow on another without a pause
    TP, T or ST -> QRS                       no P wave was found
    ST -> P                                  no T wave was found
    P or PQ -> TP                            a P wave that no QRS follows: blocked

`paths` finds the likeliest path of each of many stretches at once (Viterbi 1967): the sum of the log probabilities of
the samples' classes less the costs of what is unusual, where P, QRS and T last at least a while. No wave is deleted or
moved afterwards. `Order` tells the costs; they are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..record import NONE, QRS, P, T

STATES = ("P", "PQ", "QRS", "ST", "T", "TP")  # a wave, the pause after it, and so on
CLASS = np.array([P, NONE, QRS, NONE, T, NONE])
IN_P, PQ, IN_QRS, ST, IN_T, TP = range(6)
WAVES, PAUSES = slice(0, 6, 2), slice(1, 6, 2)
NEVER = np.float32(1e9)
LEAST = 1e-5  # probability that is taken for none
BLOCK = 1024  # samples whose views are held at a time


@dataclass(frozen=True)
class Order:
    """no_p, no_t, blocked  cost of a QRS without a P wave, of a beat without a T wave, of a P wave without a QRS
    shortest             s that P, QRS and T last at least
    """

    no_p: float = 3.0
    no_t: float = 8.0
    blocked: float = 12.0
    shortest: tuple[float, float, float] = (0.032, 0.032, 0.052)

    def costs(self) -> np.ndarray:
        """(6, 6) of going from a state to another; NEVER where that cannot be."""
        cost = np.full((6, 6), NEVER, np.float32)
        for before, after in ((TP, IN_P), (IN_P, PQ), (IN_P, IN_QRS), (PQ, IN_QRS), (IN_QRS, ST), (IN_QRS, IN_T)):
            cost[before, after] = 0
        for before, after in ((ST, IN_T), (IN_T, TP), (IN_T, IN_P)):
            cost[before, after] = 0
        cost[[TP, IN_T], IN_QRS] = self.no_p
        cost[ST, IN_P] = self.no_t
        cost[ST, IN_QRS] = self.no_p + self.no_t
        cost[[IN_P, PQ], TP] = self.blocked
        return cost

    def lengths(self, rate: float) -> np.ndarray:
        """(6,) samples that a state lasts at least."""
        least = np.ones(6, int)
        least[WAVES] = [max(1, round(seconds * rate)) for seconds in self.shortest]
        return least


def emissions(probability: np.ndarray, atria: bool | np.ndarray = True, mistaken: float = 0.4) -> np.ndarray:
    """Log probability of each state, (..., 6, T) float32, from those of the classes (..., 4, T).

    Without atria there is no P wave: what looks like one is background that was `mistaken`, by that share. One `atria`
    for all, or (...) one each.
    """
    p, atria = np.moveaxis(probability, -2, 0), np.asarray(atria)[..., None]
    p = np.maximum(p, np.float32(LEAST), dtype=np.float32)
    out = np.log(p)[CLASS]
    if not atria.all():
        out[PAUSES] = np.where(atria, out[TP], np.log(p[NONE] + np.float32(mistaken) * p[P]))
        out[:2] = np.where(atria, out[:2], -NEVER)
    return np.moveaxis(out, 0, -2)


def paths(emission, length, start, stop, order: Order, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The best path through each of L stretches: states (L, T) uint8, meaningless from `length` on, and scores (L,).

    emission  (L, 6, T) float32
    length    (L,) samples of each stretch, 1 to T
    start     (L, 6) bool: states that it may begin in, as if it had been in them before
    stop      (L, 6) bool: states that it may end in, as if it went on with them

    A wave that an end of the stretch cuts off lasts half of what a whole one lasts at least, or all of the stretch.
    Where there is no way at all the score is -inf and the path TP.
    """
    L, _, samples = emission.shape
    total = np.zeros((6, samples + 1, L), np.float32)  # sums of the emissions up to a sample
    np.cumsum(emission.transpose(1, 2, 0), axis=1, out=total[:, 1:])
    least = order.lengths(rate)
    held, fresh = _forwards(total, start, order, least)
    state, begins, score = _ends(total, held, fresh, length, stop, least)
    del fresh
    states = _backwards(total, held, state, begins, length, order.costs(), least)
    path = np.zeros((L, samples), np.uint8)
    path[np.arange(samples) < length[:, None]] = states
    return path, score


def _forwards(total, start, order: Order, least) -> tuple[np.ndarray, np.ndarray]:
    """What a path has gained on the way to each state, by sample; what it then gains inside is `total`.

    held   (6, T + 1, L) best score before each sample in a state that has lasted long enough, less the `total` of that
           state up to there: it never falls, and rises where it pays to have come later
    fresh  (6, T + n, L) the same of coming in, by the sample with which the state has lasted long enough
    """
    _, n, L = total.shape
    held = np.full((6, n, L), -np.inf, np.float32)
    fresh = np.empty((6, n + least.max(), L), np.float32)
    for s, some in enumerate(least):
        fresh[s, :some] = -np.inf
        fresh[s, (some - 1) // 2] = np.where(start[:, s], 0, -np.inf)
    held[:, 1] = fresh[:, 0]
    for k in range(1, n - 1, BLOCK):
        _steps(total, held, fresh, k, min(k + BLOCK, n - 1), order, least)
    return held, fresh


def _steps(total, held, fresh, first: int, stop: int, order: Order, least) -> None:
    """Fills `held` and `fresh` with the samples from `first` to below `stop`: few calls, each for all stretches."""
    before, most, dear = (np.empty((k, total.shape[2]), np.float32) for k in (6, 3, 2))
    waves, to_st, to_tp, pauses = before[WAVES], before[ST], before[IN_T], before[PAUSES]
    of_qrs, of_t, of_p = most  # after P or PQ; after QRS or ST; after T or TP
    blocked, no_p = dear
    costs = np.array([[order.blocked], [order.no_p]], np.float32)
    some = slice(first, stop)
    rows = [held[:, some], held[:, first + 1 : stop + 1], total[:, some], total[PAUSES, some]]
    rows += [fresh[:, some], fresh[PAUSES, some]]
    columns = [x.transpose(1, 0, 2) for x in rows]
    for s in (IN_P, IN_QRS, IN_T):
        columns += [total[s, some], fresh[s, first + least[s] - 1 : stop + least[s] - 1]]
    for old, new, sums, sums_pauses, come, pauses_come, p, to_p, qrs, to_qrs, t, to_t in zip(*columns):
        np.add(old, sums, out=before)
        np.maximum(waves, pauses, out=most)
        np.subtract(to_st, order.no_t, out=to_st)
        np.maximum(of_p, to_st, out=of_p)
        np.subtract(most[::2], costs, out=dear)
        np.maximum(to_tp, blocked, out=to_tp)
        np.maximum(no_p, of_qrs, out=no_p)
        np.subtract(waves, sums_pauses, out=pauses_come)
        np.subtract(of_p, p, out=to_p)
        np.subtract(no_p, qrs, out=to_qrs)
        np.subtract(of_t, t, out=to_t)
        np.maximum(old, come, out=new)


def _ends(total, held, fresh, length, stop, least) -> tuple[np.ndarray, ...]:
    """The best last state (L,) of each stretch, where it begins (-1: as `held` tells), and the score."""
    lane = np.arange(len(length))
    score, begins = held[:, length, lane], np.full((6, len(length)), -1)
    for s in (IN_P, IN_QRS, IN_T):
        more = np.arange(least[s] // 2)[:, None]
        if not len(more):
            continue
        cut = fresh[s, length + more, lane]
        best = cut.argmax(0)
        better = cut[best, lane] > score[s]
        score[s] = np.where(better, cut[best, lane], score[s])
        begins[s] = np.where(better, np.maximum(length + best - least[s] + 1, 0), -1)
    score = np.where(stop.T, score + total[:, length, lane], -np.inf)
    state = score.argmax(0)
    none = score[state, lane] == -np.inf
    begins[TP, none] = 0
    state[none] = TP
    return state, begins[state, lane], score.max(0)


def _backwards(total, held, state, begins, length, cost, least) -> np.ndarray:
    """The states of all stretches, one after the other, (sum of length,) uint8."""
    lane, end, found = np.arange(len(length)), length, []
    while True:
        unknown = begins < 0
        some = state[unknown], end[unknown], lane[unknown]
        begins[unknown] = np.maximum(_risen(held, *some) - least[some[0]], 0)
        found.append(np.stack([lane, begins, end - begins, state]))
        on = begins > 0
        if not on.any():
            break
        lane, end, after = lane[on], begins[on], state[on]
        state = (held[:, end, lane] + total[:, end, lane] - cost[:, after]).argmax(0)
        begins = np.full(len(lane), -1)
    lane, begins, size, state = np.concatenate(found, axis=1)
    order = np.lexsort((begins, lane))
    return np.repeat(state[order].astype(np.uint8), size[order])


def _risen(held, state, end, lane) -> np.ndarray:
    """The first sample at which `held` of a state and lane is what it is at `end`, by bisection, (n,)."""
    value, low, high = held[state, end, lane], np.zeros_like(end), end
    for _ in range(int(held.shape[1]).bit_length()):
        middle = (low + high) // 2
        there = held[state, middle, lane] >= value
        low, high = np.where(there, low, middle + 1), np.where(there, middle, high)
    return high
