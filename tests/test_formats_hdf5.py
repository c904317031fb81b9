"""HDF5 files against h5py, an encoder by hand and real databases; what is refused; files that are damaged."""

import struct

import numpy as np
import pytest

import made_hdf5 as made
from ecgraft import formats
from ecgraft.formats._hdf5.file import opened
from ecgraft.record import LEADS, InputError

pytestmark = pytest.mark.slow

h5py = pytest.importorskip("h5py")
VERSIONS = ("earliest", "v108", "v110", "v114", "latest")
X = np.random.default_rng(4).normal(size=(3, 2, 400)).astype(np.float32)
SAID = {"fs": 250, "units": "mV", "lead_names": ["I", "II"]}


def by_hand(tmp_path):
    return made.by_hand(tmp_path / "r", X[0])


def test_a_file_made_byte_by_byte(tmp_path):
    record = formats.read(by_hand(tmp_path), rate=250, unit="mV", leads="I,II")
    np.testing.assert_array_equal(record.signal, X[0])
    with h5py.File(tmp_path / "r.h5") as file:  # the encoder is right
        np.testing.assert_array_equal(file["ecg"][:], X[0])


def every_layout(file):
    """Datasets that take every branch of the reader."""
    rng = np.random.default_rng(1)
    put = lambda name, data, **more: file.create_dataset(name, data=data, **more)  # noqa: E731
    for i in range(60):
        file[f"many/d{i}"] = np.array([i])
    odd = put("many attributes", [1])
    for i in range(30):
        odd.attrs[f"number {i}"] = rng.normal(size=i % 5 + 1)
    odd.attrs["text"], odd.attrs["texts"], odd.attrs["bytes"] = "mV ä", ["I", "aVR"], np.array([b"a", b"bc"])
    put("pages", rng.integers(-99, 99, (97, 13)).astype(">i2"), chunks=(1, 1))
    put("packed pages", rng.integers(-9, 9, (97, 13)), chunks=(1, 2), compression="gzip")
    put("grows", rng.normal(size=(900, 2)), chunks=(1, 2), maxshape=(None, 2))
    put("grows across", rng.normal(size=(2, 900)), chunks=(1, 3), maxshape=(2, None), shuffle=True, compression=1)
    put("grows both ways", rng.normal(size=(70, 30)).astype("f4"), chunks=(2, 3), maxshape=(None, None))
    put(
        "and is packed",
        rng.normal(size=(70, 30)).astype("f2"),
        chunks=(2, 3),
        maxshape=(None, None),
        compression="gzip",
    )
    put("may grow", rng.normal(size=(7, 5)), chunks=(2, 2), maxshape=(20, 9))
    put("one chunk", rng.normal(size=(7, 5)), chunks=(7, 5), compression="gzip", shuffle=True, fletcher32=True)
    put("one plain chunk", rng.normal(size=(7, 5)), chunks=(7, 5))
    put("lzf", np.repeat(rng.integers(0, 5, 400), 7).astype("i4"), chunks=(500,), compression="lzf", shuffle=True)
    put("odd bytes", rng.integers(0, 255, (33, 3)).astype("u1"), chunks=(7, 3), fletcher32=True)
    file.create_dataset("sparse", (50, 50), "f4", chunks=(7, 9), fillvalue=-3.5)[20:25, 10:14] = 1
    file.create_dataset("never written", (5,), "i2", fillvalue=7)
    put("texts", np.array(["I", "II", "aVR"] * 30, object), dtype=h5py.string_dtype(), chunks=(40,))
    file["bools"], file["scalar"], file["text"] = np.array([True, False]), 2.5, "hällo"
    file["halves"], file["big end"] = rng.normal(size=(3, 4)).astype("f2"), rng.normal(size=(3, 4)).astype(">f8")
    file["named"] = np.dtype("<i4")
    file.create_dataset("of a named type", data=[1, 2, 3], dtype=file["named"])
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_chunk((2, 5))
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(file.id, b"early", h5py.h5t.NATIVE_INT16, h5py.h5s.create_simple((9, 12)), early)
    file["early"][...] = rng.integers(-5, 5, (9, 12))
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_INT16, h5py.h5s.create_simple((3, 4)), compact)
    file["compact"][:] = rng.integers(-5, 5, (3, 4))


