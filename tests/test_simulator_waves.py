"""The simulator's waves: where they begin and end, and that rhythms and findings are what they are called."""

from __future__ import annotations

import math

import pytest
import torch

from ecgraft.record import QRS, P, T
from ecgraft.simulator import NAMES, PREVALENCE, Config, simulate
from ecgraft.simulator.atria import f_waves, p_shape
from ecgraft.simulator.draw import Draw
from ecgraft.simulator.findings import CONDUCTION, RHYTHMS, SEGMENTS, SINUS
from ecgraft.simulator.plan import plan
from ecgraft.simulator.qrs import qrs_shape
from ecgraft.simulator.render import Track
from ecgraft.simulator.rhythm import beats
from ecgraft.simulator.shapes import THRESHOLD, Shape

NONE = dict.fromkeys(PREVALENCE, 0.0)
CLEAN = {"wander": 0, "muscle": 0, "motion": 0, "mains": 0, "swap": 0, "lead_loss": 0, "flat": 0}


def only(**shares) -> Config:
    return Config(prevalence=NONE | {name.lstrip("_"): share for name, share in shares.items()}, **CLEAN)


@pytest.fixture(scope="module")
def mixed():
    return simulate(11, range(256), Config(**CLEAN))


def of(made, name: str) -> torch.Tensor:
    return made.y[:, NAMES.index(name)]


def intervals(made) -> torch.Tensor:
    """PR, QRS, QT (ms) and RR (s) per record, medians over its beats; nan where there is none."""
    f = made.fiducials[:, : made.peaks.shape[1]].double()
    f = torch.where(f >= 0, f, torch.nan) / made.config.rate
    pr, qrs, qt = f[:, :, 1, 0] - f[:, :, 0, 0], f[:, :, 1, 2] - f[:, :, 1, 0], f[:, :, 2, 2] - f[:, :, 1, 0]
    onset = torch.where(f[:, :, 1, 0].isnan(), torch.inf, f[:, :, 1, 0]).sort(1).values
    rr = torch.where(onset[:, 1:].isinf(), torch.nan, onset[:, 1:] - onset[:, :-1])
    return torch.stack([1000 * pr.nanmedian(1).values, 1000 * qrs.nanmedian(1).values,
                        1000 * qt.nanmedian(1).values, rr.nanmedian(1).values], 1)  # fmt: skip


def test_a_gaussian_begins_and_ends_where_it_crosses_the_threshold():
    """One lobe of sigma a before and b behind: offset - onset = (a + b) sqrt(2 ln(1 / threshold))."""
    for a, b, threshold in ((0.1, 0.1, 0.05), (0.12, 0.06, 0.1), (0.08, 0.13, 0.02)):
        tensors = [torch.tensor([[v]]) for v in (0.4, a, b)]
        shape = Shape(*tensors, torch.tensor([[[0.0, 3.0, 4.0]]]), torch.zeros(1, 1)).fitted(threshold)
        reach = math.sqrt(2 * math.log(1 / threshold))
        assert shape.left.item() == pytest.approx(1 / ((1 + b / a) * reach), rel=2e-3)
        assert shape.centre.item() == pytest.approx(a / (a + b), abs=2e-3)
        assert shape.peak.item() == pytest.approx(a / (a + b), abs=0.01)
        assert shape.at(torch.tensor([shape.centre.item()])).norm() == pytest.approx(5.0, rel=1e-4)


def test_a_drawn_wave_has_the_times_that_are_told():
    index = torch.arange(64)
    draw, patient = Draw(0, index, "record"), Draw(0, index, "patient")
    for wave, name, shape in (
        (P, "P", p_shape(patient)),
        (QRS, "QRS", qrs_shape(patient, plan(draw, patient, Config()))),
    ):
        shape = shape.take(index)
        onset, length = draw.uniform("on", 0.3, 0.6), draw.uniform("for", 0.07, 0.15)
        track = Track(64, 1.0, 1000.0, index.device)
        track.add(index, shape, onset, length, onset - 0.3 * length, onset + 1.3 * length, (0.3,))
        size = track.inside(1000).norm(dim=1)
        above = size > THRESHOLD[name] * size.amax(1, keepdim=True)
        first, last = above.float().argmax(1) / 1000, (999 - above.flip(1).float().argmax(1)) / 1000
        assert (first - onset).abs().max() < 0.0021 and (last - onset - length).abs().max() < 0.0021, wave
        assert (size.argmax(1) / 1000 - onset - shape.peak * length).abs().max() < 0.002


