"""Every database keeps the contract of ecgraft.datasets. The databases and their folders are found, not listed."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from ecgraft import datasets, plugs
from ecgraft.record import BEAT, RHYTHM, SPAN, WAVE, InputError

NAMES = plugs.names("datasets")
RECORDS = 400  # of a database are looked at here, evenly spread


@pytest.fixture
def folder(name, shared_data) -> Path:
    """The folder that holds database `name`; skips the test where there is none."""
    found = [folder for folder in sorted(shared_data.iterdir()) if folder.is_dir() and datasets.detect(folder) == name]
    return found[0] if found else pytest.skip(f"no folder of {name} in ../shared/data")


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_comes_from(name):
    module = plugs.find("datasets", name)
    assert all(isinstance(text, str) and text for text in (module.NAME, module.LICENCE, module.CITATION))
    assert re.match(r"https?://", module.HOMEPAGE)
    assert re.search(r"doi:10\.\d{4}", module.CITATION)
    assert module.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_no_database(name, tmp_path):
    assert not plugs.find("datasets", name).matches(tmp_path)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        datasets.entries(name, tmp_path)


def test_every_folder_is_of_one_database_at_most(shared_data):
    """`detect` raises where two databases claim a folder."""
    found = [name for folder in shared_data.iterdir() if folder.is_dir() and (name := datasets.detect(folder))]
    assert len(found) == len(set(found)) >= 11


@pytest.mark.parametrize("name", NAMES)
def test_entries_are_small_and_unique(name, folder):
    entries = datasets.entries(name, folder)
    assert {entry.dataset for entry in entries} == {name}
    assert len({entry.id for entry in entries}) == len(entries)
    assert len(pickle.dumps(entries)) < 4000 * len(entries)
    assert pickle.loads(pickle.dumps(entries)) == entries


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_an_input_error(name, folder, tmp_path):
    entry = datasets.entries(name, folder)[0]
    away = str(tmp_path / Path(entry.path).name)
    with pytest.raises(InputError, match=re.escape(Path(away).name)):
        datasets.read(dataclasses.replace(entry, path=away))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_record_reads(name, folder):
    entries = datasets.entries(name, folder)
    amplitude, ids = [], set()
    for entry in entries[:: -(-len(entries) // RECORDS)]:
        record = datasets.read(entry)
        check_signal(record)
        check_person(record, name)
        check_marks(record)
        amplitude.append(spread(record.signal))
        ids.add(record.id)
    assert len(ids) == len(amplitude)
    assert 0.1 < np.median(amplitude) < 10  # mV


def spread(signal: np.ndarray) -> float:
    """99th percentile of |x - median of its lead|, of at most 5000 samples a lead, evenly spread."""
    signal = signal[:, :: -(-signal.shape[1] // 5000)]
    return np.nanpercentile(np.abs(signal - np.nanmedian(signal, axis=1, keepdims=True)), 99)


def check_signal(record):
    assert not np.isinf(record.signal).any()
    assert np.isfinite(record.signal).any(axis=1).all()
    assert all(lead == lead.strip() and lead for lead in record.leads)
    assert record.seconds > 1


def check_person(record, name: str):
    assert record.id and record.source.split("/")[0] == name
    assert record.patient is None or re.fullmatch(r"[a-z][a-z0-9_]*:\S+", record.patient)
    assert record.sex in (None, "F", "M")
    assert record.age is None or 0 <= record.age <= 120
    assert record.split in (None, "train", "validation", "test")
    assert all(re.match(r"[a-z0-9_]+:.", code) and value in (0, 1) for code, value in record.labels.items())
    assert all(re.fullmatch(r"[a-z0-9_]+", vocabulary) for vocabulary in record.complete)
    assert all(isinstance(text, str) for text in record.extra.values())


def check_marks(record):
    C, T = record.signal.shape
    if record.beats is not None:
        assert record.beats.dtype == BEAT and (np.diff(record.beats["sample"]) >= 0).all()
        assert ((record.beats["sample"] >= 0) & (record.beats["sample"] < T)).all()
    if record.rhythms is not None:
        assert record.rhythms.dtype == RHYTHM and (record.rhythms["start"] < record.rhythms["stop"]).all()
        assert (record.rhythms["stop"] <= T).all()
    if record.waves is not None:
        times = np.stack([record.waves[field] for field in ("onset", "peak", "offset")])
        assert record.waves.dtype == WAVE and (times < T).all() and np.isin(record.waves["kind"], (1, 2, 3)).all()
        assert (record.waves["lead"] < C).all()
    if record.scored is not None:
        assert record.scored.dtype == SPAN and (record.scored["stop"] <= T).all()
