"""The gallery of failures: the records with the largest loss, and those whose wrong answer was given most surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..metrics import waves as wave_metrics
from ..model import Graft
from ..report import Page
from . import _score
from ._examples import Corpus

EXAMPLES = 4  # of each kind
MISTAKES = 5  # that a caption names
SHOWN = 10.0  # s of a record


@dataclass(frozen=True)
class Failures:
    """Places among the answers, the worst first. `surely` has none of `worst`, and only records with a wrong answer."""

    worst: np.ndarray
    surely: np.ndarray

    def plain(self, corpus: Corpus, found: _score.Answers) -> dict[str, list[str]]:
        """The ids of the records, for JSON."""
        ids = corpus.store.column("id")
        pairs = (("worst", self.worst), ("most surely wrong", self.surely))
        return {name: [ids[int(found.rows[i])] for i in which] for name, which in pairs}


def failures(graft: Graft, corpus: Corpus, found: _score.Answers, count: int = EXAMPLES) -> Failures:
    """Of each kind at most `count`."""
    loss, surely = wrongness(graft, corpus, found)
    worst = np.argsort(-loss, kind="stable")[:count]
    left = np.array([i for i in np.argsort(-surely, kind="stable") if surely[i] > 0 and i not in worst], int)
    return Failures(worst[loss[worst] > 0], left[:count])


def wrongness(graft: Graft, corpus: Corpus, found: _score.Answers) -> tuple[np.ndarray, np.ndarray]:
    """Loss (n,) and how sure the surest wrong answer is (n,), 0 where none is wrong. Unknown labels do not count."""
    kind, rows = corpus.task.kind, found.rows
    if kind == "regression":
        error = np.abs(_score.values(found, graft.calibration) - corpus.y[rows, 0])
        return error, np.zeros(len(error))
    if kind in ("waves", "beats", "peaks"):
        return found.loss, found.surely
    p = _score.probabilities(corpus.task, found, graft.calibration)
    y, known = corpus.y[rows] == 1, corpus.known_each[rows]
    of_truth = np.where(y, p, 1 - p)  # (n, K)
    if kind == "multiclass":
        return -np.log(np.maximum(p[y], 1e-12)), np.where(y[np.arange(len(p)), p.argmax(1)], 0, p.max(1))
    called = p >= _score.limits(corpus.task, graft.thresholds)
    loss = np.where(known, -np.log(np.maximum(of_truth, 1e-12)), 0).sum(1)
    return loss, np.where(known & (called != y), 1 - of_truth, 0).max(1)


def add_gallery(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, count: int = EXAMPLES) -> dict:
    """ECGs with reference and answer, at the end of the page's section. Returns the ids of the records."""
    shown = failures(graft, corpus, found, count)
    if len(shown.worst):
        page.text("The records that went worst, by the loss of their answers:")
        _draw(page, graft, corpus, found, shown.worst)
    if len(shown.surely):
        page.text("Further records that were answered wrongly, the surest first:")
        _draw(page, graft, corpus, found, shown.surely)
    return shown.plain(corpus, found)


def _draw(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, which: np.ndarray) -> None:
    for i in which:
        record = corpus.store.record(int(found.rows[i]))
        waves = found.waves[i] if corpus.task.kind == "waves" else None
        if waves is None:
            record = record.but(waves=None, scored=None)
        caption = f"{record.id}: {CAPTIONS[corpus.task.kind](graft, corpus, found, int(i))}"
        page.ecg(record, waves, seconds=min(SHOWN, record.seconds), caption=caption)


def _of_classes(graft: Graft, corpus: Corpus, found: _score.Answers, i: int) -> str:
    labels, row = corpus.task.labels, found.rows[i]
    p = _score.probabilities(corpus.task, found.take([i]), graft.calibration)[0]
    known = corpus.known_each[row]
    truth = ", ".join(label for label, yes, k in zip(labels, corpus.y[row], known) if yes and k) or "none of them"
    unknown = [label for label, k in zip(labels, known) if not k]
    truth += f" (not known: {', '.join(unknown)})" if unknown else ""
    ranked = sorted(zip(labels, p), key=lambda pair: -pair[1])[:3]
    said = f"reference {truth}; predicted {', '.join(f'{label} {v:.2f}' for label, v in ranked)}"
    if corpus.task.kind == "multiclass":
        return said
    gap = np.where(known, np.abs(p - corpus.y[row]), 0)
    wrong = (p >= _score.limits(corpus.task, graft.thresholds)) != (corpus.y[row] == 1)
    order = [k for k in np.argsort(-gap, kind="stable") if wrong[k] and known[k]]
    listed = [f"{labels[k]} {'missed' if corpus.y[row, k] else 'called'} ({p[k]:.2f})" for k in order[:MISTAKES]]
    return said + (f"; wrong: {', '.join(listed)}" if listed else "; nothing wrong at the thresholds")


def _of_value(graft: Graft, corpus: Corpus, found: _score.Answers, i: int) -> str:
    said = _score.values(found.take([i]), graft.calibration)[0]
    return f"reference {corpus.y[found.rows[i], 0]:.4g}, predicted {said:.4g}"


def _of_waves(graft: Graft, corpus: Corpus, found: _score.Answers, i: int) -> str:
    hits, missed, false = found.counts[i, :, :3].sum(0).astype(int)
    f1 = wave_metrics.scores(found.counts[i])["mean f1"]
    return f"mean boundary F1 {f1:.3f}; {hits} boundaries found, {missed} missed, {false} false"


def _of_beats(graft: Graft, corpus: Corpus, found: _score.Answers, i: int) -> str:
    matrix, labels = found.confusion[i].astype(int), corpus.task.labels
    wrong = [f"{n} {labels[a]} taken for {labels[b]}" for (a, b), n in np.ndenumerate(matrix) if n and a != b]
    return f"{matrix.sum()} beats; {', '.join(wrong) or 'none wrong'}"


def _of_peaks(graft: Graft, corpus: Corpus, found: _score.Answers, i: int) -> str:
    hits, missed, false = found.counts[i, :3].astype(int)
    return f"{hits} R peaks found, {missed} missed, {false} false"


CAPTIONS = {
    "multilabel": _of_classes,
    "multiclass": _of_classes,
    "regression": _of_value,
    "waves": _of_waves,
    "beats": _of_beats,
    "peaks": _of_peaks,
}
