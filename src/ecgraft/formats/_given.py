"""What a person says about ECG files beside what the files say themselves."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from .. import plugs
from ..record import LEADS, MILLIVOLT, InputError, UsageError, to_millivolt

NO_MEDIAN = "there is no median beat in it; read it without median (--median)"
NOBODY = re.compile(r"(0*|unknown|anonym\w*|none|n/?a|null|test|x+|[-?*_.]+)", re.I)  # a patient who is not said


@dataclass(frozen=True)
class Given:
    """What a person says about files that do not say it themselves. What a file says itself comes first."""

    rate: float | None = None  # Hz
    unit: str | None = None  # mV, uV, V, nV
    leads: tuple[str, ...] | None = None
    index: int | None = None  # which record of a file that holds several, from 0
    median: bool = False  # the median (representative) beat in place of the rhythm
    patient_key: bytes | None = None  # secret; with it patients come as hashes, without it not at all

    def require(self, where, *, rate: bool, unit: bool, names: int) -> None:
        """InputError that names all that a file does not say and nobody has given, with the options for it.

        rate, unit  whether they are needed; names: how many lead names are
        """
        hint = "--leads standard for I, II, III, aVR, aVL, aVF, V1-V6" if names == 12 else "--leads II,V1,V5"
        options = {
            "its sampling rate": "rate (--rate 500)" if rate and self.rate is None else "",
            "its unit": "unit (--unit mV, or uV, V, nV)" if unit and self.unit is None else "",
            f"the names of its {names} leads": f"leads ({hint})" if names > 1 and self.leads is None else "",
        }
        missing = {what: option for what, option in options.items() if option}
        if missing:
            what, how = ", ".join(missing), ", ".join(missing.values())
            raise InputError(f"{where}: the file does not say {what}; give it with {how}")

    def hz(self, where) -> float:
        """The rate, or an InputError that names the option."""
        self.require(where, rate=True, unit=False, names=0)
        return float(self.rate)

    def scale(self, where, stated: str | None = None) -> float:
        """Factor to mV of the unit that the file states; of the given one where that is none, or not known."""
        if stated and stated.strip().lower() in MILLIVOLT:
            return to_millivolt(stated)
        if stated and self.unit is None:
            raise InputError(f"{where}: unknown unit {stated!r}; say what it is with unit (--unit mV, or uV, V, nV)")
        self.require(where, rate=False, unit=True, names=0)
        return to_millivolt(self.unit, str(where))

    def names(self, count: int, where) -> tuple[str, ...]:
        """`count` lead names. One lead may go without a name ("ECG"); more than one may not."""
        if self.leads is None and count == 1:
            return ("ECG",)
        self.require(where, rate=False, unit=False, names=count)
        if len(self.leads) != count:
            raise InputError(f"{where}: {count} signals but {len(self.leads)} names in leads; give one name for each")
        return self.leads

    def patient(self, identity: str | None, name: str = "", born: str = "") -> str | None:
        """A patient's pseudonym: HMAC-SHA256 of the identity under the secret. None without a secret or an identity.

        Where a file has no patient number, name and date of birth together stand for it. Blanks and letter case do
        not count, leading zeros do. Whoever lacks the secret can neither undo the hash nor try numbers against it.
        """
        if self.patient_key is None:
            return None
        said = " ".join((identity or "").split()).casefold()
        if NOBODY.fullmatch(said):
            whole = " ".join(f"{name} {born}".split()).casefold() if name.strip() and born.strip() else ""
            said = f"name:{whole}" if whole else ""
        if not said:
            return None
        return "key:" + hmac.new(self.patient_key, said.encode(), hashlib.sha256).hexdigest()[:24]


def understand(given: dict) -> Given:
    """Options as a person writes them (leads as "II,V5" or "standard", the key as text) -> Given."""
    for key in given:
        if key not in Given.__dataclass_fields__:
            raise UsageError(f"read: unknown option {key!r}; {plugs.nearest(key, Given.__dataclass_fields__)}")
    given = {key: value for key, value in given.items() if value is not None}
    if "unit" in given and given["unit"].strip().lower() not in MILLIVOLT:
        raise UsageError(f"unknown unit {given['unit']!r}; use one of mV, uV, V, nV")
    if "rate" in given and not 0 < float(given["rate"]) <= 100_000:
        raise UsageError(f"rate {given['rate']}: it must be above 0 and at most 100000 Hz")
    leads = given.get("leads")
    if isinstance(leads, str):
        given["leads"] = LEADS if leads.lower() == "standard" else tuple(name.strip() for name in leads.split(","))
    elif leads is not None:
        given["leads"] = tuple(leads)
    key = given.get("patient_key")
    if key is not None:
        given["patient_key"] = key.encode() if isinstance(key, str) else bytes(key)
        if len(given["patient_key"]) < 16:
            raise UsageError("patient_key: a secret has at least 16 bytes; shorter ones can be guessed")
    if given.get("index", 0) < 0:
        raise UsageError(f"index {given['index']}: the records of a file count from 0")
    return Given(**given)
