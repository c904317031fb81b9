"""Annotation marks -> waves, beats, rhythms; lists. All by hand."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgraft.datasets import _lists as lists
from ecgraft.formats import reading
from ecgraft.formats._wfdb import annotations
from ecgraft.record import QRS, InputError, P, T


def marks(text, notes=None):
    """One mark every 10 samples."""
    return annotations.Marks(np.arange(len(text)) * 10, tuple(text), tuple(notes or [""] * len(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(p)(N)(t)", [(P, 0, 10, 20), (QRS, 30, 40, 50), (T, 60, 70, 80)]),
        ("(N)t)", [(QRS, 0, 10, 20), (T, -1, 30, 40)]),  # QTDB: T without onset
        ("t)u)(p)", [(T, -1, 0, 10), (P, 40, 50, 60)]),  # U waves are not kept
        ("(tt)", [(T, 0, 10, 30)]),  # biphasic
        ("(((ttt)))", [(T, 0, 30, 80)]),  # LUDB 116: one T marked three times
        ("((p)", [(P, 10, 20, 30)]),  # a stray opening
        ("(V))", [(QRS, 0, 10, 20)]),  # any beat is a QRS
        ("N)", [(QRS, -1, 0, 10)]),
        ("N()", [(QRS, 0, 0, 20)]),  # LUDB: the onset after the peak
        ("(t", [(T, 0, 10, -1)]),
        ("t(p)", [(T, -1, 0, -1), (P, 10, 20, 30)]),
        ("+()~", []),
    ],
)
def test_waves(text, expected):
    found = annotations.waves(marks(text), lead=2)
    assert [tuple(row)[:1] + tuple(row)[2:] for row in found.tolist()] == expected
    assert (found["lead"] == 2).all()


def test_span_is_from_the_first_onset_to_the_last_offset():
    assert annotations.span(annotations.waves(marks("(p)(N)(t)")), 4).tolist() == [(4, 0, 81)]
    assert annotations.span(annotations.waves(marks("N)(t"))).tolist() == []  # an offset before the only onset
    assert annotations.span(annotations.waves(marks(""))).tolist() == []


def test_beats_are_qrs_complexes():
    found = annotations.beats(marks('+N~V|/!"x'))
    assert found.tolist() == [(10, b"N"), (30, b"V"), (50, b"/")]


def test_rhythms_hold_until_the_next():
    notes = ["(N", "", "(AFIB", "TS", "(N"]
    found = annotations.rhythms(marks("+N+++", notes), length=100)
    assert found.tolist() == [(0, 20, "N"), (20, 40, "AFIB"), (40, 100, "N")]


def test_marks_outside_of_the_record_are_left_out():
    found = marks("NVNA").within(20)
    assert (found.sample.tolist(), found.symbol) == ([0, 10], ("N", "V"))


def test_files_are_read_as_written(tmp_path):
    sample, symbol = np.array([5, 9, 700]), ["+", "N", "V"]
    wfdb.wrann("r", "atr", sample, symbol, aux_note=["(AFIB", "", ""], fs=100, write_dir=str(tmp_path))
    found = annotations.read_marks(str(tmp_path / "r"), "atr")
    assert (found.sample.tolist(), found.symbol, found.note) == ([5, 9, 700], ("+", "N", "V"), ("(AFIB", "", ""))
    with pytest.raises(InputError, match=r"r\.q1c: this annotation file is missing"):
        annotations.read_marks(str(tmp_path / "r"), "q1c")


def test_damaged_files_give_marks_or_an_input_error(tmp_path):
    rng = np.random.default_rng(5)
    sample = np.cumsum(rng.integers(1, 2000, 200))
    wfdb.wrann("r", "atr", sample, ["N", "V"] * 100, fs=100, write_dir=str(tmp_path))
    whole = np.frombuffer((tmp_path / "r.atr").read_bytes(), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 6)] = rng.integers(0, 256, 6)
        (tmp_path / "r.atr").write_bytes(damaged[: rng.integers(1, len(whole))].tobytes())
        try:
            with reading(tmp_path / "r", "test"):
                found = annotations.read_marks(str(tmp_path / "r"), "atr").within(10**6)
                annotations.beats(found), annotations.waves(found), annotations.rhythms(found, 10**6)
        except InputError:
            pass


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "..\\x", ""])
def test_lists_do_not_lead_out_of_the_folder(name):
    with pytest.raises(InputError, match="not inside of the folder"):
        lists.inside(Path("db"), name)


def test_tables(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('\ufeffid,age\n1," 50\n"\n2\n', encoding="utf-8")
    assert lists.table(path, ("id",)) == [{"id": "1", "age": "50"}, {"id": "2", "age": ""}]
    with pytest.raises(InputError, match="no column 'sex'; it has id, age"):
        lists.table(path, ("sex",))
    assert [lists.number(text) for text in ("5", "nan", "", "x", "inf")] == [5, None, None, None, None]
