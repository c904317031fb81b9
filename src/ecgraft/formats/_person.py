"""What ECG files say of a person: sex, age, dates, height and weight, in the words of several languages."""

from __future__ import annotations

import re
from datetime import date

OLDEST = 120  # years
SEXES = {
    "F": "f female woman w weiblich frau femme féminin feminin femenino feminino femmina femminile mujer vrouw",
    "M": "m male man männlich mann homme masculin masculino maschio maschile hombre",
}
SEXES = {word: letter for letter, words in SEXES.items() for word in words.split()}
YEARS = {  # unit of an age, without a plural s -> years
    **dict.fromkeys(("year", "yr", "y", "a", "jahr", "jahre", "an", "année", "año", "anno", "anni"), 1.0),
    **dict.fromkeys(("month", "mo", "m", "monat", "monate", "moi", "mese", "mesi"), 1 / 12),
    **dict.fromkeys(("week", "wk", "w", "woche", "wochen"), 7 / 365.25),
    **dict.fromkeys(("day", "d", "tag", "tage", "jour"), 1 / 365.25),
    **dict.fromkeys(("hour", "h"), 1 / 8766),
}
MONTHS = {  # by their first letters
    **dict.fromkeys(("jan", "ene", "gen"), 1),
    **dict.fromkeys(("feb", "fév", "fev"), 2),
    **dict.fromkeys(("mar", "mär", "maa"), 3),
    **dict.fromkeys(("apr", "avr", "abr"), 4),
    **dict.fromkeys(("may", "mai", "maj", "mag", "mei"), 5),
    **dict.fromkeys(("jun", "juin", "giu"), 6),
    **dict.fromkeys(("jul", "juil", "lug"), 7),
    **dict.fromkeys(("aug", "aoû", "aou", "ago"), 8),
    **dict.fromkeys(("sep", "set"), 9),
    **dict.fromkeys(("oct", "okt", "ott", "out"), 10),
    "nov": 11,
    **dict.fromkeys(("dec", "dez", "déc", "dic"), 12),
}
_YEAR, _MONTH, _DAY = r"(?P<year>\d{4})(?!\d)", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_NAME = r"(?P<month>[^\W\d_]{3,10})"
DATES = (
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?!\d)",
    rf"{_YEAR}([-年./]){_MONTH}(?:\2|月){_DAY}(?!\d)",
    rf"{_DAY}\.\s?{_MONTH}\.\s?{_YEAR}",
    rf"{_NAME}\.?\s+{_DAY},?\s+{_YEAR}",
    rf"{_DAY}[-.]?\s*(?:de\s+)?{_NAME}[-.]?\s*(?:de\s+)?{_YEAR}",
)
CENTIMETRES = {"cm": 1.0, "mm": 0.1, "m": 100.0, "in": 2.54, "inch": 2.54, "inches": 2.54}
KILOGRAMS = {"kg": 1.0, "g": 1e-3, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.45359237 / 16}


def sex(word: str) -> str | None:
    """ "F" or "M" where the first word as a whole says one: "Missing" is no man, "mujer" neither."""
    return SEXES.get(re.match(r"[^\W\d_]*", word.strip().lower())[0])


def age(said: float | None, born: date | None, recorded: date | None) -> tuple[float | None, list[str]]:
    """Years as they are said, else by the dates; and, for `told`, that they were computed."""
    counted = years(born, recorded) if said is None else None
    return (said, []) if counted is None else (counted, ["age from the date of birth"])


def years(born: date | None, recorded: date | None) -> float | None:
    """The age at the recording, in whole years as it is said; None where it cannot be one."""
    if born is None or recorded is None or recorded < born:
        return None
    whole = recorded.year - born.year - ((recorded.month, recorded.day) < (born.month, born.day))
    return float(whole) if whole <= OLDEST else None


def in_years(value: float | None, unit: str = "") -> float | None:
    """An age with its unit ("YEARS", "mo", "d"; none is years) in years; None where it is not known or no age."""
    unit = unit.strip().lower() or "year"
    factor = YEARS.get(unit, YEARS.get(unit.rstrip("s")))
    if value is None or factor is None or not 0 <= value * factor <= OLDEST:
        return None
    return round(value * factor, 4)


def day(text: str) -> date | None:
    """A date, with or without a time, that is written so that it means one day: not 1/2/1951. None where there is none.

    1951-01-31, 19510131, 31.1.1951, 31-JAN-1951, Jan 31, 1951, 31 janv. 1951, 1951年1月31日.
    """
    for pattern in DATES:
        found = re.match(pattern, text.strip())
        if found:
            named = found["month"]
            return day_of(found["year"], named if named.isdigit() else month(named), found["day"])
    return None


def day_of(year, month, day) -> date | None:
    """The date of three numbers or their digits; None where there is no such day."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def month(name: str) -> int:
    """The number of a month's name or of its first letters; 0 for what is none."""
    name = name.lower()
    return MONTHS.get(name[:4], MONTHS.get(name[:3], 0))


def in_unit(value: float | None, unit: str, factors: dict[str, float]) -> float | None:
    """A number in the unit that has factor 1; None where it or its unit is not known."""
    factor = factors.get(unit.strip().lower())
    return None if value is None or factor is None else round(value * factor, 2)
