"""Writing is all or nothing: errors, full disks, kills; adding, merging, and removing a patient for good."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecgraft.record import InputError, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter, build, chunks, merge, remove_patient
from ecgraft.store.lock import Lock
from made_records import assert_same, full, plain


def write(path, *records, plan=None) -> Store:
    with StoreWriter(path, plan) as writer:
        for record in records:
            writer.add(record)
    return Store(path)


def ids(store: Store) -> list[str]:
    return list(store.column("id"))


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


class Odd(Exception):
    pass


def test_an_error_leaves_the_old_store(tmp_path):
    store = write(tmp_path / "s", full(0), plain(1))
    before = files(tmp_path / "s")
    with pytest.raises(Odd), StoreWriter(tmp_path / "s") as writer:
        writer.add(plain(2))
        raise Odd
    assert files(tmp_path / "s") == before and Store(tmp_path / "s").fingerprint == store.fingerprint


def test_an_error_leaves_no_new_store(tmp_path):
    with pytest.raises(Odd), StoreWriter(tmp_path / "s") as writer:
        writer.add(plain(2))
        raise Odd
    assert not (tmp_path / "s").exists()


def test_a_half_written_store_does_not_open(tmp_path):
    writer = StoreWriter(tmp_path / "s", plan={"a": 1}).__enter__()
    writer.add(plain(0))
    with pytest.raises(InputError, match="interrupted; run it again"):
        Store(tmp_path / "s")
    writer.__exit__(Odd)


def test_a_plan_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgraft.store.write.CHUNK", 3)
    records = [plain(i) for i in range(10)]
    with pytest.raises(Odd), StoreWriter(tmp_path / "s", {"a": 1}) as writer:
        for record in records[:8]:
            writer.add(record)
        raise Odd
    with StoreWriter(tmp_path / "s", {"a": 1}) as writer:
        assert len(writer) == 6  # two chunks of three were finished
        for record in records[6:]:
            writer.add(record)
    assert ids(Store(tmp_path / "s")) == [f"r{i}" for i in range(10)]
    assert Store(tmp_path / "s").fingerprint == write(tmp_path / "t", *records).fingerprint
    assert not (tmp_path / "s" / ".building").exists()


def test_another_plan_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgraft.store.write.CHUNK", 1)
    with pytest.raises(Odd), StoreWriter(tmp_path / "s", {"a": 1}) as writer:
        writer.add(plain(0))
        raise Odd
    with StoreWriter(tmp_path / "s", {"a": 2}) as writer:
        assert len(writer) == 0
        writer.add(plain(1))
    assert ids(Store(tmp_path / "s")) == ["r1"] and len(list((tmp_path / "s" / "signals").iterdir())) == 1


@pytest.mark.parametrize("where", ["signals", "table", "head"])
def test_a_full_disk_leaves_the_old_store(tmp_path, monkeypatch, where):
    store = write(tmp_path / "s", full(0))

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {"signals": (chunks.Shards, "append"), "table": (build, "join"), "head": (build, "write_json")}[where]
    writer = StoreWriter(tmp_path / "s", {"a": 1}).__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(*target, no_space)
        with pytest.raises(OSError, match="No space"):
            try:
                writer.add(plain(1))
            except OSError:
                writer.__exit__(OSError)
                raise
            writer.__exit__(None)
    assert ids(Store(tmp_path / "s")) == ["r0"] and Store(tmp_path / "s").fingerprint == store.fingerprint
    assert ids(write(tmp_path / "s", plain(1))) == ["r0", "r1"]
    assert len(list((tmp_path / "s").glob("table-*"))) == 1  # what failed was swept away


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from made_records import plain
from ecgraft.store import StoreWriter, write
{limit}
write.CHUNK = 4
with StoreWriter(sys.argv[1], {{"a": 1}}) as writer:
    for i in range(len(writer), 40):
        writer.add(plain(i))
        if i == 29:
            print("now", flush=True)
            {act}
"""


