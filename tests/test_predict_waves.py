"""What predict writes of waves and beats: tables, pages, pictures, and annotation files that read back as they were."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import wfdb
from matplotlib.image import imread
from wfdb.io.annotation import ann_label_table

import ecgraft
from ecgraft import cli, formats
from ecgraft.commands import _annotation_files, _waves_out
from ecgraft.commands.predict import page, picture
from ecgraft.formats._wfdb import annotations as read
from ecgraft.formats._wfdb import annotations_out as out
from ecgraft.model import Model, Prediction
from ecgraft.record import BEAT, LEADS, QRS, WAVES, InputError, P, Record, T, UsageError, waves_array
from ecgraft.report.sheet import LEFT, SPEED, compose
from ecgraft.signal.intervals import Interval
from ecgraft.simulator import Config, simulate

RATE = 360.0


def back(tmp_path, marks, rate=RATE) -> read.Marks:
    (tmp_path / "x.v1").write_bytes(out.encode(marks, rate))
    return read.read_marks(str(tmp_path / "x"), "v1")


def made(record: Record, waves=(), together=(), **more) -> Prediction:
    """What a graft might have said."""
    waves, together = (
        waves_array(rows) if len(rows) else np.zeros(0, ecgraft.record.WAVE) for rows in (waves, together)
    )
    sure = {"confidence": np.full(len(waves), 0.9), "together_confidence": np.full(len(together), 0.8)}
    known = {"waves": waves, "together": together, "leads": record.leads} | sure | more
    return Prediction(record.id, "waves", "waves", record.rate, **known)


def flat(seconds=10.0, leads=("I", "II"), name="r1") -> Record:
    random = np.random.default_rng(0)
    return Record(random.normal(size=(len(leads), round(seconds * RATE))) / 10, RATE, leads, id=name)


def test_symbols_have_the_codes_of_wfdb():
    theirs = dict(zip(ann_label_table["symbol"], ann_label_table["label_store"]))
    assert {s: c for s, c in theirs.items() if s != " "} == out.CODES
    assert read.BEATS - {"?"} == out.BEATS and out.CODES.keys() >= out.BEATS


@pytest.mark.parametrize("rate", [500, 360.0, 257.5, 128.125])
def test_marks_come_back_whatever_lies_between_them(tmp_path, rate):
    at = [0, 0, 1, 1024, 1024 + 1023, 4000, 70_000, 70_000 + 65_536, 40_000_000, 2**31 - 1]
    notes = ["", "odd", "even", "", "x" * 255, "", "(AFIB", "", "", "y"]
    marks = [out.Mark(*each) for each in zip(at, 'N(p)t~+"QV', notes)]
    found = back(tmp_path, marks, rate)
    assert found.sample.tolist() == at and "".join(found.symbol) == 'N(p)t~+"QV' and list(found.note) == notes
    assert wfdb.rdann(str(tmp_path / "x"), "v1").fs == rate  # there is no header that would say it


def test_a_file_without_marks_can_be_read(tmp_path):
    assert len(back(tmp_path, out.of_waves(waves_array([(P, 0, -1, -1, -1)]))).sample) == 0
    assert len(read.waves(back(tmp_path, []))) == 0


@pytest.mark.parametrize(
    "rows",
    [
        [(P, 0, 10, 20, 30), (QRS, 0, 40, 50, 60), (T, 0, 90, 120, 150)],
        [(P, 0, 0, 0, 30), (QRS, 0, 30, 30, 30), (T, 0, 30, 70, 70), (P, 0, 70, 70, 90)],  # all that can be equal
        [(P, 0, 10, 20, -1), (QRS, 0, 40, 50, 60), (T, 0, -1, 120, -1), (QRS, 0, 200, 210, -1), (QRS, 0, -1, 300, 310)],
        [(QRS, 0, -1, 5, -1)],
        [(T, 0, 5000, 70_000, 140_000)],
    ],
)
@pytest.mark.parametrize("spans", [[], [(0, 5)], [(25, 45)], [(30, 70)], [(50, 50)], [(45, 120), (120, 205)]])
def test_waves_come_back_equal_whatever_spans_stand_between(tmp_path, rows, spans):
    waves = waves_array(rows)
    marks = back(tmp_path, out.of_waves(waves, [(*span, "~", "from", "to") for span in spans]))
    assert np.array_equal(read.waves(marks, 0), waves)
    assert (np.diff(marks.sample) >= 0).all() and marks.symbol.count("~") == 2 * len(spans)


def test_a_wave_without_a_peak_has_its_mark_in_the_middle(tmp_path):
    marks = back(tmp_path, out.of_waves(waves_array([(QRS, 0, 10, -1, 20), (T, 0, -1, -1, 90)])))
    assert read.waves(marks, 0).tolist() == [(QRS, 0, 10, 15, 20), (T, 0, -1, 90, 90)]


def test_the_waves_of_ludb_come_back(tmp_path, shared_data):
    for lead in ("i", "avr", "v6"):
        waves = read.waves(read.read_marks(str(shared_data / "ludb" / "data" / "1"), lead), 0)
        assert len(waves) > 10 and np.array_equal(read.waves(back(tmp_path, out.of_waves(waves)), 0), waves)


def test_beats_come_back_and_those_without_a_class_are_unclassified(tmp_path):
    beats = np.array([(5, b"N"), (900, b"V"), (2000, b"?"), (2001, b"/"), (9000, b"p")], BEAT)
    marks = back(tmp_path, out.of_beats(beats))
    assert read.beats(marks).tolist() == [(5, b"N"), (900, b"V"), (2000, b"Q"), (2001, b"/"), (9000, b"Q")]
    assert marks.note == ("", "", "", "", "p")


def test_every_lead_and_graft_has_a_file_of_its_own_and_no_name_leads_elsewhere(tmp_path):
    record = flat(leads=("II", "E 1", "../e_1", "dat", "qrs"), name="../../a b/c.d")
    beats = np.array([(5, b"?"), (900, b"?")], BEAT)
    said = made(record, [(QRS, 3, 10, 20, 30)], [(QRS, -1, 12, 20, 28)], unreadable=[(100, 3600)], no_p=[(12, 100)])
    both = {"waves": said, "qrs": Prediction(record.id, "qrs", "peaks", RATE, beats=beats, leads=record.leads)}
    paths = _annotation_files.write(tmp_path / "new", [(record, both)])
    names = ["a_b_c_d." + end for end in ("atr", "ii", "e_1", "e_1_", "dat_", "qrs_", "qrs")]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in paths) == sorted(names)
    place = str(tmp_path / "new" / "a_b_c_d")
    assert read.waves(read.read_marks(place, "dat_"), 3).tolist() == [(QRS, 3, 10, 20, 30)]
    assert read.beats(read.read_marks(place, "qrs"))["sample"].tolist() == [5, 900]
    marks = read.read_marks(place, "atr")
    assert read.waves(marks).tolist() == [(QRS, -1, 12, 20, 28)]
    spans = [(t, s, note) for t, s, note in zip(marks.sample, marks.symbol, marks.note) if note]
    assert spans == [
        (28, '"', "no P waves from here"), (100, "~", "not readable"), (100, '"', "no P waves up to here"),
        (3599, "~", "readable"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="is there already"):
        _annotation_files.write(tmp_path / "new", [(record, both)])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An ECG of two leads; a third cannot be used."""
    calm = Config(seconds=6.0, rate=RATE, swap=0, lead_loss=0, flat=0, handheld=0)
    record = simulate(3, [1], calm).record(0)
    path = tmp_path_factory.mktemp("waves") / "ecg.npz"
    signal = np.stack([record.lead(name) for name in ("II", "V2")])
    np.savez(path, signal=signal, rate=RATE, leads=np.array(["II", "V2"]), unit="mV")
    return path


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load()


