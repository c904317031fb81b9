"""ecgraft doctor: a file held against what a model expects."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.commands.doctor import doctor
from ecgraft.record import LEADS, InputError
from made_files import ecg, save

pytestmark = pytest.mark.slow


def said(path, **given) -> dict[str, tuple[str, str]]:
    return {one.what: (one.verdict, one.file) for one in doctor(path, progress=False, **given)}


def twelve(seconds: float = 10, rate: float = 500) -> np.ndarray:
    """Twelve leads of which the limb leads obey their laws."""
    x = ecg(0, leads=12, seconds=seconds, rate=rate)
    one, two = x[0].copy(), x[1].copy()
    x[2], x[3], x[4], x[5] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return x


def test_a_fitting_file_is_fine(tmp_path):
    save(tmp_path / "a.npz", twelve(), leads=list(LEADS), rate=500.0)
    found = said(tmp_path / "a.npz")
    assert {verdict for what, (verdict, _) in found.items() if not what.startswith("graft")} == {"ok"}
    assert "is resampled" in found["rate"][1] and "obey" in found["limb leads"][1] and found["format"][1] == "NumPy"
    assert any(what.startswith("graft ") for what in found)


def test_fewer_leads_are_derived_or_missing(tmp_path):
    save(tmp_path / "a.npz", twelve()[[0, 1, 6]], leads=["I", "II", "V1"], rate=500.0)
    verdict, text = said(tmp_path / "a.npz")["leads"]
    assert verdict == "note" and "derived: III, aVR, aVL, aVF" in text and "not there: V2, V3, V4, V5, V6" in text
    save(tmp_path / "b.npz", ecg(0, leads=1, seconds=10), leads=["CM5"])
    verdict, text = said(tmp_path / "b.npz")["leads"]
    assert verdict == "note" and "CM5 is taken as II" in text


def test_leads_under_wrong_names_break_the_law(tmp_path):
    x = twelve()
    save(tmp_path / "a.npz", x[[0, 6, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11]], leads=list(LEADS), rate=500.0)
    verdict, text = said(tmp_path / "a.npz")["limb leads"]
    assert verdict == "note" and "III" in text


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scale": 1000.0}, "try --unit uV"),
        ({"scale": 0.001}, "A thousandth of an ECG"),
        ({"rate": 10.0}, "No ECG has so low a rate"),
        ({"seconds": 1.0}, "Too short for a heart beat"),
        ({"leads": ["X1", "X2", "X3"], "rows": 3}, "leads"),
    ],
    ids=["microvolt", "volt", "rate", "length", "leads"],
)
def test_what_cannot_be_asked_is_an_error_that_says_what_to_do(tmp_path, change, match):
    rows = change.pop("rows", 12)
    x = change.pop("scale", 1.0) * twelve(change.pop("seconds", 10))[:rows]
    save(tmp_path / "a.npz", x, **({"leads": list(LEADS), "rate": 500.0} | change))
    if match == "leads":
        assert said(tmp_path / "a.npz")["leads"][0] == "note"  # a lead in a likely place is better than none
        return
    with pytest.raises(InputError, match=match):
        doctor(tmp_path / "a.npz", progress=False)


def test_quality_and_short_records_are_told(tmp_path, capsys):
    x = twelve(5)
    x[7] = 0.0
    save(tmp_path / "a.npz", x, leads=list(LEADS), rate=500.0)
    found = said(tmp_path / "a.npz")
    assert found["quality"] == ("note", "lead V2 is flat at 0 mV") and found["length"][0] == "note"
    doctor(tmp_path / "a.npz")
    assert "is padded" in " ".join(capsys.readouterr().out.split())