def test_waves_come_in_order(mixed):
    f = mixed.fiducials
    there = f[..., 1] >= 0
    assert ((f[..., 0] < f[..., 1]) & (f[..., 1] < f[..., 2]))[there].all()
    both = there[:, :, 0] & there[:, :, 1]
    assert (f[:, :, 0, 2] <= f[:, :, 1, 0])[both].float().mean() > 0.999
    both = there[:, :, 1] & there[:, :, 2]
    assert (f[:, :, 1, 2] < f[:, :, 2, 0])[both].all()
    peaks = torch.where(mixed.peaks >= 0, mixed.peaks, 10**6)
    assert (peaks.diff(dim=1) >= 0).all()


def test_r_peaks_are_where_the_leads_are_largest(mixed):
    size = mixed.x.square().sum(1).sqrt()
    for i in range(64):
        if not of(mixed, "PACE")[i]:
            for peak in mixed.peaks[i][mixed.peaks[i] >= 50].tolist():
                around = size[i, max(peak - 40, 0) : peak + 40]
                assert size[i, peak] > 0.6 * around.max()


def test_intervals_are_those_of_the_plan(mixed):
    pr, qrs, qt, rr = intervals(mixed).T
    rate, pr_said, qrs_said, qt_said = mixed.numbers.T
    plain = of(mixed, "NORM") & of(mixed, "SR")
    assert plain.sum() > 20
    assert (pr - pr_said)[plain].abs().max() < 6 and (qrs - qrs_said)[plain].abs().max() <= 2.1
    assert (qt - qt_said)[plain].abs().max() < 15 and (60 / rr - rate)[plain].abs().max() < 8
    assert (pr[plain] > 118).all() and (pr[plain] <= 204).all() and (qrs[plain] < 120).all()
    corrected = qt[plain] / rr[plain] ** (1 / 3)
    assert 395 < corrected.median() < 415 and corrected.min() > 335 and corrected.max() < 475


@pytest.mark.parametrize(
    ("name", "which", "low", "high"),
    [("1AVB", 0, 200, 350), ("WPW", 0, 65, 120), ("CRBBB", 1, 120, 178), ("CLBBB", 1, 120, 192), ("SBRAD", 3, 1, 1.8),
     ("STACH", 3, 0.32, 0.6), ("SVTAC", 3, 0.27, 0.47), ("PACE", 1, 60, 202), ("LNGQT", 4, 470, 600)],
)  # fmt: skip
def test_findings_have_the_intervals_of_their_definition(name, which, low, high):
    made = simulate(2, range(48), only(**{name: 1.0}))
    assert of(made, name).all()
    found = intervals(made)
    found = torch.cat([found, (found[:, 2] / found[:, 3] ** (1 / 3))[:, None]], 1)[:, which]
    assert (found >= low).all() and (found <= high).all()


def test_fibrillation_has_no_p_and_irregular_intervals():
    def spread(made):
        peaks = torch.where(made.peaks >= 0, made.peaks, torch.nan).double()
        rr = peaks.diff(dim=1)
        mean = rr.nanmean(1)
        return ((rr - mean[:, None]).square().nanmean(1).sqrt() / mean), made

    af, made = spread(simulate(0, range(64), only(AFIB=1.0)))
    assert (made.fiducials[:, :, 0] == -1).all() and (af > 0.06).all() and af.median() > 0.15
    sinus, made = spread(simulate(0, range(64), only()))
    assert (sinus < 0.12).all() and sinus.median() < 0.05 and (made.fiducials[:, :, 0, 1] >= 0).any(1).all()


