"""From what a model says of every sample to the waves of a record, by the order of heart beats (`grammar`).

Two passes. The leads together tell where QRS complexes surely are, and of each stretch between two of them whether the
atria beat, do not (fibrillation: no P wave in any lead, whatever single beats look like), or nothing can be read. Then
every lead is read by itself, stretch by stretch, with what the leads together have told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..record import NONE, QRS, WAVE
from . import grammar
from .grammar import CLASS, IN_QRS, PQ, ST, TP, Order
from .waves import overtaken, peaks_between, runs

ATRIA, NO_ATRIA, UNREADABLE = range(3)  # of a stretch
AT_ONCE = 500_000  # samples of stretches that are read at a time; about 150 bytes each
NEAR = 0.04  # s around a sample that surely lies in a QRS complex; one lead's may stand beside it
QUIET = 0.3  # s of background that a long stretch is parted in
# Where a QRS complex surely is, it stands in a lead: nowhere near, behind that sample, before it, or around it.
UNSEEN, AHEAD, OVER, INSIDE = range(4)
FREE, PARTED = 4, 5  # an end of the record; of a stretch parted for its length


@dataclass(frozen=True)
class Reader:
    """Constants of the decoder; costs in nats.

    certain   mean probability of QRS, over the leads, from which on a sample surely lies in a QRS complex
    apart     s; such samples that are less than half of it apart are of one complex
    seen      probability from which on a lead shows a QRS complex that the others show
    borrow    share of the leads together in the evidence of each lead
    no_atria  cost of a stretch without atria
    mistaken  share of what looks like a P wave that counts as background in such a stretch
    noise     cost of a second that is not readable
    change    cost of going from a mode to another between two stretches
    lost      the same, to what is not readable and back
    longest   s of a stretch, at most
    silent    s on both sides without a QRS complex that is seen: where others show some, such a lead does not count
    """

    order: Order = field(default_factory=Order)
    certain: float = 0.7
    apart: float = 0.2
    seen: float = 0.1
    borrow: float = 0.3
    no_atria: float = 0.0
    mistaken: float = 0.4
    noise: float = 95.0
    change: float = 10.0
    lost: float = 60.0
    longest: float = 6.0
    silent: float = 1.5


@dataclass(frozen=True)
class Read:
    """waves: WAVE rows by onset; those of lead -1 are of the leads together.

    confidence  (n,) the mean probability of each wave's class from its onset to its offset
    first       (n,) first sample of each wave at the model's rate
    stretches   (K, 2) first and last sample at the model's rate
    modes       (K,) ATRIA, NO_ATRIA or UNREADABLE
    """

    waves: np.ndarray
    confidence: np.ndarray
    first: np.ndarray
    stretches: np.ndarray
    modes: np.ndarray

    def take(self, waves: np.ndarray, stretches: np.ndarray) -> Read:
        """Some of the waves and of the stretches."""
        rows = self.waves[waves], self.confidence[waves], self.first[waves]
        return Read(*rows, self.stretches[stretches], self.modes[stretches])

    def spans(self, mode: int) -> list[tuple[int, int]]:
        """First and last sample of every run of stretches of a mode."""
        spans: list[tuple[int, int]] = []
        for (a, b), its in zip(self.stretches.tolist(), self.modes):
            if its == mode and spans and spans[-1][1] == a:
                spans[-1] = (spans[-1][0], b)
            elif its == mode:
                spans.append((a, b))
        return spans


def decode(
    probability: np.ndarray, rate: float, to: float | None = None, signal: np.ndarray | None = None,
    reader: Reader = Reader(), begins: int = 0,
) -> Read:  # fmt: skip
    """The waves in probabilities (C, 4, T) at `rate` Hz, as rows in samples at `to` Hz (default `rate`).

    A boundary lies where the class overtakes the others on the line between two samples. The peak is the sample of
    `signal` (C, T' at `to` Hz) farthest from the line between the wave's ends, in the leads together by root mean
    square; without a signal it is the middle. `begins`: the first sample of `probability` in the record. NaN: nothing
    is known of a lead there, so it has no waves and no say; where that is so of all leads, nothing can be read.
    """
    to, (probability, unknown) = to or rate, _filled(np.asarray(probability, np.float32))
    joint, mixed = _together(probability, unknown, rate, reader)
    path, together, stretches, modes = _states(probability, joint, mixed, rate, reader, begins)
    length = signal.shape[1] if signal is not None else round((begins + probability.shape[-1]) * to / rate)
    of = rate, to, max(1, length), begins
    waves, sure, first = _rows(path, probability, *of)
    all_waves, all_sure, all_first = _rows(together[None], joint[None], *of)
    if signal is not None:
        waves["peak"] = peaks_between(signal, waves["lead"], waves["onset"], waves["offset"])
        all_waves["peak"] = _farthest(signal, all_waves["onset"], all_waves["offset"])
    all_waves["lead"] = -1
    waves, first = np.concatenate([waves, all_waves]), np.concatenate([first, all_first])
    order = in_order(waves)
    return Read(waves[order], np.concatenate([sure, all_sure])[order], first[order] + begins, stretches + begins, modes)


def in_order(waves: np.ndarray) -> np.ndarray:
    """Indices that sort WAVE rows by onset, then by lead, -1 last."""
    return np.lexsort((waves["lead"].astype(np.uint8), waves["onset"]))


def _rows(path, probability, rate: float, to: float, length: int, begins: int) -> tuple[np.ndarray, ...]:
    """WAVE rows, confidence and first sample of the waves in states (C, T); the peak is the middle.

    A sample stands for the time around it: a wave of the samples i to j at `rate` goes from i - 1/2 to j + 1/2, as
    those that a model learns from, whose ends are rounded to its rate. Where the class overtakes the others moves that
    by up to half a sample.
    """
    lead, first, last, state = _runs(path)
    kind, rows = CLASS[state], np.zeros(len(lead), WAVE)
    before = begins + first - np.maximum(overtaken(probability, kind, lead, first, first - 1), 1e-6)
    after = begins + last + np.maximum(overtaken(probability, kind, lead, last, last + 1), 1e-6)
    onset = np.clip(np.rint((before + 0.5) * to / rate), 0, length - 1).astype(int)
    offset = np.clip(np.rint((after - 0.5) * to / rate), onset, length - 1).astype(int)
    columns = ("kind", kind), ("lead", lead), ("onset", onset), ("peak", (onset + offset) // 2), ("offset", offset)
    for name, values in columns:
        rows[name] = values
    return rows, _means(probability, path), first


def _farthest(signal, onset, offset) -> np.ndarray:
    """The peak (n,) of each wave of the leads together, by the root mean square of the leads that were recorded."""
    if not len(onset):
        return onset
    begins = int(onset.min())
    some = signal[:, begins : int(offset.max()) + 1]
    there = np.isfinite(some)
    square = np.square(np.where(there, some, 0), dtype=np.float64).sum(0)
    count = there.sum(0)
    mean = np.sqrt(np.where(count > 0, square / np.maximum(count, 1), np.nan))[None]
    return begins + peaks_between(mean, np.zeros(len(onset), int), onset - begins, offset - begins)


def _filled(probability) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (C, 4, T) with background in place of NaN, and where that is (C, T)."""
    unknown = np.isnan(probability[:, NONE])
    if unknown.any():
        probability = np.where(unknown[:, None], np.eye(4, 1, dtype=np.float32), probability)
    return probability, unknown


def _together(probability, unknown, rate: float, reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the leads together (4, T), their geometric mean; and of each lead with that mixed in.

    A lead that shows no QRS complex for a while does not count where others show some.
    """
    logs = np.log(np.maximum(probability, np.float32(grammar.LEAST)))
    if len(logs) == 1:
        return _normal(np.where(unknown, 0, logs[0])), probability
    counts = _shown(probability[:, QRS] >= reader.seen, round(reader.silent * rate)) & ~unknown
    counts |= ~counts.any(0) & ~unknown
    if counts.all():
        mean = logs.mean(0)
    else:
        mean = np.einsum("ckt,ct->kt", logs, counts.astype(np.float32)) / np.maximum(counts.sum(0, dtype=np.float32), 1)
    logs *= np.float32(1 - reader.borrow)
    logs += np.float32(reader.borrow) * mean * ~unknown[:, None]
    return _normal(mean), _normal(logs)


def _shown(mask, reach: int) -> np.ndarray:
    """Whether a mask (C, T) is true within `reach` samples."""
    C, T = mask.shape
    count = np.zeros((C, T + 1), np.int32)
    np.cumsum(mask, axis=1, out=count[:, 1:])
    at = np.arange(T)
    return count[:, np.minimum(at + reach + 1, T)] > count[:, np.maximum(at - reach, 0)]


def _normal(logs) -> np.ndarray:
    """Log weights (..., 4, T) as probabilities."""
    p = logs - logs.max(-2, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(-2, keepdims=True)
    return p


def _states(probability, joint, mixed, rate: float, reader: Reader, begins: int) -> tuple[np.ndarray, ...]:
    """States (of `grammar.STATES`) of every lead and sample (C, T), of the leads together (T,); stretches and modes."""
    cuts = certain(joint[QRS], rate, reader)
    stretches, ends = _between(cuts, joint[NONE], rate, reader.longest, begins)
    modes, together = _modes(joint, stretches, ends, rate, reader)
    together = _mended(together, joint[None], stretches, ends, modes)
    if len(probability) == 1:
        return together, together[0], stretches, modes
    path = _leads(mixed, probability, stretches, ends, modes, rate, reader)
    return _mended(path, probability, stretches, ends, modes), together[0], stretches, modes


def certain(p: np.ndarray, rate: float, reader: Reader) -> np.ndarray:
    """Samples that surely lie in a QRS complex, of its probability (T,): the middle of each run above `certain`."""
    _, first, last = runs(p[None] >= reader.certain, reader.apart * rate / 2, 1)
    return (first + last) // 2


def _between(cuts, background, rate: float, longest: float, begins: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretches (K, 2) from cut to cut, both samples included, and what their ends are: INSIDE, FREE or PARTED.

    What is longer than `longest` s is parted about every half of that, where the background (T,) is most probable.
    """
    T, step = len(background), max(4, int(longest / 2 * rate))
    marks = np.unique(np.concatenate([[0], cuts, [T - 1]]))
    parted = [
        _quietest(background, g - begins, step // 4, round(QUIET * rate / 2))
        for a, b in zip(marks[:-1].tolist(), marks[1:].tolist())
        if b - a > 2 * step
        for g in range(-(-(begins + a + step // 2) // step) * step, begins + b - step // 2 + 1, step)
    ]
    marks = np.unique(np.concatenate([marks, np.array(parted, int)])) if T > 1 else np.zeros(2, int)
    stretches = np.stack([marks[:-1], marks[1:]], axis=1)
    ends = np.where(np.isin(stretches, cuts), INSIDE, FREE)
    ends[np.isin(stretches, parted)] = PARTED
    return stretches, ends


def _quietest(background, at: int, reach: int, width: int) -> int:
    """The sample within `reach` of `at` with the most background within `width` of it. No sum reaches farther."""
    a, b = max(1, at - reach), min(len(background) - 2, at + reach)
    first, last = max(0, a - width), min(len(background), b + width + 1)
    total = np.concatenate([[0], np.cumsum(background[first:last], dtype=np.float64)])
    middle = np.arange(a, b + 1)
    left, right = np.maximum(middle - width, first), np.minimum(middle + width + 1, last)
    mean = (total[right - first] - total[left - first]) / (right - left)
    return a + int(np.round(mean, 3).argmax())


def _modes(joint, stretches, ends, rate: float, reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest mode of each stretch (K,), and the states (1, T), by the leads together."""
    K, seconds = len(stretches), (np.diff(stretches, axis=1)[:, 0] + 1) / rate
    row, k = np.zeros(2 * K, int), np.tile(np.arange(K), 2)
    atria = np.repeat([True, False], K)
    out = np.full((2, joint.shape[1]), TP, np.uint8)
    found = _read(joint[None], row, stretches[k], ends[k], atria, rate, reader, out, 1 - atria)
    score = np.stack([found[:K], found[K:] - reader.no_atria, -reader.noise * seconds], axis=1)
    modes = _likeliest(score, reader)
    of = np.repeat(modes, np.diff(stretches[:, 0], append=joint.shape[1]))
    together = np.where(of == UNREADABLE, TP, np.where(of == ATRIA, out[0], out[1]))
    after = (modes[1:] == UNREADABLE) & (modes[:-1] != UNREADABLE)
    at = stretches[1:, 0][after]
    together[at] = out[modes[:-1][after], at]
    return modes, together[None]


def _likeliest(score, reader: Reader) -> np.ndarray:
    """The best column of each row (K,) of scores (K, 3), less the cost of each change."""
    cost = reader.change * (1 - np.eye(3))
    cost[UNREADABLE, :UNREADABLE] = cost[:UNREADABLE, UNREADABLE] = reader.lost
    best, came = score[0], np.zeros(score.shape, int)
    for k in range(1, len(score)):
        ways = best[:, None] - cost
        came[k] = ways.argmax(0)
        best = ways.max(0) + score[k]
    columns = np.empty(len(score), int)
    columns[-1] = best.argmax()
    for k in range(len(score) - 1, 0, -1):
        columns[k - 1] = came[k, columns[k]]
    return columns


def _sets() -> np.ndarray:
    """States that a stretch may begin in, and end in, at each kind of end: (2, 6, 6) bool.

    A lead whose QRS complex is seen in others only has P before it and T behind it all the same.
    """
    begin = {UNSEEN: [TP, ST], AHEAD: [PQ], OVER: [ST], INSIDE: [IN_QRS], FREE: range(6), PARTED: [TP]}
    end = {UNSEEN: [TP, ST, PQ], AHEAD: [TP, PQ], OVER: [ST], INSIDE: [IN_QRS], FREE: range(6), PARTED: [TP, ST]}
    table = np.zeros((2, 6, 6), bool)
    for side, sets in enumerate((begin, end)):
        for kind, states in sets.items():
            table[side, kind, list(states)] = True
    return table


SETS = _sets()


def _read(probability, row, stretches, ends, atria, rate: float, reader: Reader, out, to) -> np.ndarray:
    """Reads n stretches (n, 2), each of a `row` (n,) of probabilities (R, 4, T); gives their scores (n,).

    The states go to row `to` (n,) of `out`. What the ends (n, 2) are, see `SETS`; atria (n,) bool.
    """
    R, _, T = probability.shape
    flat, length = probability.transpose(1, 0, 2).reshape(4, R * T), stretches[:, 1] - stretches[:, 0] + 1
    score = np.empty(len(row))
    for some in _batches(length):
        size, begin = length[some], stretches[some, 0]
        within = np.minimum(np.arange(size.max())[:, None], size - 1)  # (t, k)
        p = flat[:, within + (row[some] * T + begin)].transpose(2, 0, 1)  # (k, 4, t), k last in memory
        emission = grammar.emissions(p, atria[some], reader.mistaken)
        start, stop = (SETS[side, ends[some, side]] for side in (0, 1))
        path, score[some] = grammar.paths(emission, size, start, stop, reader.order, rate)
        inside = np.arange(path.shape[1]) < size[:, None]
        out.reshape(-1)[((to[some] * T + begin)[:, None] + np.arange(path.shape[1]))[inside]] = path[inside]
    return score


def _batches(length):
    """Indices of stretches of similar length, at most AT_ONCE samples of them at a time."""
    order = np.argsort(length, kind="stable")
    while len(order):
        n = max(1, int((np.arange(1, len(order) + 1) * length[order] <= AT_ONCE).sum()))
        yield order[:n]
        order = order[n:]


def _leads(mixed, probability, stretches, ends, modes, rate: float, reader: Reader) -> np.ndarray:
    """States (C, T) of every lead."""
    C, _, T = mixed.shape
    out = np.full((C, T), TP, np.uint8)
    which = np.flatnonzero(modes != UNREADABLE)
    cuts = np.unique(stretches[ends == INSIDE])
    stands = _stands(probability[:, QRS], cuts, max(1, round(NEAR * rate)), reader.seen)  # (C, n)
    its = np.repeat(ends[None, which], C, axis=0)  # (C, K, 2)
    for side in (0, 1):
        cut = np.flatnonzero(ends[which, side] == INSIDE)
        its[:, cut, side] = stands[:, np.searchsorted(cuts, stretches[which[cut], side])]
    row, k = np.repeat(np.arange(C), len(which)), np.tile(which, C)
    _read(mixed, row, stretches[k], its.reshape(-1, 2), modes[k] == ATRIA, rate, reader, out, row)
    return out


def _stands(p, cuts, near: int, seen: float) -> np.ndarray:
    """Where the QRS complex of each cut stands in each lead, (C, n), of its probability (C, T).

    Around the cut if it is at least half as probable there as near by.
    """
    around = np.clip(cuts[:, None] + np.arange(-near, near + 1), 0, p.shape[1] - 1)
    shown = p[:, around]  # (C, n, 2 near + 1)
    before, after = shown[..., :near].max(-1), shown[..., near + 1 :].max(-1)
    beside = np.where(np.maximum(before, after) < seen, UNSEEN, np.where(before > after, OVER, AHEAD))
    least = np.maximum(seen, np.maximum(before, after) / 2)
    return np.where(shown[..., near] >= least, INSIDE, beside)


def _mended(path, probability, stretches, ends, modes) -> np.ndarray:
    """States (C, T) with those QRS complexes whole that a stretch that is not readable cuts at its end."""
    bad = modes == UNREADABLE
    if bad.any():
        for k in np.flatnonzero(bad[1:] & ~bad[:-1] & (ends[1:, 0] == INSIDE)) + 1:
            a, b = stretches[k]
            _go_on(path[:, a : b + 1], probability[..., a : b + 1])
        for k in np.flatnonzero(bad[:-1] & ~bad[1:] & (ends[:-1, 1] == INSIDE)):
            a, b = stretches[k]
            _go_on(path[:, a : b + 1][:, ::-1], probability[..., a : b + 1][..., ::-1])
    return path


def _go_on(path, probability) -> None:
    """A QRS complex at the first sample of states (C, n) goes on as long as it is the most probable class."""
    on = np.logical_and.accumulate(probability[:, QRS] >= probability.max(1), axis=1)
    path[on & (path[:, :1] == IN_QRS)] = IN_QRS


def _runs(path: np.ndarray) -> tuple[np.ndarray, ...]:
    """Lead, first and last sample, and state of every P, QRS and T in states (C, T)."""
    C, samples = path.shape
    change = np.ones((C, samples + 1), bool)
    change[:, 1:-1] = path[:, 1:] != path[:, :-1]
    lead, first = np.nonzero(change[:, :-1])
    last = np.nonzero(change[:, 1:])[1]
    state = path[lead, first]
    keep = CLASS[state] != NONE
    return lead[keep], first[keep], last[keep], state[keep]


def _means(probability, path) -> np.ndarray:
    """Mean probability (n,) of the class of each wave in states (C, T), by lead and time."""
    lead, first, last, state = _runs(path)
    size = last - first + 1
    if not len(size):
        return np.zeros(0)
    at = np.repeat(first - np.cumsum(size) + size, size) + np.arange(size.sum())
    p = probability[np.repeat(lead, size), np.repeat(CLASS[state], size), at]
    return np.minimum(np.add.reduceat(p, np.cumsum(size) - size, dtype=np.float64) / size, 1)
