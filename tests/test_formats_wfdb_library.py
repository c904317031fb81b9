"""Every record of the shared folder against wfdb.rdrecord and wfdb.rdann, sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb as library

from conftest import SHARED_DATA
from ecgraft import formats
from ecgraft.formats import wfdb
from ecgraft.formats._wfdb import annotations
from ecgraft.record import InputError, lead_name

BIG = 40  # records of one database that are read
HEADERS = sorted((SHARED_DATA / "wfdb").rglob("*.hea"))
REFUSED = {
    "flac_3_constant": "16800000 values in 20480 bytes; no ECG is compressed so much",
    "3234460_layout": "its signal file ~ is missing",
    "s25047-2704-05-04-10-44n": "no ECG among its 7 signals",
}
HERE = pytest.mark.skipif(not HEADERS, reason="the folder of real ECGs (../shared/data) is not here")
pytestmark = [pytest.mark.slow, HERE]


def expected(path: Path, record) -> np.ndarray:
    """What rdrecord gives of the leads of a record, as fast as the fastest of them; (C, T) float32."""
    header = library.rdheader(str(path.with_suffix("")))
    if hasattr(header, "seg_name"):  # the library cannot put segments of several rates together
        first = next(name for name in header.seg_name if name != "~")
        header = library.rdheader(str(path.with_name(first)))
    bare = [lead_name(name) for name in header.sig_name]
    places = [bare.index(name) for name in record.leads]
    found = library.rdrecord(str(path.with_suffix("")), channels=places, smooth_frames=False)
    return np.stack([np.repeat(x, record.signal.shape[1] // len(x)) for x in found.e_p_signal]).astype(np.float32)


@pytest.mark.parametrize("path", [p for p in HEADERS if p.stem not in REFUSED], ids=lambda p: p.stem)
def test_every_record_equals_the_library(path):
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, expected(path, record))
    assert record.id == path.stem and len(record.leads) == len(record.signal)


@pytest.mark.parametrize("path", [p for p in HEADERS if p.stem in REFUSED], ids=lambda p: p.stem)
def test_what_is_refused_says_why(path):
    with pytest.raises(InputError) as error:
        formats.read(path)
    assert REFUSED[path.stem] in str(error.value) and path.name in str(error.value)


@pytest.mark.parametrize("name", ["test01_00s", "test01_00s_skew", "s0010_re", "3000003_0003", "100_3chan"])
def test_smooth_frames_are_the_same_where_a_frame_is_a_sample(name):
    path = SHARED_DATA / "wfdb" / name
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, library.rdrecord(str(path)).p_signal.T.astype(np.float32))


def test_smooth_frames_are_means_of_ours_rounded_down():
    """The library's other view of several samples a frame: the mean in whole steps."""
    path = SHARED_DATA / "wfdb/mixedsignals"
    smooth = library.rdrecord(str(path), channels=[0, 1, 2], smooth_frames=True).p_signal.T
    steps = np.rint(formats.read(path).signal.astype(float).reshape(3, -1, 4) * 200)
    np.testing.assert_array_equal(np.rint(smooth * 200), np.floor(steps.mean(2)))


def test_skew_is_undone():
    """Channel 2 comes 3 samples late; the file ends 3 samples early for it."""
    folder = SHARED_DATA / "wfdb"
    plain, skewed = (formats.read(folder / name).signal for name in ("test01_00s.hea", "test01_00s_skew.hea"))
    np.testing.assert_array_equal(skewed[1, :-3], plain[1, 3:])
    assert np.isnan(skewed[1, -3:]).all() and not np.isnan(plain).any()
    np.testing.assert_array_equal(skewed[[0, 2, 3]], plain[[0, 2, 3]])


@pytest.mark.parametrize(
    "folder", ["ptb-xl", "ludb", "qtdb", "mitdb", "nstdb", "cpsc2021", "challenge2021", "cinc2017"]
)
def test_databases_equal_the_library(folder):
    paths = sorted((SHARED_DATA / folder).rglob("*.hea"))
    for path in paths[:: max(1, len(paths) // (BIG if len(paths) > BIG else 3))]:
        record = wfdb.bare(path)
        digital = library.rdrecord(str(path.with_suffix("")))
        np.testing.assert_array_equal(record.signal, digital.p_signal.T.astype(np.float32))
        assert record.rate == digital.fs


@pytest.mark.parametrize("folder", ["ludb", "qtdb", "mitdb", "cpsc2021"])
def test_annotations_equal_the_library(folder):
    listed = (SHARED_DATA / folder).rglob("*.*")
    paths = sorted(p for p in listed if p.suffix in (".i", ".v3", ".atr", ".q1c", ".pu0", ".man"))
    for path in paths[:: max(1, len(paths) // 30)]:
        found = annotations.read_marks(str(path.with_suffix("")), path.suffix[1:])
        theirs = library.rdann(str(path.with_suffix("")), path.suffix[1:])
        np.testing.assert_array_equal(found.sample, theirs.sample)
        assert list(found.symbol) == theirs.symbol
        assert list(found.note) == [note.strip("\0 ") for note in theirs.aux_note]


def test_an_edf_file_under_a_header(tmp_path):
    """A data block of EDF is a frame of WFDB: each signal's samples one after the other. 100.edf is MIT-BIH 100."""
    data = (SHARED_DATA / "formats/edf/100.edf").read_bytes()
    (tmp_path / "r.edf").write_bytes(data)
    size, blocks, seconds, signals = int(data[184:192]), int(data[236:244]), float(data[244:252]), int(data[252:256])
    at = 256 + 216 * signals
    each = [int(data[at + 8 * i : at + 8 * i + 8]) for i in range(signals)]
    lines = [f"r {signals} {1 / seconds:.10g} {blocks}"]
    lines += [f"r.edf 16x{n}+{size} 200(1024)/mV 16 0 0 0 0 {name}" for n, name in zip(each, ("MLII", "V5"))]
    (tmp_path / "r.hea").write_text("\n".join(lines) + "\n")
    record = formats.read(tmp_path / "r.hea")
    found = library.rdrecord(str(tmp_path / "r"), smooth_frames=False)
    np.testing.assert_array_equal(record.signal, np.stack(found.e_p_signal).astype(np.float32))
    assert record.rate == 360 and record.signal.shape == (2, blocks * each[0])
    np.testing.assert_allclose(record.signal[:, :3], [[-0.145] * 3, [-0.065] * 3], atol=1e-6)
    assert record.leads == ("II", "V5")