def test_flutter_conducts_every_few_waves():
    index = torch.arange(64)
    config = only(AFLT=1.0)
    draw = Draw(0, index, "record")
    planned = plan(draw, Draw(0, index, "patient"), config)
    ratio = beats(draw, planned, config).onset.diff(dim=1) / planned.flutter[:, None]
    assert (ratio - ratio.round()).abs().max() < 0.16 and ratio.round().min() == 2 and ratio.round().max() == 4
    assert (ratio.std(1) > 0.5).float().mean() > 0.25  # variable conduction


def test_f_waves_have_their_rate():
    draw, time = Draw(0, torch.arange(200)), torch.arange(5000) / 500
    flutter = torch.arange(200) < 100
    dipole = f_waves(draw, flutter, torch.full((200,), 0.2), time, torch.zeros(200, 4, 5000))
    hertz = torch.fft.rfft(dipole, dim=2).abs().sum(1).argmax(1) / 10
    assert (hertz[:100] == 5).float().mean() > 0.95  # 300 a minute; where the sources cancel it is twice that
    assert hertz[100:].min() >= 4.1 and hertz[100:].max() <= 9.1 and 5.9 < hertz[100:].median() < 6.7


def test_blocks():
    wenckebach, mobitz, third = (simulate(1, range(32), only(**{name: 1.0})) for name in ("_2AVB1", "_2AVB2", "_3AVB"))
    for made in (wenckebach, mobitz):
        blocked = (made.fiducials[:, :, 0, 1] >= 0) & (made.fiducials[:, :, 1, 1] < 0)
        assert blocked.any(1).all()
    pr = (wenckebach.fiducials[:, :, 1, 0] - wenckebach.fiducials[:, :, 0, 0]).double()
    both = (wenckebach.fiducials[:, :, :2, 1] >= 0).all(2)
    grows = (pr.diff(dim=1) > 0)[both[:, 1:] & both[:, :-1]]
    assert grows.all()  # within a cycle; a blocked P stands between two cycles
    pr = torch.where((mobitz.fiducials[:, :, :2, 1] >= 0).all(2),
                     (mobitz.fiducials[:, :, 1, 0] - mobitz.fiducials[:, :, 0, 0]).double(), torch.nan)  # fmt: skip
    assert (pr - pr.nanmean(1, keepdim=True)).nan_to_num().abs().max() < 6
    N = third.peaks.shape[1]
    assert (third.fiducials[:, :N, 0] == -1).all() and (third.fiducials[:, N:, 1:] == -1).all()
    atria, ventricles = (third.fiducials[:, N:, 0, 1] >= 0).sum(1), (third.peaks >= 0).sum(1)
    assert (atria >= ventricles).all() and (atria > ventricles).float().mean() > 0.9  # a QRS may hide a P


def test_labels_are_what_the_beats_show(mixed):
    for name, symbol in (("PVC", "V"), ("PACE", "/")):
        assert torch.equal(of(mixed, name), (mixed.symbols == ord(symbol)).any(1)), name
    assert (of(mixed, "PAC") | ~(mixed.symbols == ord("A")).any(1)).all()
    big = simulate(0, range(32), only(BIGU=1.0))
    symbols = [bytes(s for s in row if s).decode() for row in big.symbols.tolist()]
    assert all(s in "NV" * 20 or s in "VN" * 20 for s in symbols) and of(big, "PVC").all()
    rhythm = mixed.y[:, [NAMES.index(name) for name in (*RHYTHMS, "SR")]]
    assert (rhythm.sum(1) == 1).all()
    assert (~of(mixed, "NORM") | (mixed.y.sum(1) == 2)).all()


