"""Parts and folds: no patient and no duplicate on two sides, official parts kept, labels spread evenly."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgraft.record import UsageError
from ecgraft.store import Store, StoreWriter, splits
from made_records import noise, plain

SMALL = {"leads": ("II",), "samples": 20}


def store_of(path, records) -> Store:
    with StoreWriter(path) as writer:
        for record in records:
            writer.add(record)
    return Store(path)


def by(keys, parts) -> dict:
    found = defaultdict(set)
    for key, part in zip(keys, parts):
        found[key].add(str(part))
    return found


record = st.tuples(
    st.integers(0, 6), st.integers(0, 15), st.sampled_from([None, "train", "validation", "test"]),
    st.sampled_from(["a", "b", "mitdb"]), st.sets(st.sampled_from(["x:1", "x:2", "x:3"])),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(record, min_size=1, max_size=25), seed=st.integers(0, 3))
def test_no_patient_and_no_duplicate_on_two_sides(tmp_path_factory, rows, seed):
    records = [
        plain(0, **SMALL, id=f"r{k}", patient=f"p{p}", source=source, split=split, labels=dict.fromkeys(labels, 1)).but(
            signal=noise(samples, ("II",), 20)
        )
        for k, (p, samples, split, source, labels) in enumerate(rows)
    ]
    store = store_of(tmp_path_factory.mktemp("s") / "s", records)
    part = splits.split(store, seed)
    patients, samples = [row[0] for row in rows], [row[1] for row in rows]
    assert all(len(parts) == 1 for parts in (by(patients, part) | by([f"s{s}" for s in samples], part)).values())
    assert all(p == "test" for p, row in zip(part, rows) if row[3] == "mitdb")
    fold = splits.folds(store, 2, seed) if len(rows) > 1 else np.zeros(1)
    assert all(len(folds) == 1 for folds in by(patients, fold).values())
    chosen = splits.few(store, np.arange(len(rows)), store.labels, 0.4, seed)
    assert len(chosen) and not set(np.take(patients, chosen)) & set(np.delete(patients, chosen))


def test_official_parts_are_kept(tmp_path):
    split = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3
    store = store_of(tmp_path / "s", [plain(i, **SMALL, patient=None, split=s) for i, s in enumerate(split)])
    assert splits.split(store).tolist() == split == splits.split(store, seed=5).tolist()


def test_without_their_test_part_official_parts_do_not_hold(tmp_path):
    records = [plain(i, **SMALL, patient=None, split="train") for i in range(100)]
    assert Counter(splits.split(store_of(tmp_path / "s", records))) == {"train": 70, "test": 20, "validation": 10}


def test_without_a_validation_part_some_of_training_becomes_it(tmp_path):
    split = ["train"] * 80 + ["test"] * 20
    store = store_of(tmp_path / "s", [plain(i, **SMALL, patient=None, split=s) for i, s in enumerate(split)])
    part = splits.split(store)
    assert abs(Counter(part[:80])["validation"] - 10) <= 1 and set(part[:80]) == {"train", "validation"}
    assert set(part[80:]) == {"test"}


def test_duplicates_go_to_the_lower_fold(tmp_path):
    """Records 0 and 1 have equal samples; 1 brings 2, of its patient, along. 3 stays."""
    rows = [("a", "train", 3), ("b", "test", 10), ("b", "test", 10), ("c", "test", 10), ("d", "validation", 9)]
    records = [plain(max(i, 1), **SMALL, id=f"r{i}", patient=p, split=s, fold=f) for i, (p, s, f) in enumerate(rows)]
    assert splits.split(store_of(tmp_path / "s", records)).tolist() == ["train", "train", "train", "test", "validation"]


def test_test_only_databases(tmp_path):
    records = [plain(i, **SMALL, patient=None, source="qtdb" if i < 5 else "own") for i in range(60)]
    part = splits.split(store_of(tmp_path / "s", records))
    assert set(part[:5]) == {"test"} and Counter(part[5:])["train"] > 30


def labelled(path, n=400) -> Store:
    """A rare label (1 in 20), a common one (half), in an order that has nothing to do with them."""
    order = np.random.default_rng(0).permutation(n)
    labels = [{"x:rare": int(k % 20 == 0), "x:common": int(k % 2 == 1)} for k in order]
    return store_of(path, [plain(i, **SMALL, patient=None, labels=labels[i]) for i in range(n)])


def test_stratified_and_the_same_everywhere(tmp_path):
    store = labelled(tmp_path / "s")
    part, y = splits.split(store), store.labels == 1
    for name, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        here = part == name
        assert abs(here.mean() - share) < 0.01 and abs(y[here].sum(0) - share * y.sum(0)).max() <= 3
    assert (splits.split(store, seed=1) != part).mean() > 0.2
    backwards = store_of(tmp_path / "t", [store.record(i) for i in range(len(store))][::-1])
    assert splits.split(backwards)[::-1].tolist() == part.tolist()


def test_folds(tmp_path):
    store = labelled(tmp_path / "s")
    index = np.arange(0, 400, 2)
    fold = splits.folds(store, 5, index=index)
    assert fold.shape == (200,) and np.ptp(np.bincount(fold, minlength=5)) <= 4
    rare = store.labels[index][:, store.codes.index("x:rare")] == 1
    assert np.ptp(np.bincount(fold[rare], minlength=5)) <= 2
    with pytest.raises(UsageError):
        splits.folds(store, 1)


def test_few(tmp_path):
    store, index = labelled(tmp_path / "s"), np.arange(50, 400)
    y = store.labels == 1
    for budget, count in ((0.1, 35), (40, 40), (3, 3), (350, 350), (10_000, 350), (1, 350)):
        chosen = splits.few(store, index, y, budget)
        assert len(chosen) == count and set(chosen) <= set(index) and (np.diff(chosen) > 0).all()
        assert (y[chosen].sum(0) > 0).all()  # each label is there, though one in twenty is rare
    chosen = splits.few(store, index, y, 0.4)
    assert abs(y[chosen].sum(0) - 0.4 * y[index].sum(0)).max() <= 2
    assert splits.few(store, index, y, 40, seed=1).tolist() != splits.few(store, index, y, 40).tolist()
    assert len(splits.few(store, index, None, 7)) == 7 and not len(splits.few(store, index[:0], y, 7))
    for budget in (0, -1, 2.5):
        with pytest.raises(UsageError, match="budget"):
            splits.few(store, index, y, budget)