@pytest.fixture(autouse=True)
def loaded_once(model, monkeypatch):
    monkeypatch.setattr(Model, "load", lambda name: model)


def test_json_csv_and_annotations_say_what_the_prediction_says(file, model, tmp_path, capsys):
    said = model.predict(formats.read(file), ["waves"])["waves"]
    rows = ecgraft.predict([file], task=["waves"], to=tmp_path / "a.json", annotations=tmp_path / "ann")
    assert json.loads((tmp_path / "a.json").read_text()) == rows == [said.to_dict()]
    assert len(said.waves) > 10 and len(said.together) > 5 and rows[0]["intervals"]["heart rate"]["median"] > 20
    ecgraft.predict([file], task=["waves"], to=tmp_path / "a.csv")
    table = list(csv.DictReader((tmp_path / "a.csv").open()))
    kinds = {kind: [row for row in table if row["kind"] == kind] for kind in ("wave", "interval")}
    every = [*zip(said.together, said.together_confidence), *zip(said.waves, said.confidence)]
    assert len(kinds["wave"]) == len(every)
    for row, (wave, sure) in zip(kinds["wave"], every):
        assert row["what"] == WAVES[wave["kind"]]
        assert row["lead"] == ("all" if wave["lead"] < 0 else said.leads[wave["lead"]])
        assert float(row["confidence"]) == pytest.approx(sure, abs=1e-4)
        for name in ("onset", "peak", "offset"):
            assert float(row[f"{name}_ms"]) * RATE / 1000 == pytest.approx(wave[name], abs=0.04)
    for row, interval in zip(kinds["interval"], said.intervals, strict=True):
        assert (row["what"], row["reason"]) == (interval.name, interval.reason)
        if interval.median is not None:
            found = [float(row[name]) for name in ("low", "value", "high")]
            assert found == pytest.approx([interval.low, interval.median, interval.high], abs=0.51)
            assert (row["unit"], int(row["beats"])) == (interval.unit, interval.beats)
    assert np.array_equal(read.waves(read.read_marks(str(tmp_path / "ann" / "ecg"), "atr")), said.together)
    for i, lead in enumerate(("ii", "v2")):
        found = read.waves(read.read_marks(str(tmp_path / "ann" / "ecg"), lead), i)
        assert np.array_equal(found, said.waves[said.waves["lead"] == i])
    assert not list(tmp_path.rglob("*.part")) and "3 annotation files" in capsys.readouterr().err


