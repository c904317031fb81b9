"""The report: ECGs true to scale by a ruler, plots that parse, a page that is safe, light and on its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from ecgraft import report
from ecgraft.metrics.bootstrap import Estimate
from ecgraft.record import LEADS, QRS, SPAN, P, Record, T, UsageError, waves_array
from ecgraft.report import colours, draw, page, plots
from ecgraft.report.sheet import GAIN, LEFT, SPEED, Trace, compose

HOSTILE = '"><script>alert(1)</script>&'


def beats(leads=("I",), seconds=10, rate=500, height=1.0, **more):
    """A record with one spike of `height` mV each second, at 0.5 s, 1.5 s ..."""
    signal = np.zeros((len(leads), int(seconds * rate)), dtype=np.float32)
    signal[:, rate // 2 :: rate] = height
    return Record(signal, rate, tuple(leads), **more)


def noise(C=12, seconds=10, rate=500):
    leads = LEADS if C == 12 else LEADS[:C]
    return Record(np.random.default_rng(0).normal(size=(C, seconds * rate)) * 0.3, rate, leads)


def svg(picture):
    return ElementTree.fromstring(str(picture).replace("xml:space", "space"))


def curves(picture):
    """Points in mm of every trace in the picture, read back from its path."""
    (element,) = [e for e in svg(picture) if e.tag == "path" and "transform" in e.attrib]
    assert element.get("transform") == "scale(.01)"
    for part in element.get("d").split("M")[1:]:
        start, steps = part.split("m")
        steps = np.array([int(v) for v in re.findall(r"[+-]?\d+", steps)]).reshape(-1, 2)
        yield (np.array([int(v) for v in start.split()]) + np.cumsum(steps, axis=0)) / 100


def test_one_second_is_25_mm_and_one_millivolt_10_mm_of_the_grid():
    assert (SPEED, GAIN) == (25, 10)
    trace, pulse = curves(draw.ecg(beats()))
    base = np.median(trace[:, 1])
    tops = trace[trace[:, 1] < base - 5]
    assert np.allclose(np.diff(tops[:, 0]), 25, atol=0.02) and len(tops) == 10
    assert tops[0, 0] == pytest.approx(LEFT + 12.5, abs=0.02)
    assert np.allclose(base - tops[:, 1], 10, atol=0.02)
    assert np.ptp(pulse[:, 1]) == pytest.approx(10) and np.sort(np.unique(pulse[:, 0]))[[1, 2]].tolist() == [2.5, 7.5]


def test_the_grid_has_lines_each_1_and_5_mm():
    picture = svg(draw.ecg(beats()))
    _, _, width, height = (float(v) for v in picture.get("viewBox").split())
    fine, coarse = [e.get("d") for e in picture if e.tag == "path"][:2]
    assert fine.count("m1 -") == int(width) and coarse.count("m5 -") == int(width) // 5
    assert width % 5 == 0 and compose(beats()).grid % 5 == 0 and height > compose(beats()).grid


def test_twelve_leads_stand_in_the_usual_order_whatever_the_order_of_the_record():
    order = (*LEADS[:3], "aVF", "aVL", "aVR", *LEADS[6:])
    record = Record(np.arange(12)[:, None] * np.ones((1, 5000)), 500, order)
    sheet = compose(record)
    names = [t.text for t in sheet.texts if t.bold]
    assert names == ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"]
    starts = [trace.x[0] for trace in sheet.traces if len(trace.x) > 10]
    assert starts[:4] == pytest.approx([LEFT, LEFT + 62.5, LEFT + 125, LEFT + 187.5])
    assert [len(trace.x) for trace in sheet.traces if len(trace.x) > 10] == [1250] * 12 + [5000]


def test_a_single_lead_goes_on_over_rows_and_others_have_a_row_each():
    assert [t.text for t in compose(beats(seconds=25)).texts if t.bold] == ["I", "I from 10 s", "I from 20 s"]
    assert [t.text for t in compose(beats(("V5", "MLII"))).texts if t.bold] == ["V5", "II"]
    assert sum(t.bold for t in compose(noise(), rows=True).texts) == 12
    short = compose(beats(seconds=0.5))
    assert short.width == 30  # 10 + 12.5 + 5, up to the next 5


def test_waves_lie_where_their_samples_are():
    waves = waves_array([(QRS, 0, 500, 520, 550), (T, 1, 700, 750, 800), (P, -1, 100, 120, 140), (P, 0, -1, 300, 310)])
    sheet = compose(
        beats(("I", "II"), waves=waves, scored=np.array([(-1, 50, 900)], dtype=SPAN)), waves[waves["kind"] == QRS]
    )
    shaded = [b for b in sheet.boxes if b.opacity == 0.2]
    assert [(round(b.x, 3), round(b.width, 3), b.colour) for b in shaded] == [(LEFT + 25, 2.5, colours.WAVES[QRS])]
    bars = [b for b in sheet.boxes if b.opacity == 1]
    found = sorted((round(b.x, 3), round(b.width, 3), b.colour) for b in bars)
    assert found == sorted([(35, 2.5, colours.WAVES[QRS]), (45, 5, colours.WAVES[T])] + 2 * [(15, 2, colours.WAVES[P])])
    assert [(round(b.x, 3), round(b.width, 3)) for b in sheet.boxes if b.height == 0.3] == [(12.5, 42.5)] * 2
    assert any("shaded: predicted" in t.text for t in sheet.texts)
    late = compose(
        beats(("I", "II"), waves=waves), start=1.05, seconds=2
    )  # the QRS begins before the part that is drawn
    assert [(b.x, round(b.width, 3)) for b in late.boxes if b.colour == colours.WAVES[QRS] and b.opacity == 1] == [
        (LEFT, 1.25)
    ]


def test_thinning_keeps_every_extreme_and_every_break():
    y = np.random.default_rng(0).normal(size=5000)
    y[1234], y[4000], y[2000:2010] = 50, -60, np.nan
    thin = draw.thin(Trace(np.arange(5000) / 20, y), 0.5)
    assert len(thin.x) <= 1010 and (np.diff(thin.x) > 0).all()
    assert {50.0, -60.0} <= set(thin.y) and np.isnan(thin.y).sum() == 10
    groups = np.arange(5000) // 10
    lowest = [y[groups == g].min() for g in range(150)]
    assert set(lowest) <= set(thin.y)


def test_missing_samples_break_the_line_and_an_absent_lead_is_named_so():
    record = beats(("I", "II"))
    signal = record.signal.copy()
    signal[0, 1000:2000], signal[1], signal[0, 3000], signal[0, 3002] = np.nan, np.nan, np.nan, np.nan
    picture = draw.ecg(record.but(signal=signal))
    assert "II (not recorded)" in picture
    x = [piece[:, 0] for piece in curves(picture)]
    assert (max(x[0]), min(x[1])) == (pytest.approx(LEFT + 49.95, abs=0.11), pytest.approx(LEFT + 100, abs=0.01))


def test_a_trace_that_leaves_its_row_is_cut_and_said_to_be():
    assert not any("cut" in t.text for t in compose(beats(height=2)).texts)
    sheet = compose(beats(height=30))
    assert any("cut" in t.text for t in sheet.texts)
    assert np.ptp(sheet.traces[0].y) == 35


@pytest.mark.parametrize("rows", [False, True])
def test_a_picture_is_below_120_kb_even_of_noise(rows):
    record = noise()
    onset = np.arange(10) * 500
    waves = waves_array(
        [(k, c, o + 40 * k, o + 40 * k + 9, o + 40 * k + 20) for o in onset for k in (1, 2, 3) for c in range(12)]
    )
    picture = draw.ecg(record.but(waves=waves), waves, rows=rows)
    assert len(picture.encode()) < 120_000


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="more than 0 s"):
        draw.ecg(beats(), seconds=0)
    draw.ecg(beats(), start=99)  # past the end: the last sample
    draw.ecg(Record(np.full((1, 1), np.nan), 250, ("x",)))


def test_png_has_the_size_of_the_sheet(tmp_path):
    path = report.png(beats(), tmp_path / "ecg.png", dpi=127)  # 5 pixels a millimetre
    head = path.read_bytes()[:24]
    assert head[1:4] == b"PNG"
    width, height = (int.from_bytes(head[i : i + 4], "big") for i in (16, 20))
    sheet = compose(beats())
    assert (width, height) == (pytest.approx(5 * sheet.width, abs=1), pytest.approx(5 * sheet.height, abs=1))


def test_ticks_are_round_and_inside():
    assert plots.ticks(0, 1).tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert plots.ticks(0.883, 0.957).tolist() == pytest.approx([0.9, 0.92, 0.94])
    for low, high in ((-3e-5, 4e-5), (17, 25_000), (-5, -1)):
        ticks = plots.ticks(low, high)
        assert 3 <= len(ticks) <= 9 and ticks.min() >= low - 1e-9 and ticks.max() <= high + 1e-9


def test_the_roc_curve_goes_through_the_points_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y = rng.random((60, 2)) < 0.4
    y[:, 1] = True
    score = np.round(rng.random((60, 2)) + y, 1)
    picture = svg(plots.roc(y, score, labels=("a", "only positives")))
    assert [e.text for e in picture.iter("text")].count("only positives") == 0
    points = [tuple(map(float, p.split(","))) for p in list(picture.iter("polyline"))[-1].get("points").split()]
    false, true, _ = metrics.roc_curve(y[:, 0], score[:, 0], drop_intermediate=False)
    frame = plots.Frame((0, 1), (0, 1), (330, 256), (52, 12, 30, 40))
    assert np.allclose(points, np.stack([frame.x(false), frame.y(true)], axis=1), atol=0.06)


def test_plots_are_well_formed_and_escape_what_they_are_told():
    undefined = Estimate(np.array([0.9, np.nan]), np.array([0.8, np.nan]), np.array([0.95, np.nan]))
    for picture in (
        plots.lines({HOSTILE: (np.arange(5), np.array([1, np.nan, 2, 3, 4]))}, "x", "y"),
        plots.lines({}, "x", "y"),
        plots.intervals(["a", HOSTILE], undefined, "AUROC"),
        plots.confusion([[5, 0], [0, 0]], ["a", HOSTILE]),
        plots.reliability(np.array([[0.1, 0.9]]), np.array([[0.2, 0.8]]), [HOSTILE]),
        draw.ecg(beats((HOSTILE,), id=HOSTILE)),
    ):
        assert svg(picture).tag == "svg" and "<script" not in picture
    assert "not defined" in plots.intervals(["a", "b"], undefined, "AUROC")


def test_numbers_line_up_and_undefined_is_a_dash():
    assert [page.number(v, 3) for v in (0.9, -0.05, None, np.nan, np.int64(12345), 1234.5)] == [
        "0.900",
        "−0.050",
        "–",
        "–",
        "12\u202f345",
        "1\u202f234.500",
    ]


class Balance(HTMLParser):
    """Checks that tags close in order; collects them with their attributes."""

    VOID = frozenset({"meta", "br", "rect", "path", "line", "circle", "polyline", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def sample():
    made = report.Page(f"A {HOSTILE}", HOSTILE)
    made.facts({"seed": 0, HOSTILE: HOSTILE, "config": {HOSTILE: HOSTILE, "rate": 0.001}})
    made.highlight(HOSTILE, Estimate(0.9, 0.8, 0.95), HOSTILE)
    made.section(HOSTILE, HOSTILE)
    rows = [[HOSTILE, 12345, Estimate(0.9, 0.8, 0.95), None], ["macro", None, Estimate(0.9, np.nan, np.nan), 0.5]]
    made.table(["class", "positives", HOSTILE, "ECE"], rows, caption=HOSTILE, digits={"ECE": 1}, totals=1)
    made.figures({HOSTILE: plots.confusion(np.eye(2), ["a", "b"])})
    made.ecg(beats(id=HOSTILE), caption=HOSTILE)
    return made


def test_the_page_is_well_formed_escaped_and_on_its_own(sample, tmp_path):
    text = sample.write(tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    parsed = Balance(text)
    assert not parsed.open
    assert "script" not in {tag for tag, _ in parsed.seen}
    assert not {"src", "href", "onload"} & {k for tag, a in parsed.seen for k in a if not str(a[k]).startswith("#")}
    assert "http" not in text.replace("http-equiv", "")
    targets = [a["href"][1:] for tag, a in parsed.seen if tag == "a"]
    assert targets == [a["id"] for tag, a in parsed.seen if tag == "section"]
    assert text.count("For research only; not a medical device.") == 2
    assert "0.800 – 0.950" in text and "12\u202f345" in text and ">0.5<" in text


def test_the_page_stays_below_3_mb_and_says_what_is_left_out(tmp_path):
    made = report.Page("Many")
    record = noise()
    for _ in range(60):
        made.ecg(record)
    assert 0 < made.left_out < 60
    path = made.write(tmp_path / "many.html")
    assert 2_000_000 < path.stat().st_size < 3_000_000
    assert f"{made.left_out} more ECGs are left out" in path.read_text(encoding="utf-8")
