"""NPY, NPZ and MATLAB: shapes, names, and files that are not what they seem."""

import io
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

from ecgraft import formats
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
        (np.zeros((3, 4, 5)), "one record a file"),
        (np.zeros((100, 100)), "one record a file"),
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
    with pytest.raises(InputError, match="save it in MATLAB with -v7"):
        formats.read(tmp_path / "r.mat", **GIVEN)
