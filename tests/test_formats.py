"""Finding the format by content, and what every format does with bytes that are not its own."""

import numpy as np
import pytest

from ecgraft import formats, plugs
from ecgraft.record import InputError, UsageError


def samples(folder):
    """A small file of every format, of the same two leads; returns name of the format -> path."""
    import scipy.io
    import wfdb

    x = np.round(np.random.default_rng(0).normal(size=(2, 100)), 3)
    wfdb.wrsamp("w", 250, ["mV"] * 2, ["I", "II"], x.T, fmt=["16"] * 2, write_dir=str(folder))
    np.save(folder / "n.npy", x)
    scipy.io.savemat(folder / "m.mat", {"val": x})
    np.savetxt(folder / "c.csv", x.T, delimiter=",", fmt="%.3f")
    return x, {name: folder / file for name, file in dict(wfdb="w.hea", npy="n.npy", mat="m.mat", csv="c.csv").items()}


def test_every_format_is_read_whatever_the_file_is_called(tmp_path):
    x, paths = samples(tmp_path)
    assert set(paths) == set(formats.supported()) == set(plugs.names("formats"))
    for name, path in paths.items():
        other = path if name == "wfdb" else path.rename(tmp_path / f"{name}.xyz")
        record = formats.read(other, rate=250, unit="mV", leads="I,II")
        np.testing.assert_allclose(record.signal, x, atol=1e-4)
        assert (record.leads, record.rate) == (("I", "II"), 250)


def test_find_lists_every_record_once(tmp_path):
    _, paths = samples(tmp_path)
    (tmp_path / "notes.txt").write_text("not an ECG")
    assert formats.find(tmp_path) == sorted(paths.values())


@pytest.mark.parametrize("name", ["wfdb", "npy", "mat", "csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"<xml>" * 100, b"PK\x03\x04junk.npy" + b"x" * 500, b"\x93NUMPY"]
)
def test_foreign_content_under_a_known_name_is_an_input_error(tmp_path, name, content):
    path = samples(tmp_path)[1][name]
    path.write_bytes(content)
    for format in (None, name):
        with pytest.raises(InputError) as error:
            formats.read(path, format=format, rate=250, unit="mV", leads="I,II")
        assert path.stem in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("name", ["wfdb", "npy", "mat", "csv"])
def test_damaged_files_give_a_record_or_an_input_error(tmp_path, name):
    """Random bytes and cuts: no exception of another kind, whatever the damage."""
    path, rng = samples(tmp_path)[1][name], np.random.default_rng(7)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, min(len(whole), 300), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)].tobytes())
        try:
            formats.read(path, format=name, rate=250, unit="mV", leads="I,II")
        except InputError as error:
            assert len(str(error)) < 700


def test_what_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.npy: no such file"):
        formats.read(tmp_path / "nothing.npy")
    with pytest.raises(InputError, match="this is a folder"):
        formats.read(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        formats.find(tmp_path / "nowhere")
    assert formats.find(tmp_path) == []


def test_options_are_checked(tmp_path):
    path = samples(tmp_path)[1]["npy"]
    with pytest.raises(UsageError, match="did you mean 'rate'"):
        formats.read(path, rat=500)
    with pytest.raises(UsageError, match="must be above 0"):
        formats.read(path, rate=0)
    with pytest.raises(InputError, match="unknown unit 'kV'"):
        formats.read(path, unit="kV")
    with pytest.raises(UsageError, match="no 'nyp'; did you mean 'npy'"):
        formats.read(path, format="nyp")
    with pytest.raises(InputError, match="2 signals but 3 names"):
        formats.read(path, rate=250, unit="mV", leads="I,II,V1")


def test_lead_names_go_through_the_alias_table_and_unknown_ones_stay(tmp_path):
    path = samples(tmp_path)[1]["npy"]
    assert formats.read(path, rate=250, unit="mV", leads="mlii, CM5").leads == ("II", "CM5")
