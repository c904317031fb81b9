"""R peaks of ECGs that come in bit by bit: cuts, causality, what the whole record says, memory, bad input."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import ecgraft
from ecgraft import formats
from ecgraft.metrics import beats
from ecgraft.model import Model
from ecgraft.model.stream import START, Stream
from ecgraft.record import InputError, Record, UsageError
from ecgraft.signal.peaks import NEAR
from ecgraft.simulator import Config, simulate

pytestmark = pytest.mark.slow

WINDOW = 4.0  # s


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """The model of ecgraft with a graft for R peaks that was trained for some seconds."""
    folder = tmp_path_factory.mktemp("stream")
    ecgraft.simulate(to=folder / "store", count=80, seed=5, seconds=WINDOW, rate=250.0, progress=False)
    options = {"adapter": "linear", "steps": 80, "batch": 8, "seconds": WINDOW, "rare": "note", "progress": False}
    ecgraft.adapt(folder / "store", task="qrs", to=folder / "model", **options)
    there = Model.load(folder / "model")
    for name in ("findings", "waves"):
        there.add(Model.load().graft(name))
    return there


def ecg(seconds=12.0, rate=250.0, leads=("I", "II"), seed=3) -> Record:
    """A simulated ECG of some leads."""
    calm = Config(seconds=seconds, rate=rate, swap=0, lead_loss=0, flat=0, handheld=0)
    record = simulate(seed, [1], calm).record(0)
    return Record(np.stack([record.lead(name) for name in leads]), rate, leads, beats=record.beats)


def told(model, record: Record, size: int | None = None, **options) -> np.ndarray:
    """All that a stream says when `size` samples come at a time."""
    stream = Stream(model, "qrs", record.rate, record.leads, **options)
    T = record.signal.shape[1]
    pieces = [stream.push(record.signal[:, at : at + (size or T)]) for at in range(0, T, size or T)]
    return np.concatenate([*pieces, stream.close()])


def whole(model, record: Record) -> np.ndarray:
    return model.predict(record, ["qrs"])["qrs"].beats["sample"]


def share(reference, given, rate: float, seconds: float = 0.02) -> float:
    """F1 of peaks within `seconds` of each other."""
    return float(beats.scores(beats.count(reference, given, rate, seconds))["f1"])


def test_a_stream_says_the_same_however_it_is_cut(model):
    record = ecg()
    at_once = told(model, record)
    assert len(at_once) > 8 and at_once.dtype == np.int64 and (np.diff(at_once) > 0).all()
    for size in (1, 7, 1000):
        assert np.array_equal(told(model, record, size), at_once)


def test_pushes_of_any_size_and_of_nothing(model):
    record, random = ecg(), np.random.default_rng(0)
    cuts = np.sort(random.integers(0, record.signal.shape[1], 40))
    stream = Stream(model, "qrs", record.rate, record.leads)
    said = [stream.push(piece) for piece in np.split(record.signal, np.repeat(cuts, 2), axis=1)]
    assert np.array_equal(np.concatenate([*said, stream.close()]), told(model, record))
    assert len(stream.close()) == 0


@pytest.mark.parametrize("delay, hop", [(0.1, 0.25), (0.5, 0.3), (1.0, 0.25)])
def test_what_is_said_depends_on_nothing_later_than_the_latency(model, delay, hop):
    record, other = ecg(8.0), ecg(8.0, seed=11)
    one, latency = told(model, record, delay=delay, hop=hop), round((delay + hop) * 250)
    for n in (700, 1001, 1237, 1499):  # also between two looks
        changed = record.signal.copy()
        changed[:, n:] = 3 * other.signal[:, n:] + 1
        two = told(model, record.but(signal=changed), delay=delay, hop=hop)
        assert np.array_equal(one[one <= n - latency], two[two <= n - latency]) and (one <= n - latency).any()
        assert not np.array_equal(one, two)


@pytest.mark.parametrize("delay", [0.1, 0.5, 2.0])
def test_answers_come_after_the_delay_and_within_the_latency(model, delay):
    record, waits = ecg(20.0), []
    stream = Stream(model, "qrs", 250.0, record.leads, delay=delay)
    assert stream.latency == pytest.approx(delay + 0.25, abs=0.008)
    first = np.ceil(max(START, delay) / (62 / 250)) * 62  # the first look, at the end of a hop of 62 samples
    for at in range(0, 5000, 10):
        received = at + 10
        said = stream.push(record.signal[:, at:received])
        assert not len(said) or received >= first
        waits += [] if received < first + 10 else (received - said).tolist()
    assert len(waits) > 10 and (delay - NEAR) * 250 - 1 <= min(waits)
    assert max(waits) <= stream.latency * 250 + 9  # as 10 come at a time


class Scripted(Stream):
    """Finds `beats`, each as far from its place as `moved(look, beat)` says (samples; None: not found)."""

    def __init__(self, *given, beats, moved, **options):
        super().__init__(*given, **options)
        self.beats, self.moved, self.look = beats, moved, 0

    def _found(self):
        self.look += 1
        inside = self.beats[(self.beats < self._received) & (self.beats >= self._received - self._window)]
        moved = [(at, self.moved(self.look, at)) for at in inside.tolist()]
        return np.array(sorted(at + by for at, by in moved if by is not None), dtype=np.int64)


def test_a_beat_that_moves_from_look_to_look_is_given_once(model):
    """Up to NEAR (12 samples) in all, at every distance from the end of a look."""
    places, random = np.arange(40, 20_000, 77), np.random.default_rng(0)
    for by in ((lambda look, at: 6 - 12 * (look % 2)), (lambda look, at: int(random.integers(-6, 7)))):
        stream = Scripted(model, "qrs", 250.0, ("I",), delay=0.3, beats=places, moved=by)
        said = [stream.push(np.zeros((1, 25))) for _ in range(800)]
        said = np.concatenate([*said, stream.close()])
        assert len(said) == len(places) and np.abs(said - places).max() <= 6


def test_a_short_window_loses_nothing_before_the_first_look(model):
    graft = model.graft("qrs")
    model.add(replace(graft, name="short", recipe=replace(graft.recipe, seconds=2.0)))
    places = np.arange(20, 3000, 77)
    options = {"delay": 0.2, "hop": 0.8, "beats": places, "moved": lambda look, at: 0}
    stream = Scripted(model, "short", 250.0, ("I",), **options)
    assert np.array_equal(np.concatenate([stream.push(np.zeros((1, 3000))), stream.close()]), places)


def test_a_beat_that_is_found_too_late_is_not_given(model):
    """What a look finds further back than NEAR before the end of the last one would break the latency."""
    places = np.arange(100, 5000, 200)
    late = {int(at): 1e9 for at in places}

    def moved(look, at):
        late[at] = min(late[at], look)
        return 0 if look - late[at] >= 4 or at % 400 == 100 else None  # every second one is found a second late

    stream = Scripted(model, "qrs", 250.0, ("I",), delay=0.3, beats=places, moved=moved)
    said = np.concatenate([stream.push(np.zeros((1, 5000))), stream.close()])
    assert said.tolist() == places[::2].tolist()


@pytest.mark.parametrize("delay", [0.25, 1.0])
def test_a_stream_agrees_with_the_whole_record(model, delay):
    """Within 20 ms; all 144 beats when this was written."""
    counts = np.zeros(3)
    for seed in range(4):
        record = ecg(30.0, seed=seed)
        counts += beats.count(whole(model, record), told(model, record, delay=delay), 250.0, 0.02)
    assert counts.sum() > 100 and beats.scores(counts)["f1"] >= 0.98


def test_a_stream_agrees_with_the_whole_record_on_a_real_ecg(model, shared_data):
    """All 85 beats when this was written."""
    record = formats.read(shared_data / "mitdb" / "112.hea")
    record = Record(record.signal[:, : 60 * 360], record.rate, record.leads)
    said, expected = told(model, record, size=333), whole(model, record)
    assert len(expected) > 60 and share(expected, said, 360.0) >= 0.99


@pytest.mark.parametrize("rate", [100.0, 250.0, 333.3, 500.0, 1000.0])
@pytest.mark.parametrize("leads", [("II",), ("I", "V2")], ids="-".join)
def test_any_rate_and_leads(model, rate, leads):
    record = ecg(10.0, rate, leads)
    said = told(model, record, delay=0.5)
    assert share(record.beats["sample"], said, rate, 0.06) >= 0.9
    assert share(whole(model, record), said, rate) >= 0.9


def test_nothing_is_kept_but_one_window(model):
    record = ecg(10.0)
    stream = Stream(model, "qrs", 250.0, record.leads, hop=2.0)
    stream.push(record.signal)
    size = sum(value.nbytes for value in vars(stream).values() if isinstance(value, np.ndarray))
    assert size == 2 * WINDOW * 250 * 4
    tracemalloc.start()
    stream.push(record.signal)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        stream.push(record.signal)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000  # the signals that came meanwhile take 200,000
    assert size == sum(value.nbytes for value in vars(stream).values() if isinstance(value, np.ndarray))


def test_gaps_without_samples_are_passed_over(model):
    record = ecg(24.0)
    missing = record.signal.copy()
    missing[:, 2000:4000] = np.nan  # longer than a window
    missing[0, 5000:] = np.nan  # one lead alone
    missing[1, 300] = np.inf
    said, unbroken = told(model, record.but(signal=missing)), told(model, record)
    clear = [(at < 1900) | ((at > 4100) & (at < 4900)) | (at > 5100) for at in (unbroken, said)]
    assert not ((said > 2050) & (said < 3950)).any()
    assert share(unbroken[clear[0]], said[clear[1]], 250.0) >= 0.9


@pytest.mark.parametrize("value", [0.0, 1.5, np.nan])
def test_a_line_has_no_beats(model, value):
    signal = np.full((2, 3000), value, np.float32)
    assert told(model, Record(signal, 250.0, ("I", "II"))).tolist() == []


@pytest.mark.parametrize("samples", [0, 1, 2, 30, 400])
def test_what_ends_before_the_first_look_is_read_at_the_end(model, samples):
    record = ecg(4.0)
    stream = Stream(model, "qrs", 250.0, record.leads)
    assert stream.push(record.signal[:, :samples]).tolist() == []
    said = stream.close()
    short = record.signal[:, :samples]
    expected = whole(model, Record(short, 250.0, record.leads)).tolist() if samples else []
    assert said.tolist() == expected and (samples < 400 or len(expected))


def test_leads_go_by_name_and_what_is_assumed_is_said(model):
    record = ecg(8.0)
    assert "lead ECG1 is taken as II" in Stream(model, "qrs", 250.0, "ECG1").notes
    assert Stream(model, "qrs", 250.0, ("MLII", "v1")).leads == ("II", "V1")
    turned = Record(record.signal[::-1], 250.0, ("II", "I"))
    assert np.array_equal(told(model, turned), told(model, record))


def test_streams_of_one_model_do_not_disturb_each_other(model):
    record, other = ecg(8.0), ecg(8.0, seed=11)
    one, two = (Stream(model, "qrs", 250.0, record.leads) for _ in range(2))
    said = []
    for at in range(0, 2000, 100):
        said.append(one.push(record.signal[:, at : at + 100]))
        two.push(other.signal[:, at : at + 100])
    assert np.array_equal(np.concatenate([*said, one.close()]), told(model, record))


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"name": "qrz"}, UsageError, "did you mean 'qrs'"),
        ({"name": "waves"}, UsageError, "graft 'waves' is of kind 'waves'; a stream needs one of kind 'peaks'"),
        ({"name": "findings"}, UsageError, "of kind 'multilabel'"),
        ({"rate": 0.0}, InputError, "rate 0"),
        ({"rate": 20.0}, InputError, "too low"),
        ({"rate": float("nan")}, InputError, "rate nan"),
        ({"leads": ()}, InputError, "empty"),
        ({"leads": ("I", "DI")}, InputError, "lead I stands there twice"),
        ({"leads": ("X", "Y"), "name": "v1"}, InputError, "none of the leads V1 of the recipe; it has X, Y"),
        ({"delay": 0.05}, UsageError, "it must be from 0.1 to 2.75 s"),
        ({"delay": 3.0}, UsageError, "windows of 4 s and hops of 0.25 s it must be from 0.1 to 2.75 s"),
        ({"delay": float("nan")}, UsageError, "delay nan s"),
        ({"hop": 0.0}, UsageError, "hop 0 s: with windows of 4 s it must be above 0 and at most 2.9 s"),
        ({"hop": 3.0}, UsageError, "hop 3 s"),
    ],
)
def test_what_does_not_fit_is_said(model, given, error, message):
    if given.get("name") == "v1":
        graft = model.graft("qrs")
        recipe = replace(graft.recipe, leads=("V1",))
        model.add(replace(graft, name="v1", recipe=recipe))
    with pytest.raises(error, match=message):
        Stream(model, **({"name": "qrs", "rate": 250.0, "leads": ("I", "II")} | given))


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros(5), r"samples of shape \(5,\); a stream of I, II takes numbers \(mV\) of shape \(2, n\)"),
        (np.zeros((5, 2)), r"of shape \(2, n\)"),
        (np.zeros((1, 2, 5)), r"of shape \(2, n\)"),
        (None, r"of shape \(2, n\)"),
        ([["a", "b"], ["c", "d"]], r"no array of numbers.*of shape \(2, n\)"),
        ([[1.0], [1.0, 2.0]], r"no array of numbers.*of shape \(2, n\)"),
    ],
)
def test_samples_of_another_shape_change_nothing(model, samples, message):
    record = ecg(6.0)
    stream = Stream(model, "qrs", 250.0, record.leads)
    first = stream.push(record.signal[:, :800])
    with pytest.raises(InputError, match=message):
        stream.push(samples)
    rest = stream.push(record.signal[:, 800:])
    assert np.array_equal(np.concatenate([first, rest, stream.close()]), told(model, record))
    with pytest.raises(UsageError, match="closed"):
        stream.push(record.signal)


def test_a_file_is_read_as_a_stream_with_its_latency(tmp_path):
    """The packaged graft; the whole record and the stream say the same of a clean ECG."""
    made = simulate(4, range(1), Config(seconds=12.0, lead_loss=0.0, flat=0.0)).record(0)
    file = tmp_path / "ecg.csv"
    np.savetxt(file, made.signal.T, delimiter=",", header=",".join(made.leads), comments="")
    given = {"task": ["qrs"], "rate": made.rate, "unit": "mV", "to": tmp_path / "out.json"}
    ((whole,), (streamed,)) = (ecgraft.predict([file], **given, **more) for more in ({}, {"delay": 0.5}))
    times = [[beat["time"] for beat in said["beats"]] for said in (whole, streamed)]
    assert len(times[0]) > 5 and np.allclose(*times, atol=0.02)
    assert streamed["notes"][-1] == "read as a stream: an answer comes at most 0.75 s after its R peak"
    with pytest.raises(UsageError, match="--delay is for R peaks"):
        ecgraft.predict([file], **(given | {"task": ["waves"]}), delay=0.5)
