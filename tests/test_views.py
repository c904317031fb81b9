"""Views: every one keeps the batch's promises, and each has its own oracle."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ecgraft import plugs, views  # noqa: E402
from ecgraft.record import LEADS, UsageError  # noqa: E402
from ecgraft.signal.leads import DIPOLE_LEADS, DOWER, INVERSE_DOWER  # noqa: E402
from ecgraft.signal.recipe import Recipe  # noqa: E402
from ecgraft.signal.spectral import response  # noqa: E402
from ecgraft.views import crop, gain, lead_loss, mask, noise, vcg  # noqa: E402

RATE = 250


def made(B=6, T=1000, seed=0):
    """ECG-like 12-lead batch whose R peaks, waves and limb leads are known."""
    draw = torch.Generator().manual_seed(seed)
    peaks = torch.arange(5) * 190 + 80 + torch.randint(0, 30, (B, 5), generator=draw)  # (B, P)
    t = torch.arange(T)
    bump = torch.exp(-(((t - peaks[:, :, None]) / 4.0) ** 2)).sum(1)  # (B, T)
    x = bump[:, None] * torch.linspace(0.5, 2, 12)[:, None] + 0.02 * torch.randn((B, 12, T), generator=draw)
    one, two = x[:, 0], x[:, 1]
    x[:, 2:6] = torch.stack([two - one, -(one + two) / 2, one - two / 2, two - one / 2], 1)
    waves = ((t - peaks[:, :, None]).abs() <= 10).any(1)[:, None].expand(B, 12, T).to(torch.uint8) * 2
    batch = {
        "x": x,
        "present": torch.ones(B, 12, dtype=torch.bool),
        "length": torch.full((B,), T),
        "waves": waves.clone(),
        "scored": torch.ones(B, 12, T, dtype=torch.bool),
        "peaks": peaks.to(torch.int32),
        "text": ["sinus rhythm"] * B,
    }
    batch["present"][1, 4] = False
    for key in ("x", "scored", "waves"):
        batch[key][1, 4] = 0
    batch["length"][2] = 700
    batch["x"][2, :, 700:] = 0
    batch["scored"][2, :, 700:] = False
    batch["waves"][2, :, 700:] = 0
    batch["peaks"][2, 3:] = -1
    return batch


def run(module, seed=0, batch=None, **values):
    batch = made() if batch is None else batch
    view = module.build(plugs.configure(module.Config, values, module.__name__))
    return view(batch, views.generator(seed, 0))


@pytest.mark.parametrize("name", plugs.names("views"))
def test_every_view_keeps_the_batch_in_order(name):
    batch = made()
    before = {k: v.clone() if torch.is_tensor(v) else list(v) for k, v in batch.items()}
    new, time = views.build({name: None})(batch, views.generator(1, 2))
    for key, value in before.items():
        assert torch.equal(batch[key], value) if torch.is_tensor(value) else batch[key] == value
    assert new["x"].shape[-1] == time.samples
    assert new["text"] is batch["text"]
    assert set(new) == set(batch)
    assert new["x"].dtype == torch.float32
    assert torch.isfinite(new["x"]).all()
    inside = views.valid(new)
    assert (new["x"][~inside] == 0).all()
    assert not (new["scored"] & ~inside).any()
    again, _ = views.build({name: None})(batch, views.generator(1, 2))
    assert torch.equal(new["x"], again["x"])
    other, _ = views.build({name: None})(batch, views.generator(1, 3))
    assert name == "crop" or not torch.equal(new["x"], other["x"])


@pytest.mark.parametrize("name", plugs.names("views"))
def test_every_views_peaks_follow_its_time_map(name):
    batch = made()
    new, time = views.build({name: {"samples": 600, "speed": (0.7, 1.4)} if name == "crop" else None})(
        batch, views.generator(0, 0)
    )
    assert torch.equal(new["peaks"], time.points(batch["peaks"], new["length"]))
    classes = views.take(new["waves"], new["peaks"].long())[:, 0]
    there = new["peaks"] >= 0
    if time.cut is not None:  # what was taken away may have been replaced
        there &= ~views.take(time.cut, new["peaks"].long())[:, 0]
    assert there.any() and (classes[there] == 2).all()


def test_generator_is_a_function_of_seed_and_step():
    draws = [torch.rand(3, generator=views.generator(*key)) for key in ((0, 1), (0, 1), (1, 0), (0, 2))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_time_maps_compose():
    first = views.TimeMap(torch.tensor([2.0]), torch.tensor([-10.0]), 100)
    cut = torch.zeros(1, 1, 100, dtype=torch.bool)
    cut[..., 40:50] = True
    first = views.TimeMap(first.a, first.b, 100, cut)
    both = first.then(views.TimeMap(torch.tensor([0.5]), torch.tensor([-5.0]), 40))
    assert (both.a.item(), both.b.item(), both.samples) == (1.0, -10.0, 40)
    assert torch.flatten(both.cut).nonzero().flatten().tolist() == [15, 16, 17, 18, 19]
    t = torch.tensor([[12, 30, 60, -1]])
    assert both.points(t, torch.tensor([40])).tolist() == [[2, 20, -1, -1]]


def test_crop_copies_exactly_at_speed_one():
    batch = made()
    new, time = run(crop, batch=batch, samples=300)
    for i, start in enumerate((-time.b).long().tolist()):
        assert torch.equal(new["x"][i], batch["x"][i, :, start : start + 300])
        assert torch.equal(new["waves"][i], batch["waves"][i, :, start : start + 300])
    assert (new["length"] == 300).all()


def test_crop_reads_a_ramp_at_the_stated_speed_and_pads_what_is_short():
    batch = made()
    batch["x"] = torch.arange(1000.0).expand(6, 12, 1000).clone()
    new, time = run(crop, batch=batch, samples=900, speed=(2.0, 2.0))
    for i, length in enumerate(batch["length"].tolist()):
        n = new["length"][i].item()
        assert n == (length + 1) // 2
        assert time.a[i] == 0.5
        assert torch.equal(new["x"][i, 0, :n], torch.arange(n) * 2.0 - 2 * time.b[i])
        assert (new["x"][i, :, n:] == 0).all()


def test_crop_is_bells_random_resized_crop():
    new, time = run(crop, speed=(0.5, 1.0))
    assert new["x"].shape[-1] == 1000
    assert ((time.a >= 1) & (time.a <= 2)).all()
    u = time.sources()
    assert (u[:, 0] >= -1e-3).all()
    assert (u[[0, 1, 3, 4, 5], -1] <= 999 + 1e-3).all()


def test_crop_keeps_a_window_at_its_own_time_scale():
    """BELL, oracle 11, `window`: a share of the samples, all leads alike, then zeros; T is preserved."""
    batch = made()
    batch["x"] = torch.arange(1000.0).expand(6, 12, 1000).clone()
    new, time = run(crop, batch=batch, keep=(0.5, 1.0))
    assert new["x"].shape == batch["x"].shape and (time.a == 1).all()
    for i, length in enumerate(batch["length"].tolist()):
        n, start = new["length"][i].item(), -time.b[i].item()
        assert 0.5 * length - 1 <= n <= length and 0 <= start <= length - n
        assert torch.equal(new["x"][i, :, :n], (start + torch.arange(float(n))).expand(12, n))
        assert not new["x"][i, :, n:].any()
    assert (new["length"] < batch["length"]).any()
    many = batch | {key: batch[key][:1].expand(2000, *batch[key].shape[1:]) for key in ("x", "present", "length")}
    many = {key: many[key] for key in ("x", "present", "length")}
    new, time = run(crop, batch=many, keep=(0.5, 1.0))
    assert new["length"].float().mean().item() == pytest.approx(750, abs=15)
    assert (-time.b / (1000 - new["length"] + 1e-9)).mean().item() == pytest.approx(0.5, abs=0.03)


def test_lead_loss_keeps_one_at_least_and_exactly_one_for_single():
    batch = made(B=300, T=10)
    batch["present"][:100, 1:] = False
    kept = run(lead_loss, batch=batch, share=1.0)[0]["present"]
    assert (kept.sum(1) >= 1).all()
    assert not (kept & ~batch["present"]).any()
    assert len(kept[100:].sum(1).unique()) == 12
    single = run(lead_loss, batch=batch, single=1.0)[0]
    assert (single["present"].sum(1) == 1).all()
    assert single["present"][100:].any(0).all()
    assert torch.equal(run(lead_loss, batch=batch, share=0.0)[0]["present"], batch["present"])


def test_gain_multiplies_within_its_bounds():
    batch = made(B=400, T=20)
    ratio = run(gain, batch=batch, record=1.5, lead=1.0, flip=0.5)[0]["x"] / batch["x"]
    per_record = ratio[:, 0, 5]
    assert ratio[3:, 5] == pytest.approx(per_record[3:, None].expand(-1, 20), rel=1e-4)
    assert per_record.abs().max() <= 1.5001
    assert per_record.abs().min() >= 1 / 1.5001
    assert 0.4 < (per_record < 0).float().mean() < 0.6


@pytest.mark.parametrize("each", ["lead", "record"])
def test_mask_cuts_the_stated_share_in_one_circular_segment(each):
    batch = made()
    new, time = run(mask, batch=batch, share=0.3, each=each)
    expected = torch.round(0.3 * batch["length"])[:, None] * batch["present"]
    assert torch.equal(time.cut.sum(-1), expected.long())
    assert (new["x"][time.cut] == 0).all()
    assert torch.equal(new["x"][~time.cut], batch["x"][~time.cut])
    assert not (new["scored"] & time.cut).any()
    for i, length in enumerate(batch["length"].tolist()):
        on = time.cut[i, 0, :length].int()
        assert (on - on.roll(1) == 1).sum() == 1
    alike = (time.cut[0] == time.cut[0, :1]).all()
    assert alike if each == "record" else not alike


def test_peaks_seen_counts_the_leads_left():
    batch = made()
    new, time = run(mask, batch=batch)
    seen = time.seen(new["peaks"], new["present"])
    for i, p in [(0, 0), (1, 2), (2, 1), (2, 4)]:
        at = new["peaks"][i, p].item()
        by_hand = int((new["present"][i] & ~time.cut[i, :, at]).sum()) if at >= 0 else 0
        assert seen[i, p] == by_hand


def test_three_leads_visible_as_often_as_binomial():
    batch = made(B=2000, T=100)
    batch["present"][:] = True
    batch["length"][:] = 100
    batch["peaks"] = torch.full((2000, 1), 50)
    _, time = run(mask, batch=batch)
    hidden = (time.seen(batch["peaks"], batch["present"]) < 3).float().mean().item()
    assert hidden == pytest.approx(79 / 4096, abs=0.008)


def dipolar(x):
    """P E of beat-ssl.md 2.4, of the eight independent leads."""
    eight = x[:, [LEADS.index(name) for name in DIPOLE_LEADS]].numpy().astype(float)
    return DOWER @ INVERSE_DOWER @ eight


def test_vcg_without_turn_is_the_identity_or_the_projection():
    batch = made()
    still = {"degrees": 0.0, "scale": (1.0, 1.0)}
    assert torch.equal(run(vcg, batch=batch, **still)[0]["x"], batch["x"])
    dropped = run(vcg, batch=batch, residual="drop", **still)[0]["x"]
    eight = [LEADS.index(name) for name in DIPOLE_LEADS]
    assert dropped[:, eight].numpy() == pytest.approx(dipolar(batch["x"]), abs=1e-5)
    larger = run(vcg, batch=batch, residual="drop", degrees=0.0, scale=(1.5, 1.5))[0]["x"]
    assert larger[:, eight].numpy() == pytest.approx(1.5 * dipolar(batch["x"]), abs=1e-5)


@pytest.mark.parametrize("residual", ["keep", "drop"])
def test_vcg_keeps_the_laws_of_the_limb_leads(residual):
    x = run(vcg, residual=residual)[0]["x"]
    x = x[[0, 2, 3, 4, 5]]
    assert (x[:, 1] - x[:, 0]).numpy() == pytest.approx(x[:, 2].numpy(), abs=1e-5)
    assert x[:, 3:6].sum(1).numpy() == pytest.approx(0, abs=1e-5)


def test_vcg_leaves_records_without_the_eight_leads_alone():
    batch = made()
    batch["present"][3, 11] = False
    batch["x"][3, 11] = 0
    new = run(vcg, batch=batch)[0]["x"]
    assert torch.equal(new[3], batch["x"][3])
    assert not torch.equal(new[0], batch["x"][0])
    with pytest.raises(UsageError, match="V1"):
        run(vcg, leads=("I", "II"))


def test_rotations_are_rotations():
    angles = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    R = vcg.rotation(angles).double()
    assert torch.linalg.det(R).numpy() == pytest.approx(1, abs=1e-5)
    assert (R @ R.mT).numpy() == pytest.approx(np.eye(3)[None].repeat(50, 0), abs=1e-5)
    quarter = vcg.rotation(torch.tensor([[torch.pi / 2, 0, 0], [0, torch.pi / 2, 0], [0, 0, torch.pi / 2]]))
    axes = torch.eye(3)
    assert quarter[0] @ axes[0] == pytest.approx(axes[1], abs=1e-6)  # about z: x to y
    assert quarter[1] @ axes[2] == pytest.approx(axes[0], abs=1e-6)  # about y: z to x
    assert quarter[2] @ axes[1] == pytest.approx(axes[2], abs=1e-6)  # about x: y to z


SILENT = {kind: 0.0 for kind in ("white", "muscle", "wander", "motion", "mains", "recorded")}


def quiet(B=200, T=2500):
    return {"x": torch.zeros(B, 4, T), "present": torch.ones(B, 4, dtype=torch.bool), "length": torch.full((B,), T)}


@pytest.mark.parametrize("kind", ["white", "muscle", "wander"])
def test_noise_has_the_stated_size(kind):
    values = SILENT | {kind: 0.4, "share": 1.0, "low": None, "high": None}
    sd = run(noise, batch=quiet(), **values)[0]["x"].std(-1)
    # size = U(0, .4) of the record times U(.5, 1.5) of the lead: mean square 0.16 / 3 * 13 / 12
    assert (sd**2).mean().item() == pytest.approx(0.16 / 3 * 13 / 12, rel=0.2)
    assert sd.max() < 0.4 * 1.5 * 1.35


def test_noise_stays_in_its_band_and_passes_the_recipes_filter():
    f = np.fft.rfftfreq(2500, 1 / RATE)
    for kind, low, high in (("wander", 0, 1.5), ("muscle", 12, 126), ("motion", 0.3, 20), ("white", 0.25, 60)):
        x = run(noise, batch=quiet(50), **SILENT | {kind: 0.4, "share": 1.0})[0]["x"].numpy()
        power = (np.abs(np.fft.rfft(x)) ** 2).mean((0, 1))
        assert power[(f < low) | (f > high)].sum() < 0.03 * power.sum()
        assert power.sum() > 0


def test_mains_is_a_sinusoid_as_the_filter_leaves_it():
    values = SILENT | {"mains": 1.0, "share": 1.0, "mains_hz": (50.0,)}
    x = run(noise, batch=quiet(50), **values)[0]["x"].numpy()
    spectrum = np.abs(np.fft.rfft(x)) / 1250
    assert spectrum.argmax(-1) == pytest.approx(500)
    limit = 1.5 * response(np.array([50.0]), 0.5, 40)[0]
    assert 0.5 * limit < spectrum.max() <= limit + 1e-6


def test_recorded_noise_is_a_piece_of_what_was_given():
    rows = np.stack([np.arange(3000) % 6, (np.arange(3000) % 5) ** 2]).astype(float)
    scaled = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    config = noise.Config(**SILENT | {"recorded": 1.0, "share": 1.0, "low": None, "high": None})
    x = noise.build(config, rows)(quiet(8), views.generator(0, 0))[0]["x"].numpy()
    for lead in x.reshape(-1, 2500):
        size = np.ptp(lead) / np.ptp(scaled, axis=1)
        pieces = [np.roll(scaled[k], -s)[:2500] * size[k] for k, period in ((0, 6), (1, 5)) for s in range(period)]
        assert min(np.abs(lead - piece).max() for piece in pieces) < 1e-4


def test_share_zero_adds_nothing():
    assert (run(noise, batch=quiet(5), share=0.0)[0]["x"] == 0).all()


def test_unknown_views_and_keys_are_named():
    with pytest.raises(UsageError, match="crop"):
        views.build({"crob": None})
    with pytest.raises(UsageError, match="samples"):
        views.build({"crop": {"sample": 3}})


def test_mask_draws_its_share_between_two(B=400):
    batch = {key: value[:1].expand(B, *value.shape[1:]) for key, value in made().items() if torch.is_tensor(value)}
    for each in ("lead", "record"):
        _, time = run(mask, batch=batch, share=(0.1, 0.4), each=each)
        shares = time.cut.float().mean(-1)  # (B, C)
        assert 0.1 <= shares.min() < 0.12 and 0.38 < shares.max() <= 0.4
        assert shares.mean().item() == pytest.approx(0.25, abs=0.02)
        assert (shares == shares[:, :1]).all() == (each == "record")
    with pytest.raises(UsageError, match="share"):
        run(mask, share=(0.1, 1.4))


def test_build_leaves_the_dipole_out_where_the_recipe_lacks_its_leads():
    steps = {"vcg": {"degrees": 30.0}, "gain": {"record": 2.0}}
    for leads in (("I",), LEADS[:6], (*LEADS, "CM5")):
        batch = {"x": torch.randn(4, len(leads), 300), "present": torch.ones(4, len(leads), dtype=torch.bool)}
        batch["length"] = torch.full((4,), 300)
        found = views.build(steps, Recipe(leads=leads))(batch, views.generator(0, 0))[0]["x"]
        alone = views.build({"gain": {"record": 2.0}}, Recipe(leads=leads))(batch, views.generator(0, 0))[0]["x"]
        assert torch.equal(found, alone) and not torch.equal(found, batch["x"])


def test_build_turns_the_dipole_in_the_recipes_own_order_of_leads():
    batch, back = made(), list(reversed(range(12)))
    turned = {**batch, "x": batch["x"][:, back], "present": batch["present"][:, back]}
    steps = {"vcg": {"residual": "drop"}}
    plain = views.build(steps, Recipe())(batch, views.generator(0, 0))[0]["x"]
    other = views.build(steps, Recipe(leads=LEADS[::-1]))(turned, views.generator(0, 0))[0]["x"]
    assert torch.allclose(other[:, back], plain, atol=1e-5) and not torch.allclose(plain, batch["x"], atol=1e-2)


def test_build_gives_noise_the_recipes_rate_and_filter():
    recipe = Recipe(rate=100.0, low=2.0, high=20.0)
    x = views.build({"noise": {"share": 1.0}}, recipe)(quiet(40, 1000), views.generator(0, 0))[0]["x"].numpy()
    power, f = (np.abs(np.fft.rfft(x)) ** 2).mean((0, 1)), np.fft.rfftfreq(1000, 1 / 100)
    assert power[(f < 1) | (f > 32)].sum() < 0.03 * power.sum() and power[(f > 2) & (f < 20)].sum() > 0.8 * power.sum()
    own = views.build({"noise": {"share": 1.0, "low": None}}, recipe)(quiet(40, 1000), views.generator(0, 0))[0]["x"]
    assert own.numpy().var() > 2 * x.var()  # what a config says itself holds: wander comes through


def test_recorded_noise_comes_from_the_folder_of_nstdb(shared_data):
    folder = next((path for path in (shared_data / "nstdb", shared_data / "NSTDB") if path.is_dir()), None)
    if folder is None:
        pytest.skip("NSTDB is not here")
    config = SILENT | {"recorded": 0.5, "share": 1.0, "nstdb": str(folder)}
    one = views.build({"noise": config}, Recipe(rate=125.0))
    x = one(quiet(16, 1250), views.generator(0, 0))[0]["x"]
    assert x.std() > 0.02 and torch.isfinite(x).all() and (x.std(-1) > 0).all()
    assert torch.equal(x, one(quiet(16, 1250), views.generator(0, 0))[0]["x"])
    assert noise.recordings(str(folder), 125.0).shape[0] in (2, 4, 6)