def same(ours, theirs) -> bool:
    theirs = np.asarray(theirs)
    if theirs.dtype.kind in "SO":
        texts = [text.decode() if isinstance(text, bytes) else text for text in theirs.ravel()]
        return ours.shape == theirs.shape and ours.ravel().tolist() == texts
    return ours.shape == theirs.shape and ours.tobytes() == theirs.astype(ours.dtype).tobytes()


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("block", [0, 1024], ids=["", "after a user's block"])
def test_every_layout_is_read_as_h5py_reads_it(tmp_path, libver, block):
    path = made.h5(tmp_path / "r", every_layout, libver, userblock_size=block)
    ours, count = opened(path), 0
    with h5py.File(path) as theirs:
        for name, node in theirs.items():
            if isinstance(node, h5py.Dataset):
                count += 1
                assert same(ours[name][:], node[()]), name
                if node.ndim and node.dtype.kind in "iuf":
                    assert same(ours[name][len(node) - 1], node[len(node) - 1]), name
                    assert same(ours[name].take(0, -1), node[..., 0]), name
            assert all(same(ours[name].attributes[key], value) for key, value in node.attrs.items()), name
        assert [int(ours["many"][f"d{i}"][0]) for i in range(60)] == list(range(60))
    assert count == 23


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4)])
def test_files_of_short_addresses(tmp_path, sizes):
    created = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    created.set_sizes(*sizes)
    with h5py.File(h5py.h5f.create(str(tmp_path / "r.h5").encode(), h5py.h5f.ACC_TRUNC, fcpl=created)) as file:
        made.put(file, "a/b/signal", X[0], SAID, chunks=(1, 70), compression="gzip")
    np.testing.assert_array_equal(formats.read(tmp_path / "r.h5").signal, X[0])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i2", ">i4"])
def test_what_is_beside_the_signal_is_used(tmp_path, dtype):
    values = np.round(X[0] * 100).astype(dtype)

    def build(file):
        made.put(file, "study/ecg", values, {"Units": np.bytes_("uV"), "Lead Names": np.array([b"I", b"aVF"])})
        file["study"].attrs["sampling_rate"], file.attrs["Age"] = "360 Hz", 61
        file["study/sex"], file["study/labels"] = "female", np.arange(9)

    record = formats.read(made.h5(tmp_path / "r", build))
    assert (record.rate, record.leads, record.age, record.sex) == (360, ("I", "aVF"), 61, "F")
    np.testing.assert_array_equal(record.signal, (values.astype(np.float64) / 1000).astype(np.float32))
    assert record.extra["unit"] == "uV" and record.extra["resolution"] == "0.001"


@pytest.mark.parametrize("turned", [False, True])
def test_a_stack_is_counted_and_read_one_by_one(tmp_path, turned):
    stack = X.transpose(0, 2, 1) if turned else X
    said = SAID | {"age": [40.0, 50.0, 300.0], "patient_id": ["a", "b", "c"]}
    path = made.h5(tmp_path / "r", lambda file: made.put(file, "x", stack, said, chunks=(1, *stack.shape[1:])))
    assert formats.count(path) == 3
    records = [formats.read(path, index=i, patient_key="0123456789abcdef") for i in range(3)]
    assert all(np.array_equal(record.signal, x) for record, x in zip(records, X))
    assert [record.age for record in records] == [40, 50, None] and [r.id for r in records] == ["r-0", "r-1", "r-2"]
    assert len({record.patient for record in records}) == 3
    axes = f"axes are records, {'samples, leads' if turned else 'leads, samples'}"
    assert records[0].extra["assumed"].startswith(axes)
    with pytest.raises(InputError, match=r"3 records of 2 leads and 400 samples; take one with index .* or import"):
        formats.read(path)
    with pytest.raises(InputError, match="no record 3; there are 3"):
        formats.read(path, index=3)


def test_a_group_for_each_record(tmp_path):
    def build(file):
        for i in range(30):
            made.put(file, f"p{i:02d}/ecg", X[i % 3], SAID | {"fs": 100 + i})

    path = made.h5(tmp_path / "r", build)
    assert formats.count(path) == 30 and formats.read(path, index=29).rate == 129
    np.testing.assert_array_equal(formats.read(path, index=4).signal, X[1])
    with pytest.raises(InputError, match="30 records, each in a group of its own"):
        formats.read(path)


def code(tmp_path, exams=(7, 0)):
    tracings = np.zeros((2, 4096, 12), np.float32)
    tracings[0, 500:3500] = np.random.default_rng(0).normal(size=(3000, 12))
    return made.code15(tmp_path / "r", tracings, exams), tracings[0, 500:3500].T


def test_code15_is_known(tmp_path):
    path, signal = code(tmp_path)
    assert formats.count(path) == 1  # exam 0 is none
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, signal * np.float32(0.5))
    assert (record.rate, record.leads, record.id) == (400, LEADS, "r")
    assert "unit 0.5 mV" in record.extra["assumed"] and "zeros before (500) and after (596)" in record.extra["assumed"]
    np.testing.assert_array_equal(formats.read(path, unit="mV").signal, signal)
    both = code(tmp_path, (7, 8))[0]
    with pytest.raises(InputError, match="record 1 is empty"):
        formats.read(both, index=1)


def test_tracings_without_exams_need_a_unit(tmp_path):
    path = made.h5(tmp_path / "r", lambda file: made.put(file, "tracings", np.ones((2, 4096, 12), "f4")))
    assert formats.count(path) == 2 and (formats.read(path, index=1, unit="uV").signal == np.float32(0.001)).all()
    with pytest.raises(InputError, match=r"its unit; give it with unit"):
        formats.read(path, index=1)


