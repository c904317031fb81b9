"""WFDB headers that claim too much, take long to understand, or point elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
import tracemalloc

import numpy as np
import pytest
import soundfile

import made_wfdb as made
from ecgraft import formats
from ecgraft.formats import Given, wfdb
from ecgraft.record import InputError

pytestmark = pytest.mark.slow

LONG = "a" * 1_000_000
HEADERS = {  # -> what is said of them
    "a long word": (f"r 1 250 10\n{LONG}", "cannot understand the signal line"),
    "long digits": (f"r 1 250 10\nr.dat {'1' * 1_000_000} 16", "cannot understand the signal line"),
    "a long name of a record": (f"{LONG}/ 1 250", "cannot understand the record line"),
    "a long rate": (f"r 1 {'1.' * 500_000}", "cannot understand the record line"),
    "long blanks": (f"r 1 250 10\nr.dat{' ' * 999_000}x", "cannot understand the signal line"),
    "a long comment": (f"r 1 250 10\nr.dat 16 200 16 0 0 0 0 I\n#{'age ' * 250_000}", None),
    "a comment of brackets": (f"r 1 250 10\nr.dat 16 200 16 0 0 0 0 I\n#{'<a' * 500_000}", None),
    "many comments": ("r 1 250 10\nr.dat 16 200 16 0 0 0 0 I\n" + "#Dx: 164889003\n" * 60_000, None),
    "many digits": ("r 1 250 99999999999999999999\nr.dat 16 200 16 0 0 0 0 I", "cannot understand the number '9999"),
    "a gain without end": ("r 1 250 10\nr.dat 16 1e999 16 0 0 0 0 I", "cannot understand the number '1e999'"),
    "a gain that is none": ("r 1 250 10\nr.dat 16 -/mV 16 0 0 0 0 I", "cannot understand the number '-'"),
    "no rate": ("r 1 0.0 10\nr.dat 16 200 16 0 0 0 0 I", "rate 0.0 Hz"),
    "huge frames": ("r 1 250 1\nr.dat 16x1000000000 200 16 0 0 0 0 I", "cut short, 0 of 1 samples"),
    "huge frames, no length": ("r 1 250\nr.dat 16x1000000000 200 16 0 0 0 0 I", "no samples"),
    "huge skew": ("r 1 250 10\nr.dat 16:999999999999 200 16 0 0 0 0 I", None),
    "thousands of signals": ("r 9999 250 1\n" + "r.dat 16 200 16 0 0 0 0 I\n" * 9999, "9999 signals in one record"),
    "a thousand held signals": (
        "r 1000 0.25\n" + "r.dat 16x900 200 16 0 0 0 0 I\n" + "r.dat 16 200 16 0 0 0 0 II\n" * 999,
        "cut short|no samples",
    ),
    "itself as a segment": ("r/2 1 250 20\nr 10\nr 10\n", "must be records of one segment"),
    "a segment many times": ("r/80000 1 250 80000\n" + "s 1\n" * 80_000, None),
    "segments that claim much": ("r/9 1 250 9\n" + "s 999999999\n" * 9, "values in one record"),
    "segments that claim more": ("r/99999 1 250 9\n" + "s 2000\n" * 99_999, "no ECG is compressed so much"),
    "only gaps": ("r/2 1 250 20\n~ 10\n~ 10\n", "none of its segments is a record"),
    "a gap that is huge": ("r/2 1 250 20\ns 10\n~ 999999999999\n", "values in one record"),
    "another rate in a segment": ("r/1 1 500 10\ns 10\n", "500 Hz, but 250 Hz in its segment s"),
    "no segments": ("r/0 1 250 10\n", "a record in 0 segments"),
    "a folder": ("r 1 250 10\n. 16 200 16 0 0 0 0 I", "its signal file . is missing"),
    "the folder above": ("r 1 250 10\n.. 16 200 16 0 0 0 0 I", "its signal file .. is missing"),
    "the header as its signal": ("r 1 250\nr.hea 16 200 16 0 0 0 0 I", None),
}
OUTSIDE = [
    "../out.dat",
    "/etc/passwd",
    "a/../../out.dat",
    "~root/x",
    "file:out.dat",
    "http://127.0.0.1/x",
    "..\\out.dat",
]


@pytest.fixture
def place(tmp_path):
    made.raw(tmp_path / "s", made.noise(1, 20, 99), 250, ("I",))
    made.raw(tmp_path / "r", made.noise(1, 20, 99), 250, ("I",))
    return tmp_path


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_headers_are_answered_at_once(place, case):
    text, message = HEADERS[case]
    (place / "r.hea").write_text(text)
    start = time.perf_counter()
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        wfdb.read(place / "r.hea", Given())
    wfdb.parts(place / "r.hea")
    wfdb.claims(place / "r.dat", b"")
    assert time.perf_counter() - start < 4  # of a megabyte


@pytest.mark.parametrize("case", [case for case in HEADERS if len(HEADERS[case][0]) < 50_000])
def test_nothing_is_allocated_for_a_claim(place, case):
    (place / "r.hea").write_text(HEADERS[case][0])
    tracemalloc.start()
    with contextlib.suppress(InputError):
        wfdb.read(place / "r.hea", Given())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**24


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_of_the_folder_is_named(place, name):
    (place.parent / "out.dat").write_bytes(bytes(100))
    for text in (f"r 1 250 10\n{name} 16 200 16 0 0 0 0 I\n", f"r/1 1 250 10\n{name} 10\n"):
        (place / "r.hea").write_text(text)
        with pytest.raises(InputError, match="cannot understand the s"):
            wfdb.read(place / "r.hea", Given())
        assert wfdb.parts(place / "r.hea") == []


def test_a_link_that_a_person_has_made_is_followed(place):
    outside = place.parent / "linked.dat"
    (place / "r.dat").rename(outside)
    os.symlink(outside, place / "r.dat")
    assert formats.read(place / "r.hea").signal.shape == (1, 20)
    outside.unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_not_waited_for(place):
    (place / "r.dat").unlink()
    os.mkfifo(place / "r.dat")
    os.mkfifo(place / "r.atr")
    with pytest.raises(InputError, match=r"its signal file r\.dat is missing"):
        formats.read(place / "r.hea")


def test_a_header_beyond_all_bounds(place):
    with open(place / "r.hea", "wb") as file:
        file.write(b"r 1 250 10\nr.dat 16 200 16 0 0 0 0 I\n")
        file.truncate(2**25)
    with pytest.raises(InputError, match="this is no header"):
        wfdb.read(place / "r.hea", Given())


def test_a_flac_file_that_unpacks_to_hours(tmp_path):
    path = made.raw(tmp_path / "r", [[0] * 10] * 8, 250, [f"V{i}" for i in range(8)], "516", length=700_000)
    soundfile.write(tmp_path / "r.dat", np.zeros((700_000, 8), np.int16), 96000, "PCM_16", format="FLAC")
    with pytest.raises(InputError, match="no ECG is compressed so much"):
        formats.read(path)


@pytest.mark.parametrize("cut", [4, 20, 42, 100, 300])
def test_damaged_flac_files(tmp_path, cut):
    path = made.raw(tmp_path / "r", made.noise(2, 400, 999), 250, ("I", "II"), "516")
    data = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(data[:cut])
    with pytest.raises(InputError, match=r"damaged FLAC file|cut short"):
        formats.read(path)
    (tmp_path / "r.dat").write_bytes(b"OggS" + data[4:])
    with pytest.raises(InputError, match="no FLAC file"):
        formats.read(path)


def test_flac_files_that_are_not_what_the_header_says(tmp_path):
    path = made.raw(tmp_path / "r", made.noise(2, 400, 999), 250, ("I", "II"), "516")
    text = path.read_text()
    path.write_text(text.replace("r 2", "r 1"))
    with pytest.raises(InputError, match="2 signals, but the header says 1"):
        formats.read(path)
    path.write_text(text.replace(" 516 ", " 508 "))
    with pytest.raises(InputError, match="samples of PCM_16 in format 508"):
        formats.read(path)
    path.write_text(text.replace(" 516 ", " 516x2 ", 1))
    with pytest.raises(InputError, match="equally many samples in each frame"):
        formats.read(path)


def test_signals_of_one_file_in_several_formats(place):
    (place / "r.hea").write_text("r 2 250 2\nr.dat 16 200 16 0 0 0 0 I\nr.dat 212 200 16 0 0 0 0 II\n")
    with pytest.raises(InputError, match=r"the signals in r\.dat are of several formats"):
        formats.read(place / "r.hea")


def test_the_usual_refusal_takes_no_time(place):
    (place / "r.hea").write_text("r 1 250 10\nother.dat 16 200 16 0 0 0 0 I\n")
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        with pytest.raises(InputError):
            wfdb.read(place / "r.hea", Given())
        best = min(best, time.perf_counter() - start)
    assert best < 2e-3
