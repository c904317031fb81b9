"""ecgraft convert: other formats, read again; folders, stores, interruptions."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft import formats
from ecgraft.commands.convert import convert
from ecgraft.commands.ingest import ingest
from ecgraft.record import LEADS, InputError, UsageError
from made_files import ecg, save

pytestmark = pytest.mark.slow

ENDINGS = (".hea", ".edf", ".bdf", ".csv", ".tsv", ".dcm")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_comes_back_within_half_a_step(tmp_path, ending):
    x = ecg(0, leads=12, seconds=10, rate=500)
    save(tmp_path / "a.npz", x, leads=list(LEADS), rate=500.0, age=64, sex="F")
    (done,) = convert(tmp_path / "a.npz", tmp_path / f"b{ending}", progress=False)
    again = formats.read(done.files[0])
    assert (
        again.leads == LEADS and again.rate == 500 and (again.age, again.sex) in ((64, "F"), (None, "F"), (None, None))
    )
    assert done.error == pytest.approx(float(np.abs(again.signal - x.astype(np.float32)).max()))
    assert done.error <= 0.0005 + 1e-6 and (ending not in (".csv", ".tsv") or done.error == 0)
    assert set(done.lost) == {name for name in ("age", "sex") if getattr(again, name) is None}
    with pytest.raises(UsageError, match="is there already"):
        convert(tmp_path / "a.npz", tmp_path / f"b{ending}", progress=False)


def test_a_folder_goes_on_where_it_stopped(tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    save(tmp_path / "in" / "a.npz", ecg(0))
    save(tmp_path / "in" / "deep" / "b.npz", ecg(1))
    save(tmp_path / "in" / "bad.npz", ecg(2)).write_bytes(b"PK\x03\x04 .npy" + b"x" * 300)
    np.save(tmp_path / "in" / "many.npy", np.stack([ecg(i).T for i in range(2)]))
    given = {"format": "edf", "rate": 250, "unit": "mV", "leads": "I,II"}
    done = convert(tmp_path / "in", tmp_path / "out", **given)
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.edf"))
    assert made == ["a.edf", "deep/b.edf", "many/0.edf", "many/1.edf"] and len(done) == 4
    said = capsys.readouterr().err
    assert "1 record could not be converted" in said and "bad.npz" in said
    (tmp_path / "out" / "deep" / "b.edf").unlink()
    assert len(convert(tmp_path / "in", tmp_path / "out", **given)) == 1
    assert "3 records were there already" in capsys.readouterr().err


def test_a_store_can_be_taken_out_again(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.npz", ecg(0))
    store = ingest(tmp_path / "in", to=tmp_path / "s", progress=False)
    (done,) = convert(tmp_path / "s", tmp_path / "out", format="wfdb", progress=False)
    assert done.files[0].name == "a.hea"
    np.testing.assert_allclose(formats.read(done.files[0]).signal, store.record(0).signal, atol=0.0005)
    with pytest.raises(UsageError, match="is a store, which knows rate"):
        convert(tmp_path / "s", tmp_path / "out", format="wfdb", rate=250, progress=False)


def test_wrong_use(tmp_path):
    save(tmp_path / "a.npz", ecg(0))
    with pytest.raises(UsageError, match="the ending says the format"):
        convert(tmp_path / "a.npz", tmp_path / "a.docx", progress=False)
    with pytest.raises(UsageError, match="say with --format what to write"):
        convert(tmp_path, tmp_path / "out", progress=False)
    with pytest.raises(UsageError, match="did you mean 'wfdb'"):
        convert(tmp_path, tmp_path / "out", format="wfbd", progress=False)
    with pytest.raises(UsageError, match="is a file; several records"):
        convert(tmp_path, tmp_path / "a.npz", format="edf", progress=False)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"none of 1 records could be converted. The first: .*x\.npy"):
        convert(tmp_path / "bad", tmp_path / "out", format="edf", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "bad"]


def test_a_file_that_did_not_come_back_whole_is_removed(tmp_path, monkeypatch):
    """It would count as converted in the next run."""
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.npz", ecg(0))
    real, edf = formats.read, tmp_path / "out" / "a.edf"

    def read(path, *args, **given):
        record = real(path, *args, **given)
        return record.but(leads=("V1", "V2")) if str(path).endswith(".edf") else record

    monkeypatch.setattr(formats, "read", read)
    for _ in range(2):
        with pytest.raises(InputError, match="removed, try another format"):
            convert(tmp_path / "in", tmp_path / "out", format="edf", progress=False)
        assert not edf.exists()
    monkeypatch.setattr(formats, "read", real)
    assert len(convert(tmp_path / "in", tmp_path / "out", format="edf", progress=False)) == 1 and edf.exists()


def test_names_that_wfdb_does_not_allow(tmp_path, capsys):
    """They are found again in the next run; two that become the same are not taken for each other."""
    (tmp_path / "in").mkdir()
    for i, name in enumerate(("Müller 3.5.", "EKG (1)", "EKG 1")):
        save(tmp_path / "in" / f"{name}.npz", ecg(i))
    done = convert(tmp_path / "in", tmp_path / "out", format="wfdb")
    assert {one.record for one in done} == {"Müller 3.5.", "EKG (1)"}
    assert "EKG 1.npz: " in (said := capsys.readouterr().err) and "so EKG (1) is called already; rename one" in said
    assert not convert(tmp_path / "in", tmp_path / "out", format="wfdb")
    assert "2 records were there already" in (said := capsys.readouterr().err) and "rename one" in said


def test_one_file_with_a_format_is_a_file_and_a_stack_is_asked_about(tmp_path):
    save(tmp_path / "a.npz", ecg(0))
    (done,) = convert(tmp_path / "a.npz", tmp_path / "b.edf", format="edf", progress=False)
    assert done.files == [tmp_path / "b.edf"] and (tmp_path / "b.edf").is_file()
    np.save(tmp_path / "x.npy", np.stack([ecg(i).T for i in range(3)]))
    given = {"rate": 250, "unit": "mV", "leads": "I,II", "progress": False}
    with pytest.raises(UsageError, match="3 records; say which with --index"):
        convert(tmp_path / "x.npy", tmp_path / "c.edf", **given)
    assert len(convert(tmp_path / "x.npy", tmp_path / "c.edf", index=2, **given)) == 1
    with pytest.raises(UsageError, match="another folder"):
        convert(tmp_path, tmp_path, format="edf", progress=False)