def test_without_to_the_screen_has_json_or_the_folder_has_files(file, tmp_path, capsys):
    rows = ecgraft.predict([file], task=["waves"])
    assert json.loads(capsys.readouterr().out) == rows
    ecgraft.predict([file], task=["waves"], annotations=tmp_path / "ann")
    assert capsys.readouterr().out == ""


def test_page_and_picture(file, tmp_path):
    for name in ("a.html", "a.png", "b.png"):
        ecgraft.predict(
            [file], task=["waves"], to=tmp_path / name, **({"start": 2, "seconds": 2} if name[0] == "b" else {})
        )
    text = (tmp_path / "a.html").read_text()
    assert "not a medical device" in text and "QTc Fridericia" in text and "bootstrap" not in text and "<svg" in text
    whole, part = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    assert (
        whole.shape[1] == pytest.approx((LEFT + 6 * SPEED + 5) / 25.4 * 150, abs=1)
        and part.shape[1] < whole.shape[1] / 2
    )
    assert whole[..., :3].std() > 0.05


def test_a_picture_says_what_it_shows_and_that_it_is_for_research():
    record = flat(30.0)
    intervals = [Interval("QT", "ms", 400.2, 390.0, 410.0, 7), Interval("PR", "ms", reason="no P wave was found")]
    more = {"intervals": intervals, "notes": ["lead I is flat"], "unreadable": [(360, 720)]}
    said = made(record, [(T, 0, 1000, 1100, 1200)], [(T, -1, 1000, 1100, 1200)], **more)
    lines = _waves_out.lines(record, {"waves": said}, "0 to 10 s")
    assert lines[0] == "r1: 0 to 10 s" and lines[-1].endswith("For research only; not a medical device.")
    assert lines[1] == "waves: waves of the leads together: 0 P, 0 QRS, 1 T; mean confidence 0.80"
    assert lines[2:5] == [
        "Median over the beats: QT 400 ms", "Not measurable: PR (no P wave was found)", "Note: lead I is flat",
    ]  # fmt: skip
    sheet = compose(record, seconds=10, unreadable=said.unreadable, below=lines)
    grey = [(box.x, box.width) for box in sheet.boxes if box.opacity == 0.25]
    assert grey == [(LEFT + SPEED, SPEED)] * 2 and lines[0] in [text.text for text in sheet.texts]
    assert max(text.y for text in sheet.texts) < sheet.height
    assert "grey: not readable" in " ".join(text.text for text in sheet.texts)
    late = compose(record, start=5, seconds=10, unreadable=said.unreadable)
    assert "grey" not in " ".join(text.text for text in late.texts)


