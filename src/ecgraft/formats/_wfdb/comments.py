"""What the comments of a WFDB header say about an ECG, and nothing of who it is of.

Comments are free text: some hospitals write names into them. So only lines are kept whose key is known, "Dx: 426783006"
(the PhysioNet/CinC challenges), "<diagnoses>:" and the lines after it (LUDB), "Reason for admission: ..." (PTB), and
what `_wfdb.write` writes; name, number and date of birth go into the pseudonym; every other line is left out.
"""

from __future__ import annotations

import math
import re

from .. import Given
from .._said import names, possible, report

ITEM = re.compile(r"<([\w -]{1,40})>[ \t]*+:([^<]*+)")  # <age>: 25  <sex>: M
LINE = re.compile(r"([A-Za-z][\w ()/.-]{0,60}+):(.*)")  # Dx: 426783006
LONGEST = 2000  # letters of a line that are looked at
NUMBER = {"patient id", "patient number", "patient no", "patient", "mrn", "subject", "subject id", "id", "pid"}
NAME = {"name", "patient name", "full name"}
BORN = {"date of birth", "birth date", "birthdate", "birthday", "dob", "born"}
STATEMENTS = {"report", "diagnosis", "diagnoses", "diagnose", "dx", "interpretation", "statement", "statements"}
FINDINGS = {  # which say what they are of
    *("rhythm", "electric axis of the heart", "reason for admission", "additional diagnoses"),
    *("acute infarction (localization)", "former infarction (localization)"),
}
KEPT = {"rx", "medication", "medications", "recorder type", "pacemaker", "signal quality"}  # as comments
PERSON = {"age", "sex", "gender"}  # which Header.person reads
EMPTY = {"", "unknown", "none", "no", "n/a", "na", "nan", "?", "??"}
CODE = re.compile(r"[\w.-]{1,40}:\S.{0,200}")
BODY = ("height", "weight")  # cm, kg


def understand(comments: tuple[str, ...], given: Given) -> Said:
    said = Said()
    for key, text in _items(comments):
        said.take(key, text)
    return said.of(given)


class Said:
    """What comments say: `fields` of the Record, lines that are `kept`, and what was `skipped`."""

    def __init__(self):
        self.labels, self.values, self.complete, self.report = {}, {}, set(), []
        self.identity, self.kept, self.skipped, self.left = {}, [], [], 0
        self.listing = False  # after "<diagnoses>:" come its lines

    def take(self, key: str, text: str) -> None:
        word = key.lower().replace("_", " ").strip()
        said = "" if text.lower().strip("() .") in EMPTY else text
        ways = (self._codes(word, said), self._statement(key, word, said), self._own(word, text))
        if not any(ways) and not self._person(word, said) and not self._listed(key, text):
            self.left += text != ""
        starts = word in ("diagnoses", "diagnosis") and not text
        self.listing = starts or (self.listing and (not key or word in FINDINGS))

    def of(self, given: Given) -> Said:
        """Itself, complete."""
        number, name, born = (self.identity.get(what, "") for what in ("number", "name", "born"))
        self.fields = {"labels": self.labels, "complete": frozenset(self.complete), "values": self.values}
        self.fields |= {"report": report(self.report, names([name])), "patient": given.patient(number, name, born)}
        if self.left:
            self.skipped.append(f"{self.left} line{'s' * (self.left > 1)} of comments, which may say who it is")
        return self

    def _codes(self, word: str, said: str) -> bool:
        """The SNOMED CT codes of "Dx: 426177001,164934002"."""
        codes = [code.strip() for code in said.split(",") if code.strip()]
        if word != "dx" or not all(code.isdecimal() for code in codes):
            return False
        if all(6 <= len(code) <= 18 for code in codes):
            self.labels |= {f"snomed:{code}": 1 for code in codes}
        else:
            self.skipped.append(f"Dx: {said[:80]}, which are no SNOMED CT codes")
        return True

    def _statement(self, key: str, word: str, said: str) -> bool:
        """Not of Dx, if it has codes."""
        if word in FINDINGS or (word in STATEMENTS and not (word == "dx" and re.fullmatch(r"[\d ,]*", said))):
            self.report += [said if word in STATEMENTS else f"{key}: {said}"] * bool(said)
        return word in FINDINGS | STATEMENTS

    def _own(self, word: str, text: str) -> bool:
        """What `_wfdb.write` writes."""
        if word in ("label", "not") and CODE.fullmatch(text):
            self.labels[text] = int(word == "label")
        elif word == "complete":
            self.complete |= {name for name in text.split() if re.fullmatch(r"[\w.-]{1,40}", name)}
        elif word in ("value", *BODY):
            self.values |= _value(text if word == "value" else f"{word} = {text}")
        else:
            return False
        return True

    def _person(self, word: str, said: str) -> bool:
        for what, words in {"number": NUMBER, "name": NAME, "born": BORN}.items():
            if word in words:
                self.identity[what] = self.identity.get(what) or said
        return word in NUMBER | NAME | BORN | PERSON

    def _listed(self, key: str, text: str) -> bool:
        listed = self.listing and not key and text != ""
        self.report += [text] * listed
        kept = key.lower() in KEPT and text.lower() not in EMPTY
        self.kept += [f"{key}: {text}"] * kept
        return listed or key.lower() in KEPT


def _items(comments: tuple[str, ...]):
    """(key, text); lines without a key have ""."""
    for line in comments:
        line = line[:LONGEST]
        several = ITEM.findall(line)
        match = LINE.match(line)
        if several:
            yield from ((key, text.strip()) for key, text in several)
        elif match:
            yield match[1].strip(), match[2].strip()
        else:
            yield "", line


def _value(text: str) -> dict[str, float]:
    """ "heart rate = 61" or "height = 180 cm"; nothing where that is no plausible number."""
    name, _, number = text.rpartition("=")
    name, found = name.strip(), re.match(r"\s*([-+]?\d{1,20}(?:\.\d{0,20})?(?:e[-+]?\d{1,3})?)\b", number)
    value = float(found[1]) if found else math.nan
    if name in BODY:
        return possible([(name, value)])
    return {name: value} if 0 < len(name) <= 40 and math.isfinite(value) else {}