def run(path: Path, limit: str = "", act: str = "pass") -> subprocess.Popen:
    words = [sys.executable, "-c", CHILD.format(limit=limit, act=act), str(path), str(Path(__file__).parent)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_killed_and_repeated(tmp_path):
    child = run(tmp_path / "s", act="import time; time.sleep(60)")
    assert child.stdout.readline() == "now\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with pytest.raises(InputError, match="interrupted"):
        Store(tmp_path / "s")
    assert run(tmp_path / "s").wait() == 0
    assert Store(tmp_path / "s").fingerprint == write(tmp_path / "t", *(plain(i) for i in range(40))).fingerprint


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_file_that_may_not_grow(tmp_path):
    """The system itself refuses to write, in the middle of a record."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    child = run(tmp_path / "s", limit)
    assert child.wait() != 0 and "File too large" in child.stderr.read()
    with pytest.raises(InputError, match="interrupted"):
        Store(tmp_path / "s")
    assert run(tmp_path / "s").wait() == 0 and len(Store(tmp_path / "s")) == 40


def test_published_but_not_swept(tmp_path, monkeypatch):
    """A process that dies right after store.json is replaced has published: repeating it adds nothing twice."""
    with monkeypatch.context() as patch:
        patch.setattr(build.Building, "sweep", lambda *_: (_ for _ in ()).throw(Odd()))
        with pytest.raises(Odd):
            write(tmp_path / "s", plain(0), plan={"a": 1})
    assert ids(Store(tmp_path / "s")) == ["r0"]
    with StoreWriter(tmp_path / "s", {"a": 1}) as writer:
        assert len(writer) == 0
        writer.add(plain(0))
    assert ids(Store(tmp_path / "s")) == ["r0"] and len(list((tmp_path / "s").glob("table-*"))) == 1


def test_one_writer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(Lock.__init__, "__defaults__", (0.1,))
    with StoreWriter(tmp_path / "s") as writer:
        writer.add(plain(0))
        with pytest.raises(InputError, match="another process is writing"), StoreWriter(tmp_path / "s"):
            pass
    assert ids(Store(tmp_path / "s")) == ["r0"]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.doc").write_text("x")
    for path in (tmp_path, tmp_path / "thesis.doc"):
        with pytest.raises(UsageError, match="give a new folder"):
            write(path, plain(0))
    assert files(tmp_path) == {"thesis.doc": b"x"}


def test_nothing_to_write(tmp_path):
    with pytest.raises(InputError, match="nothing to put into the store"):
        write(tmp_path / "s")


def test_a_record_that_comes_again_replaces_the_old_one(tmp_path):
    write(tmp_path / "s", plain(0, labels={"own:a": 1}), plain(1))
    store = write(tmp_path / "s", plain(0, labels={"own:a": 0}), plain(0, labels={"own:a": 1}), plain(5, id="r1"))
    assert ids(store) == ["r1", "r0", "r1"]  # r1 with other samples is another record
    assert store.record(1).labels == {"own:a": 0}


def test_merge(tmp_path):
    a = [full(0), plain(1, labels={"scp:X": 1})]
    b = [plain(1, labels={"scp:X": 1}), plain(2, labels={"aha:1": 1}, complete=frozenset({"aha"}), values={"qt": 2.0})]
    write(tmp_path / "a", *a), write(tmp_path / "b", *b)
    store = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    for i, record in enumerate([*a, b[1]]):
        assert_same(store.record(i), record)
    assert len(store) == 3 and store.fingerprint == write(tmp_path / "d", *a, b[1]).fingerprint
    assert ids(merge([tmp_path / "b"], tmp_path / "a")) == ["r0", "r1", "r2"]
    with pytest.raises(UsageError):
        merge([tmp_path / "a"], tmp_path / "a")
    with pytest.raises(InputError, match="nowhere"):
        merge([tmp_path / "nowhere"], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_patient_is_removed_for_good(tmp_path, monkeypatch):
    """No byte of samples, texts or caches of theirs is left; the other records are as they were."""
    monkeypatch.setattr(chunks, "LARGEST", 4000)  # samples: several shards
    path = tmp_path / "s"
    records = [plain(i, report=f"report {i}", extra={"k": f"extra-{i}-"}) for i in range(10)]
    write(path, *records)
    store = write(path, plain(3, report="again"))  # replaces r3: its old samples are in no row any more
    store.prepared(Recipe(rate=250, low=None, high=None))
    samples = [store._codes(i).tobytes()[:200] for i in store.find("patient", "p1")]
    there = b"".join(files(path).values())
    assert all(piece in there for piece in (*samples, b"report 2", b"extra-2-", b"p1"))
    del store
    assert remove_patient(path, "p1") == 2
    there = b"".join(files(path).values())
    assert not any(piece in there for piece in (*samples, b"report 2", b"report 3", b"again", b"extra-2-", b"p1"))
    store = Store(path)
    kept = [record for i, record in enumerate(records) if i not in (2, 3)]
    assert len(store) == 8
    for i, record in enumerate(kept):
        assert_same(store.record(i), record)
    assert store.prepared(Recipe()).usable.all()
    with pytest.raises(InputError, match="no patient 'p1'"):
        remove_patient(path, "p1")


def test_the_last_patient_is_not_removed(tmp_path):
    write(tmp_path / "s", plain(0), plain(1))
    with pytest.raises(InputError, match="delete the folder"):
        remove_patient(tmp_path / "s", "p0")
    with pytest.raises(InputError):
        remove_patient(tmp_path / "none", "p0")
    assert len(Store(tmp_path / "s")) == 2 and not (tmp_path / "none").exists()


@pytest.mark.slow
def test_many_records_open_few_files(tmp_path, monkeypatch):
    """Hundreds of chunks are joined with the number of open files that every system allows."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr("ecgraft.store.write.CHUNK", 2)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = max(map(int, os.listdir("/dev/fd")))  # what other tests of this process have left open
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 64, before[1]))
    try:
        store = write(tmp_path / "s", *(plain(i, ("II",), 20) for i in range(200)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert ids(store) == [f"r{i}" for i in range(200)] and np.array_equal(store.number("length"), [20] * 200)