def test_real_files_of_code15_and_sph(shared_data):
    for path in sorted((shared_data / "code15").glob("*.hdf5")):
        with h5py.File(path) as file:
            for i in range(formats.count(path)):
                tracing = file["tracings"][i]
                kept = np.flatnonzero(tracing.any(axis=1))
                record = formats.read(path, index=i)
                np.testing.assert_array_equal(record.signal, tracing[kept[0] : kept[-1] + 1].T * np.float32(0.5))
    record = formats.read(shared_data / "sph" / "records" / "A00001.h5")
    with h5py.File(shared_data / "sph" / "records" / "A00001.h5") as file:
        np.testing.assert_array_equal(record.signal, file["ecg"][:].astype(np.float32))
    assert (record.signal.shape, record.rate, record.leads) == ((12, 5000), 500, LEADS)
    assert record.extra["assumed"] == "rate, unit, leads of the SPH database"
    limb = record.lead("I") + record.lead("III") - record.lead("II")  # Einthoven
    assert np.abs(limb).max() < 0.02


def refused(kind: str):
    def build(file):
        if kind == "virtual":
            layout = h5py.VirtualLayout((2, 400), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "x", (2, 400))
            file.create_virtual_dataset("signal", layout)
        elif kind == "external":
            file.create_dataset("signal", (2, 400), "f4", external=[("secret.bin", 0, 3200)])
        elif kind == "links":
            file["signal"], file["ecg"] = h5py.ExternalLink("other.h5", "/x"), h5py.SoftLink("/signal")
        elif kind == "two":
            file["first"], file["second"] = X[0], X[1]
        elif kind == "filter":
            file.create_dataset("signal", data=np.arange(99), chunks=(33,), scaleoffset=0)
        elif kind == "words":
            file["signal"] = ["a", "b"]
        elif kind == "fill":
            file.create_dataset("signal", (10**6, 12), "f4", chunks=(10**6, 1), maxshape=(None, 12), fillvalue=1)

    return build


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("virtual", "virtual dataset, whose samples stand in other places"),
        ("external", "its samples stand in another file"),
        ("links", "links to other places are not followed: (ecg, signal|signal, ecg)"),
        ("two", "which of first, second is the ECG"),
        ("filter", r"filter 6 \(scale-offset\), which is not read; save it again with gzip"),
        ("words", "no dataset of numbers in it .there is signal"),
        ("fill", "no ECG is compressed so much"),
        ("nothing", "it holds nothing"),
    ],
)
def test_files_that_are_refused(tmp_path, kind, message):
    path = made.h5(tmp_path / "r", refused(kind))
    (tmp_path / "secret.bin").write_bytes(bytes(3200))
    with pytest.raises(InputError, match=message):
        formats.read(path, rate=250, unit="mV", leads="I,II")


def test_files_that_are_damaged(tmp_path):
    path = made.h5(tmp_path / "r", lambda f: made.put(f, "signal", X[0], SAID, chunks=(1, 400), fletcher32=True))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut short"):
        formats.read(path)
    at = whole.index(X[0, 0].tobytes())
    path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
    with pytest.raises(InputError, match="checksum of a chunk is wrong"):
        formats.read(path)
    path.write_bytes(whole[:8] + b"\x09" + whole[9:])
    with pytest.raises(InputError, match="superblock version 9"):
        formats.read(path)
    path.write_bytes(whole.replace(b"TREE", b"EERT"))
    with pytest.raises(InputError, match="no TREE at"):
        formats.read(path)


def test_a_group_that_holds_itself_is_walked_once(tmp_path):
    def build(file):
        inner = file.create_group("a/b")
        inner["up"] = file["a"]
        made.put(file, "a/signal", X[0], SAID)

    np.testing.assert_array_equal(formats.read(made.h5(tmp_path / "r", build)).signal, X[0])


def test_a_bomb_is_not_unpacked(tmp_path):
    """A chunk that unpacks to 3 MB where it should give 400 bytes."""
    import zlib

    path = tmp_path / "r.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("signal", (1, 100), "f4", chunks=(1, 100), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(3_000_000)))
    with pytest.raises(InputError, match="unpacks to 408 of 400 bytes"):
        formats.read(path, rate=250, unit="mV")


def test_a_size_that_is_a_lie(tmp_path):
    """A shape of 2 x 2**40 in 4 KB."""
    data = by_hand(tmp_path).read_bytes()
    data = data.replace(struct.pack("<QQ", 2, 400), struct.pack("<QQ", 2, 2**40))
    (tmp_path / "r.h5").write_bytes(data)
    with pytest.raises(InputError, match="values in one record"):
        formats.read(tmp_path / "r.h5", rate=250, unit="mV", leads="I,II")
