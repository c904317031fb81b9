"""WAV files, against an encoder that writes them chunk by chunk, and the readers of scipy and soundfile."""

import struct
import warnings

import numpy as np
import pytest

import made_wav as made
from ecgraft import formats
from ecgraft.record import InputError

X = np.round(np.random.default_rng(0).normal(size=(2, 300)) * 40)
PCM = made.chunk(b"fmt ", made.shape(1, 1, 250, 16))
DATA = made.samples(X[:1], 1, 16)


def read(path, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return formats.read(path, format="wav", **given)


def test_by_hand(tmp_path):
    head = b"RIFF\x2a\0\0\0WAVEfmt \x10\0\0\0" + b"\1\0" + b"\1\0" + b"\xfa\0\0\0" + b"\xf4\1\0\0" + b"\2\0\x10\0"
    (tmp_path / "a.wav").write_bytes(head + b"data\6\0\0\0" + b"\1\0" + b"\xff\xff" + b"\0\x80")
    record = read(tmp_path / "a.wav", unit="uV")
    assert record.signal.tolist() == np.float32([[0.001, -0.001, -32.768]]).tolist()
    assert (record.leads, record.rate, record.extra["resolution"]) == (("ECG",), 250, "0.001")
    assert record.extra["assumed"] == "a sample's number is in uV" and record.extra["samples"] == "integer, 16 bits"


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_kind_of_sample(tmp_path, kind, bits, extensible):
    x = np.clip(X, -128, 127) if bits == 8 else X
    path = made.save(tmp_path / "a.wav", x, 500, ("I", "II"), bits=bits, kind=kind, extensible=extensible)
    for unit, factor in (("uV", 1000), ("mV", 1), ("V", 1e-3)):
        record = read(path, unit=unit, leads="I,II")
        assert np.array_equal(record.signal, (x / factor).astype(np.float32)) and record.leads == ("I", "II")


def test_other_readers_find_the_same(tmp_path):
    wavfile, soundfile = pytest.importorskip("scipy.io.wavfile"), pytest.importorskip("soundfile")
    for kind, bits in ((1, 16), (1, 32), (3, 32)):
        path = made.save(tmp_path / "a.wav", X, 500, ("I", "II"), bits=bits, kind=kind)
        x = read(path, unit="mV", leads="I,II").signal
        rate, other = wavfile.read(path)
        assert rate == 500 and np.array_equal(other.T, x)
        full = 1 if kind == 3 else 2 ** (bits - 1)
        assert np.array_equal(soundfile.read(path)[0].T * full, x)


def test_chunks_stand_in_any_order_and_texts_are_not_read(tmp_path):
    info = made.chunk(b"LIST", b"INFOINAM\x07\0\0\0Smith 1\0")
    for chunks in ([info, PCM, info, made.chunk(b"data", DATA), info], [made.chunk(b"data", DATA), info, PCM]):
        record = read(made.riff(tmp_path / "a.wav", *chunks), unit="uV")
        assert np.array_equal(record.signal, (X[:1] / 1000).astype(np.float32))
        assert "Smith" not in repr(record) + str(record.extra)
    long = made.chunk(b"ds64", struct.pack("<QQQI", 0, len(DATA), 0, 0))
    path = made.riff(
        tmp_path / "b.wav", long, PCM, made.chunk(b"data", DATA, 2**32 - 1), info, magic=b"RF64", size=2**32 - 1
    )
    assert read(path, unit="uV").signal.shape == (1, 300)
    big = made.chunk(b"fmt ", made.shape(1, 2, 250, 24, order=">"), order=">")
    path = made.riff(
        tmp_path / "c.wav", big, made.chunk(b"data", made.samples(X, 1, 24, ">"), order=">"), magic=b"RIFX"
    )
    assert np.array_equal(read(path, unit="mV", leads="I,II").signal, X.astype(np.float32))


@pytest.mark.parametrize(("size", "whole"), [(0, 0), (2**32 - 1, 2**32 - 1), (2**32 - 1, None), (0, 36)])
def test_sizes_that_nobody_knew_when_they_were_written(tmp_path, size, whole):
    path = made.riff(tmp_path / "a.wav", PCM, made.chunk(b"data", DATA, size), size=whole)
    record = read(path, unit="uV")
    assert record.signal.shape == (1, 300) and "all to the end of the file" in record.extra["assumed"]


def test_what_is_cut_short_or_odd(tmp_path):
    record = read(made.riff(tmp_path / "a.wav", PCM, made.chunk(b"data", DATA[:-100], len(DATA))), unit="uV")
    assert record.signal.shape == (1, 250) and "cut short: 500 of 600 bytes of samples" in record.extra["assumed"]
    record = read(made.riff(tmp_path / "b.wav", PCM, made.chunk(b"data", DATA + b"x", len(DATA) + 1)), unit="uV")
    assert record.signal.shape == (1, 300) and "1 bytes at the end are no whole sample" in record.extra["assumed"]
    part = made.chunk(b"fmt ", made.shape(1, 1, 250, 12, extensible=True, stored=16))
    record = read(made.riff(tmp_path / "c.wav", part, made.chunk(b"data", DATA)), unit="uV")
    assert "12 of 16 bits are used" in record.extra["assumed"] and record.signal[0, 0] == np.float32(X[0, 0] / 1000)
    real = made.chunk(b"fmt ", made.shape(3, 1, 250, 32))
    data = np.float32([1, np.nan, np.inf, 3e38]).tobytes()
    record = read(made.riff(tmp_path / "d.wav", real, made.chunk(b"data", data)), unit="V")
    assert np.isnan(record.signal[0, 1:]).all() and record.extra["skipped"].startswith("3 samples that are infinite")


def test_what_is_wrong_is_named(tmp_path):
    data = made.chunk(b"data", DATA)
    wrong = {
        "does not say its unit; give it with unit": (made.riff(tmp_path / "a.wav", PCM, data), {}),
        "its unit, the names of its 2 leads": (made.save(tmp_path / "b.wav", X, 250, ("I", "II")), {}),
        "sound of 44100 Hz and no ECG": (
            made.riff(tmp_path / "c.wav", made.chunk(b"fmt ", made.shape(1, 1, 44100, 16)), data),
            {},
        ),
        "sound coded as mu-law": (
            made.riff(tmp_path / "d.wav", made.chunk(b"fmt ", made.shape(7, 1, 250, 8)), data),
            {},
        ),
        "sound coded as kind 999": (
            made.riff(tmp_path / "e.wav", made.chunk(b"fmt ", made.shape(999, 1, 250, 8)), data),
            {},
        ),
        "0 channels": (
            made.riff(tmp_path / "f.wav", made.chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, 250, 0, 2, 16)), data),
            {},
        ),
        "samples of 7 bits": (made.riff(tmp_path / "g.wav", made.chunk(b"fmt ", made.shape(3, 1, 250, 7)), data), {}),
        "no description of its samples": (made.riff(tmp_path / "h.wav", data), {}),
        "no samples in it": (made.riff(tmp_path / "i.wav", PCM), {}),
        "a header and no samples": (made.riff(tmp_path / "j.wav", PCM, made.chunk(b"data", b"")), {"unit": "mV"}),
        "description of its samples is cut short": (
            made.riff(tmp_path / "k.wav", made.chunk(b"fmt ", b"\1\0"), data),
            {},
        ),
        "does not say its sampling rate": (
            made.riff(tmp_path / "l.wav", made.chunk(b"fmt ", made.shape(1, 1, 0, 16)), data),
            {},
        ),
        "no median beat": (made.riff(tmp_path / "m.wav", PCM, data), {"median": True}),
    }
    for said, (path, given) in wrong.items():
        with pytest.raises(InputError, match=said):
            read(path, **given)
    many = made.riff(tmp_path / "n.wav", *[made.chunk(b"junk", b"")] * 2000, PCM, data)
    with pytest.raises(InputError, match="no description"):
        read(many)


def test_the_real_one(shared_data):
    wavfile = pytest.importorskip("scipy.io.wavfile")
    path = shared_data / "formats" / "wav" / "sample.wav"
    record = read(path, unit="uV")
    assert (record.rate, record.signal.shape) == (1000, (1, 180_000))
    assert record.signal[0, :5].tolist() == np.float32([-0.572, -0.473, -0.417, -0.443, -0.352]).tolist()
    assert np.array_equal(record.signal[0], (wavfile.read(path)[1] / 1000).astype(np.float32))