def test_half_an_hour_is_drawn_in_part(tmp_path):
    record = flat(1800.0)
    onsets = np.arange(0, 1790 * RATE, RATE).astype(int)
    said = made(record, [(QRS, 0, t, t + 10, t + 30) for t in onsets], [(QRS, -1, t, t + 10, t + 30) for t in onsets])
    text = page([(record, {"waves": said})], 60.0).html()
    assert (
        len(text) < 150_000 and "60 to 70 s of 1800.0 s; the answers are for all of it" in text and "1790 QRS" in text
    )
    picture((record, {"waves": said}), tmp_path / "x.png", 60.0, 10.0)
    assert imread(tmp_path / "x.png").shape[1] == pytest.approx((LEFT + 10 * SPEED + 5) / 25.4 * 150, abs=1)


def test_waves_are_drawn_on_the_lead_that_they_were_read_in():
    wave = [(QRS, 0, 10, 20, 30)]
    for leads, read_as, own in [
        (("ECG",), ("II",), [0]), (("V1", "CM5"), ("II", "V1"), [1]), (("V2", "II"), ("II",), [1]),
        (("I", "III", "CM5"), ("II",), []), (LEADS, ("II",), [1]),
    ]:  # fmt: skip
        record = flat(leads=leads)
        found = _waves_out.on_leads(made(record, wave, leads=read_as), record)
        assert found["lead"].tolist() == own, leads


def test_beats_are_counted_on_the_page():
    record, beats = flat(), np.array([(100, b"N"), (500, b"V"), (900, b"N")], BEAT)
    said = Prediction(record.id, "beats", "beats", RATE, beats=beats, leads=record.leads)
    assert "beats: 3 beats: 2 N, 1 V." in page([(record, {"beats": said})]).html()


@pytest.mark.parametrize(
    "words, hint",
    [
        (["--to", "NEW/a.pdf"], "one of .json, .csv, .html, .png"),
        (["FILE", "--to", "NEW/a.png"], "a picture shows one record, not 2"),
        (["--to", "NEW/a.json", "--start", "3"], "--start goes with --to NAME.html or NAME.png"),
        (["--seconds", "3"], "--seconds goes with"),
        (["--to", "NEW/a.png", "--seconds", "0"], "above 0 and at most 60"),
        (["--to", "NEW/a.png", "--seconds", "nan"], "above 0 and at most 60"),
        (["--to", "NEW/a.html", "--start", "-1"], "must be 0 or more"),
        (["--to", "NEW/a.html", "--start", "6"], "lasts 6 s"),
        (["--annotations", "FILE"], "this is a file; give a folder"),
        (["--annotations", "NEW", "--task", "findings"], "none says where waves or beats are"),
        (["--annotations", "NEW", "--task", "waves", "FILE", "COPY"], "would both write ecg.*"),
        (["--annotations", "OLD", "--task", "waves"], "ecg.atr is there already"),
    ],
)
def test_wrong_use_is_status_2_names_the_option_and_writes_nothing(file, tmp_path, capsys, words, hint):
    for name in ("old", "copy"):
        (tmp_path / name).mkdir()
    (tmp_path / "old" / "ecg.atr").write_bytes(b"of someone")
    (tmp_path / "copy" / "ecg.npz").write_bytes(file.read_bytes())
    places = {"FILE": file, "COPY": tmp_path / "copy" / "ecg.npz", "OLD": tmp_path / "old", "NEW": tmp_path / "new"}
    words = [str(places[word]) if word in places else word.replace("NEW", str(places["NEW"])) for word in words]
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(file), *words])
    assert end.value.code == 2 and hint in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "new").exists() and (tmp_path / "old" / "ecg.atr").read_bytes() == b"of someone"


def test_two_wave_grafts_would_write_the_same_file():
    with pytest.raises(InputError, match="a and b would both write RECORD"):
        _annotation_files.check(Path("nowhere"), {"a": "waves", "b": "waves"})
