"""NPY, NPZ and MATLAB: shapes, names, and files that are not what they seem."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

import made_mat
import made_npy
from ecgraft import formats
from ecgraft.formats import _arrays
from ecgraft.record import LEADS, InputError

X = np.random.default_rng(2).normal(size=(12, 300))
GIVEN = {"rate": 500, "unit": "mV", "leads": "standard"}


def save(folder, array, name="r.npy"):
    np.save(folder / name, array, allow_pickle=True)
    return folder / name


@pytest.mark.parametrize("array", [X, X.T, X[None], np.asfortranarray(X), X.astype(">f8")])
def test_both_ways_round_give_leads_first(tmp_path, array):
    record = formats.read(save(tmp_path, array), **GIVEN)
    np.testing.assert_array_equal(record.signal, X.astype(np.float32))
    assert (record.leads, record.rate, record.id) == (LEADS, 500, "r")
    assert ("assumed" in record.extra) == (array.shape == (300, 12))


def test_lead_names_decide_where_the_shape_does_not(tmp_path):
    record = formats.read(save(tmp_path, X[:, :4]), rate=500, unit="mV", leads="I,II,V1,V2")
    np.testing.assert_array_equal(record.signal, X[:, :4].T.astype(np.float32))  # 4 leads of 12 samples


def test_one_dimension_is_one_lead_without_name(tmp_path):
    record = formats.read(save(tmp_path, np.arange(50, dtype=np.int16)), rate=100, unit="uV")
    assert record.leads == ("ECG",)
    np.testing.assert_allclose(record.signal[0], np.arange(50) / 1000, rtol=1e-6)


def test_nan_and_flat_leads_pass_through(tmp_path):
    array = X.copy()
    array[3, 10:20], array[5] = np.nan, 0
    record = formats.read(save(tmp_path, array), **GIVEN)
    np.testing.assert_array_equal(record.signal, array.astype(np.float32))


@pytest.mark.parametrize(
    ("missing", "option"), [("rate", r"rate \(--rate"), ("unit", r"unit \(--unit"), ("leads", r"--leads standard")]
)
def test_what_is_missing_is_said_with_its_option(tmp_path, missing, option):
    given = {key: value for key, value in GIVEN.items() if key != missing}
    with pytest.raises(InputError, match=option):
        formats.read(save(tmp_path, X), **given)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5)), r"3 records of 4 leads and 5 samples; take one with index \(--index 0 to 2\), or import"),
        (np.zeros((100, 100)), r"100 records of 1 leads"),
        (np.zeros((3, 100, 100)), "shape 3 x 100 x 100; it must be"),
        (np.zeros((2, 3, 4, 5)), "shape 2 x 3 x 4 x 5; it must be"),
        (np.zeros((12, 0)), "no array of numbers"),
        (np.zeros((12, 9), complex), "no array of numbers"),
        (np.array([["a", "b"]]), "no array of numbers"),
        (np.array([{"a": 1}, None]), "pickled Python objects"),
    ],
)
def test_arrays_that_are_no_ecg(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        formats.read(save(tmp_path, array), **GIVEN)


def test_npz_says_rate_unit_and_leads_itself(tmp_path):
    np.savez(tmp_path / "r.npz", signal=X[:2] * 1000, fs=250, unit="uV", leads=["II", "V5"], age=50, sex="female")
    record = formats.read(tmp_path / "r.npz", rate=999)
    assert (record.leads, record.rate, record.age, record.sex) == (("II", "V5"), 250, 50, "F")
    np.testing.assert_allclose(record.signal, X[:2], rtol=1e-6)


def test_npz_with_two_candidates_asks(tmp_path):
    np.savez(tmp_path / "r.npz", first=X, second=X)
    with pytest.raises(InputError, match="which of first, second is the ECG"):
        formats.read(tmp_path / "r.npz", **GIVEN)


def test_npz_with_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "r.npz", signal=X, extra=np.array([{"a": 1}]))
    with pytest.raises(InputError, match="pickled Python objects"):
        formats.read(tmp_path / "r.npz", **GIVEN)


def bomb(folder, count):
    """An NPZ of a few kilobytes that announces `count` zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (12, count // 12)})
    with zipfile.ZipFile(folder / "r.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("signal.npy", header.getvalue() + bytes(100_000))
    return folder / "r.npz"


def test_an_npz_that_announces_too_much_is_refused_before_it_is_unpacked(tmp_path):
    with pytest.raises(InputError, match="values in one record"):
        formats.read(bomb(tmp_path, 12 * 10**11), **GIVEN)


def test_an_npz_that_announces_more_than_it_holds(tmp_path):
    with pytest.raises(InputError, match="is it complete"):
        formats.read(bomb(tmp_path, 12 * 10**5), **GIVEN)
    with pytest.raises(InputError, match="no ECG is compressed so much"):
        formats.read(bomb(tmp_path, 12 * 10**6), **GIVEN)


def test_a_truncated_npy(tmp_path):
    path = save(tmp_path, X)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"r\.npy: cannot be read as NumPy"):
        formats.read(path, **GIVEN)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("packed", [False, True])
def test_matlab_matrix(tmp_path, version, packed):
    scipy.io.savemat(tmp_path / "r.mat", {"val": X * 1000}, format=version, do_compression=packed and version == "5")
    record = formats.read(tmp_path / "r.mat", rate=300, unit="uV", leads="standard")
    np.testing.assert_allclose(record.signal, X, rtol=1e-5)


def test_matlab_struct(tmp_path):
    scipy.io.savemat(tmp_path / "r.mat", {"ECG": {"sex": "Male", "age": 40, "data": X}}, do_compression=True)
    record = formats.read(tmp_path / "r.mat", **GIVEN)
    np.testing.assert_allclose(record.signal, X, rtol=1e-6)
    assert (record.age, record.sex) == (40, "M")


def test_cpsc2018_file(shared_data):
    record = formats.read(shared_data / "cpsc2018/TrainingSet1/A1980.mat", **GIVEN)
    assert record.signal.shape == (12, 5000) and (record.age, record.sex) == (52, "M")
    limb = record.lead("I") + record.lead("III") - record.lead("II")  # Einthoven
    assert np.abs(limb).max() < 0.02


def test_a_challenge_matrix_without_its_header_is_raw(shared_data, tmp_path):
    source = shared_data / "challenge2021/training/georgia/g1/E00002"
    (tmp_path / "E00002.mat").write_bytes(source.with_suffix(".mat").read_bytes())
    alone = formats.read(tmp_path / "E00002.mat", rate=500, unit="uV", leads="standard")
    np.testing.assert_allclose(alone.signal, formats.read(source.with_suffix(".mat")).signal, rtol=1e-6)


def test_a_matlab_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgraft.formats._mat5.LARGEST", 10_000)
    scipy.io.savemat(tmp_path / "r.mat", {"ECG": {"data": np.zeros((12, 10_000))}}, do_compression=True)
    assert (tmp_path / "r.mat").stat().st_size < 5000
    with pytest.raises(InputError, match="unpacks to more than 80000 bytes"):
        formats.read(tmp_path / "r.mat", **GIVEN)


def test_matlab_files_that_are_broken(tmp_path):
    scipy.io.savemat(tmp_path / "r.mat", {"val": X}, do_compression=True)
    whole = (tmp_path / "r.mat").read_bytes()
    for data in (whole[:600], whole[:128] + zlib.compress(bytes(100)), b"MATLAB 5.0 MAT-file" + bytes(200)):
        (tmp_path / "r.mat").write_bytes(data)
        with pytest.raises(InputError, match=r"r\.mat"):
            formats.read(tmp_path / "r.mat", **GIVEN)
    (tmp_path / "r.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
    with pytest.raises(InputError, match="not HDF5; it lacks the signature"):
        formats.read(tmp_path / "r.mat", **GIVEN)


STACK = np.random.default_rng(3).normal(size=(5, 12, 300))


def written(folder, kind: str, stack, **said):
    if kind == "npy":
        return made_npy.save(folder / "r", stack, 0, ())
    if kind == "npy, Fortran":
        return made_npy.save(folder / "r", stack, 0, (), fortran=True)
    if kind.startswith("npz"):
        return made_npy.npz(folder / "r", packed=kind == "npz packed", ecg=stack, y=np.arange(len(stack)), **said)
    said = {name: np.asarray(value, object) if name == "leads" else value for name, value in said.items()}
    if kind == "mat 7.3":
        return made_mat.mat73(folder / "r", data=stack, **{n: list(v) if n == "leads" else v for n, v in said.items()})
    return made_mat.mat(folder / "r", packed=True, data=stack, **said)


@pytest.mark.parametrize("kind", ["npy", "npy, Fortran", "npz packed", "npz plain", "mat", "mat 7.3"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_stack_is_counted_and_read_one_by_one(tmp_path, kind, turned):
    stack = STACK.transpose(0, 2, 1) if turned else STACK
    path = written(tmp_path, kind, stack, fs=500.0, leads=list(LEADS))
    assert formats.count(path) == 5
    for i in (0, 4, 2):
        record = formats.read(path, index=i, **GIVEN)
        np.testing.assert_array_equal(record.signal, STACK[i].astype(np.float32))
        assert (record.id, record.leads) == (f"r-{i}", LEADS)
        assert record.extra["assumed"].startswith(
            f"axes are records, {'samples, leads' if turned else 'leads, samples'}"
        )
    with pytest.raises(InputError, match="5 records of 12 leads and 300 samples; take one with index"):
        formats.read(path, **GIVEN)
    with pytest.raises(InputError, match="no record 5; there are 5"):
        formats.read(path, index=5, **GIVEN)


def test_what_is_said_of_each_record_of_a_stack(tmp_path):
    said = {
        "age": [50, 60, 70, 80, 300],
        "sex": list("FMFM?"),
        "fs": [100, 200, 300, 400, 500],
        "patient": list("abcde"),
    }
    path = made_npy.npz(tmp_path / "r", signal=STACK, leads=LEADS, unit="mV", **said)
    records = [formats.read(path, index=i, patient_key="0123456789abcdef") for i in range(5)]
    assert [r.age for r in records] == [50, 60, 70, 80, None] and [r.sex for r in records] == ["F", "M", "F", "M", None]
    sexes = ["mujer", "Frau", "man", "missing", "mixed"]  # of which all but one begin with m
    path = made_npy.npz(tmp_path / "s", signal=STACK, leads=LEADS, unit="mV", fs=100, sex=sexes)
    assert [formats.read(path, index=i).sex for i in range(5)] == ["F", "F", "M", None, None]
    assert [r.rate for r in records] == said["fs"] and len({r.patient for r in records}) == 5


@pytest.mark.parametrize(
    ("shape", "leads", "expected"),
    [  # records (None: one), leads, samples, whether samples stand before leads
        ((12, 5000), None, (None, 12, 5000, False)),
        ((5000, 12), None, (None, 12, 5000, True)),
        ((12, 8), 8, (None, 8, 12, True)),
        ((300,), None, (None, 1, 300, False)),
        ((1, 12, 300), None, (None, 12, 300, False)),
        ((1, 1, 300), None, (None, 1, 300, False)),
        ((300, 12, 1), None, (None, 12, 300, True)),
        ((12, 300, 1), 12, (None, 12, 300, False)),
        ((20, 300, 1), None, (20, 1, 300, True)),
        ((20, 1, 300), None, (20, 1, 300, False)),
        ((20, 300), 1, (20, 1, 300, False)),
        ((100, 300), None, (100, 1, 300, False)),
        ((7, 12, 8), 8, (7, 8, 12, True)),
        ((7, 12, 12), None, (7, 12, 12, False)),
        ((7, 5000, 2), None, (7, 2, 5000, True)),
        ((7, 1, 12, 300), None, (7, 12, 300, False)),
    ],
)
def test_axes(shape, leads, expected):
    found = _arrays.axes(shape, ("I",) * leads if leads else None, "here")
    assert (found.count, found.leads, found.samples, found.turned) == expected


def test_one_record_of_a_mapped_stack_is_read_alone(tmp_path):
    """A file of 2 GB that has holes: to read all of it would take seconds and memory."""
    head = made_npy.npy(np.zeros((1, 12, 1000)), "<f4")[: -4 * 12000].replace(b"(1, 12, 1000)", b"(40000, 12, 1000)")
    with open(tmp_path / "r.npy", "wb") as file:
        file.write(head.replace(b"    \n", b"\n"))
        file.seek(128 + 4 * 12000 * 39_999)
        file.write(np.full((12, 1000), 2, "<f4").tobytes())
    assert formats.count(tmp_path / "r.npy") == 40_000
    record = formats.read(tmp_path / "r.npy", index=39_999, **GIVEN)
    assert record.signal.shape == (12, 1000) and (record.signal == 2).all()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f8", "<i2", ">i2"])
def test_numbers_are_scaled_to_the_last_bit(tmp_path, dtype):
    values = np.round(1000 * X[0]).astype(dtype)
    path = made_npy.save(tmp_path / "r", values, 0, (), dtype=dtype)
    record = formats.read(path, rate=100, unit="uV")
    np.testing.assert_array_equal(record.signal[0], (values.astype(np.float64) / 1000).astype(np.float32))


def test_numbers_that_float32_lacks_are_missing(tmp_path):
    record = formats.read(made_npy.save(tmp_path / "r", [1.0, 1e300, -np.inf], 0, ()), rate=100, unit="mV")
    np.testing.assert_array_equal(record.signal, [[1, np.nan, np.nan]])
    assert "without end" in record.extra["assumed"]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_matlab_7_3(tmp_path, libver):
    said = {"fs": 360.0, "Unit": "uV", "leads": ["MLII", "V1", "CM5"], "age": 33.0, "sex": "male"}
    for variables in ({"val": 1000 * X[:3], **said}, {"ECG": {"data": 1000 * X[:3], **said}}):
        record = formats.read(made_mat.mat73(tmp_path / "r", libver, **variables))
        np.testing.assert_array_equal(record.signal, (1000 * X[:3] / 1000).astype(np.float32))
        assert (record.rate, record.leads, record.age, record.sex) == (360, ("II", "V1", "CM5"), 33, "M")


def test_matlab_4_text_and_order(tmp_path):
    """By hand: a text, and a matrix of big-endian int16 in columns."""
    text = struct.pack(">5i", 1051, 1, 2, 0, 5) + b"unit\0" + b"uV"
    data = text + struct.pack(">5i", 1030, 2, 3, 0, 4) + b"val\0" + struct.pack(">6h", 1, 4, 2, 5, 3, 6)
    (tmp_path / "r.mat").write_bytes(data)
    record = formats.read(tmp_path / "r.mat", rate=100, leads="I,II")
    np.testing.assert_array_equal(record.signal, np.float32([[0.001, 0.002, 0.003], [0.004, 0.005, 0.006]]))
    (tmp_path / "r.mat").write_bytes(data[:-1])
    with pytest.raises(InputError, match="cut short"):
        formats.read(tmp_path / "r.mat", rate=100, leads="I,II")


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{" * 500)
    with pytest.raises(InputError, match="a header of 4294967295 bytes"):
        formats.read(tmp_path / "x.npy", rate=500, unit="mV")
