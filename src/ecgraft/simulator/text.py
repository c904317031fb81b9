"""Reports in varied wording, English and German, from the findings and the measured rate and intervals."""

from __future__ import annotations

import random

from .findings import FINDINGS

_FRAMES = {
    "english": ("{findings}.", "{findings}. Rate {rate}/min.", "Rate {rate} bpm. {findings}.",
                "{findings}. PR {pr} ms, QRS {qrs} ms, QT {qt} ms.", "ECG: {findings}; heart rate {rate}/min."),
    "german": ("{findings}.", "{findings}. Frequenz {rate}/min.", "HF {rate}/min. {findings}.",
               "{findings}. PQ {pr} ms, QRS {qrs} ms, QT {qt} ms.", "EKG: {findings}; Frequenz {rate}/min."),
}  # fmt: skip
_JOINTS = {"english": (", ", ". ", "; ", " with "), "german": (", ", ". ", "; ", " mit ")}


def report(names: list[str], numbers: dict[str, int], german: bool, seed: str) -> str:
    """One report. `numbers`: rate (a minute), pr, qrs, qt (ms; -1 where there is none)."""
    choose = random.Random(seed)
    language = "german" if german else "english"
    wanted = set(names)
    words = [choose.choice(getattr(f, language)) for f in FINDINGS if f.name in wanted and f.name != "NORM"]
    text = words[0]
    joint = choose.choice(_JOINTS[language])
    for i, word in enumerate(words[1:]):
        text += (joint if i == 0 or joint != _JOINTS[language][3] else ", ") + word
    if "NORM" in wanted:
        text += ". " + choose.choice(getattr(FINDINGS[0], language))
    frames = [frame for frame in _FRAMES[language] if numbers["pr"] > 0 or "{pr}" not in frame]
    text = choose.choice(frames).format(findings=text[0].upper() + text[1:], **numbers)
    return text