def test_prevalences_are_those_of_the_config():
    n = 20_000
    index = torch.arange(n)

    def shares(config):
        has = plan(Draw(9, index, "record"), Draw(9, index, "patient"), config).has
        return {name: has[name].double().mean().item() for name in has}

    def near(share, p):
        return abs(share - p) < 4.5 * (p * (1 - p) / n) ** 0.5

    found = shares(Config())
    assert all(near(found[name], PREVALENCE[name]) for name in RHYTHMS)
    assert near(found["SR"], 1 - sum(PREVALENCE[name] for name in RHYTHMS))
    found = shares(Config(prevalence=dict.fromkeys(RHYTHMS, 0.0)))  # sinus rhythm alone: all else can be
    assert all(near(found[name], PREVALENCE[name]) for name in ("BIGU", "1AVB", "CRBBB", "CLBBB"))
    sinus = sum(shares(Config())[name] for name in SINUS)
    assert sinus > 0.5
    found = shares(Config(prevalence=NONE | {"QWAVE": 0.3, "INVT": 0.2, "LVOLT": 0.1, "PAC": 0.25}))
    assert near(found["QWAVE"], 0.3) and near(found["INVT"], 0.2) and near(found["LVOLT"], 0.1)
    assert near(found["PAC"], 0.25)
    has = plan(Draw(9, index, "record"), Draw(9, index, "patient"), Config()).has
    for group in (CONDUCTION, SEGMENTS):
        assert torch.stack([has[name] for name in group]).sum(0).max() == 1


def test_shapes_of_the_findings_in_the_leads():
    """Textbook signs, in the median over patients, at J + 60 ms and over the QRS."""

    def leads(name):
        made = simulate(3, range(48), only(**{name: 1.0}) if name else only())
        x, f = made.x, made.fiducials
        rows, beat = [], (f[:, :, 1:, 1] >= 0).all(2).float().argmax(1) + 1
        for i, n in enumerate(beat.tolist()):
            on, end = f[i, n, 1, 0], f[i, n, 1, 2]
            base = x[i, :, on - 4 : on].mean(1, keepdim=True)
            qrs, t = x[i, :, on:end] - base, x[i, :, f[i, n, 2, 1]] - base[:, 0]
            rows.append(torch.stack([qrs.amax(1), qrs.amin(1), x[i, :, end + 30] - base[:, 0], t, qrs[:, -20]]))
        return dict(zip(("max", "min", "st", "t", "late"), torch.stack(rows).median(0).values))

    one, two, three, aVF, V1, V2, V3, V5, V6 = 0, 1, 2, 5, 6, 7, 8, 10, 11
    normal = leads("")
    assert 0.4 < normal["max"][one] < 1.2 and 1.0 < normal["max"][V5] < 2.0 and normal["min"][V2] < -0.7
    assert normal["t"][[one, two, V3, V5]].min() > 0.1 and normal["st"].abs().max() < 0.15
    assert leads("CRBBB")["late"][V1] > 0.15 > 0 > leads("CRBBB")["late"][V6]
    left = leads("CLBBB")
    assert left["min"][V1] < -1 and left["t"][V1] > 0.2 and left["t"][V6] < 0 and left["max"][V1] < 0.4
    assert leads("LAFB")["min"][three] < -0.5 and leads("LAFB")["max"][one] > 0.3
    assert leads("LVH")["max"][V5] - leads("LVH")["min"][V1] > 3.5
    assert (leads("LVOLT")["max"] - leads("LVOLT")["min"])[:6].max() < 0.6
    assert leads("STE-A")["st"][[V2, V3]].min() > 0.15 and leads("STE-I")["st"][[two, three, aVF]].min() > 0.1
    assert leads("STE-L")["st"][[one, V6]].min() > 0.1 and leads("STD")["st"][V5] < -0.05


def test_waves_of_a_batch_hold_p_qrs_and_t(mixed):
    share = torch.bincount(mixed.waves().flatten().long(), minlength=4) / mixed.waves().numel()
    assert 0.06 < share[P] < 0.16 and 0.09 < share[QRS] < 0.18 and 0.15 < share[T] < 0.33
