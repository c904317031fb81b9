"""Heat maps of accuracy matrices: what is written where, one scale a kind, colours that can be read, misfits."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from ecgraft.record import InputError
from ecgraft.report import colours, matrix

R = np.array([[0.9, 0.5, 0.4], [0.8, 0.85, 0.45], [0.7, 0.8, 0.9]])
TASKS = ["waves", "rhythm", "superclass"]


def svg(picture):
    return ElementTree.fromstring(str(picture))


def texts(picture) -> list[str]:
    return [element.text or "" for element in svg(picture).iter("text")]


def boxes(picture, legend: bool = False) -> list[dict]:
    """Attributes of the boxes with a colour: those of the cells or those of the legend."""
    rects = [element.attrib for element in svg(picture).iter("rect")]
    return [box for box in rects if "fill-opacity" in box and (float(box["height"]) < 20) == legend]


def test_scores_and_their_change_since_the_task_was_learnt():
    said = texts(matrix.accuracy({"sequential": R}, TASKS))
    for score in ("0.900", "0.500", "0.400", "0.450", "0.700", "0.850"):
        assert score in said
    assert [text for text in said if text.startswith(("−", "+", "≈"))] == ["−0.100", "−0.200", "−0.050"]
    assert {"sequential", "waves", "after waves", "after superclass"} <= set(said)


def test_only_no_change_at_all_is_silent():
    said = texts(matrix.accuracy({"": [[0.8, 0.5], [0.8, 0.7]]}, ["a", "b"]))
    assert not [text for text in said if text.startswith(("−", "+", "≈"))]
    for change, expected in ((1e-4, "≈ 0"), (-1e-4, "≈ 0"), (0.02, "+0.020"), (-1.5, "−1.500")):
        assert expected in texts(matrix.accuracy({"": [[0.8, 0.5], [0.8 + change, 0.7]]}, ["a", "b"]))
    assert "−0.1" in texts(matrix.accuracy({"": [[0.8, 0.5], [0.7, 0.7]]}, ["a", "b"], digits=1))


def test_only_what_is_learnt_is_coloured():
    picture = matrix.accuracy({"": R}, TASKS)
    assert len(boxes(picture)) == 6 and len([e for e in svg(picture).iter("rect") if e.get("fill") == "none"]) == 3
    bare = matrix.accuracy({"": np.where(np.tri(3, dtype=bool), R, np.nan)}, TASKS)
    assert len(boxes(bare)) == 6 and not [e for e in svg(bare).iter("rect") if e.get("fill") == "none"]
    assert "–" not in texts(bare)


def test_a_last_row_alone_can_be_drawn():
    last = np.full((3, 3), np.nan)
    last[-1] = R[-1]
    picture = matrix.accuracy({"joint": last}, TASKS)
    assert len(boxes(picture)) == 3 and texts(picture).count("–") == 3
    assert not [text for text in texts(picture) if text.startswith("−")]
    assert texts(matrix.accuracy({"nothing": last[:1, :1]}, TASKS[:1])).count("–") == 1


def test_one_scale_for_all_matrices_and_columns_of_a_kind():
    other = np.array([[0.6, 0, 0], [0.9, 0.75, 0], [0.85, 0.8, 0.95]])
    cells = boxes(matrix.accuracy({"a": R, "b": other}, TASKS, ["F1", "AUROC", "F1"]))
    learnt = np.tril_indices(3)
    scores = np.concatenate([R[learnt], other[learnt]])
    kinds = np.tile(learnt[1] % 2, 2)
    fills = np.array([box["fill"] for box in cells])
    assert fills.tolist() == [colours.SERIES[kind] for kind in kinds]
    for kind, low, high in ((0, 0.6, 0.95), (1, 0.75, 0.85)):
        opacity = np.array([float(box["fill-opacity"]) for box in cells])[kinds == kind]
        share = (scores[kinds == kind] - low) / (high - low)
        assert np.allclose(opacity, matrix.PALE + (matrix.DEEP - matrix.PALE) * share, rtol=0, atol=1e-3)


def test_the_legend_says_the_ends_of_each_scale():
    picture = matrix.accuracy({"a": R}, TASKS, ["F1", "AUROC", "F1"])
    assert {"0.700", "0.900  F1", "0.800", "0.850  AUROC", "F1", "AUROC"} <= set(texts(picture))
    assert "F1" not in texts(matrix.accuracy({"a": R}, TASKS, ["F1"] * 3))  # said in the legend only


def test_noise_does_not_fill_the_scale():
    cells = boxes(matrix.accuracy({"": [[0.900, 0], [0.901, 0.902]]}, ["a", "b"]))
    assert min(float(box["fill-opacity"]) for box in cells) > 0.9 * matrix.DEEP
    assert boxes(matrix.accuracy({"": np.full((2, 2), 0.5)}, ["a", "b"]))[0]["fill-opacity"] == f"{matrix.DEEP:.3f}"


def luminance(rgb) -> float:
    """Of sRGB in 0..1, WCAG 2.1."""
    rgb = np.asarray(rgb)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


@pytest.mark.parametrize("colour", colours.SERIES)
def test_numbers_can_be_read_and_lightness_alone_tells_the_scores(colour):
    """Ink has 4.5 times the contrast everywhere, and a higher score is darker for any colour vision."""
    shares = np.linspace(matrix.PALE, matrix.DEEP, 12)[:, None]
    ground = luminance(shares * rgb(colour) + 1 - shares)
    assert ((ground + 0.05) / (luminance(rgb(colours.INK)) + 0.05) >= 4.5).all()
    assert (np.diff(ground) < -0.01).all()


@pytest.mark.parametrize(
    ("K", "matrices", "lines"), [(1, 1, 1), (2, 9, 2), (3, 3, 1), (4, 3, 1), (4, 5, 2), (8, 1, 1), (8, 3, 2)]
)
def test_a_picture_fits_the_page_and_nothing_lies_on_another(K, matrices, lines):
    names = {f"strategy {k}": np.random.default_rng(k).random((K, K)) for k in range(matrices)}
    picture = matrix.accuracy(names, ["the superclass of a patient"] * K)
    _, _, width, height = map(float, svg(picture).get("viewBox").split())
    assert width <= matrix.PAGE
    cells = [[float(box[k]) for k in ("x", "y", "width", "height")] for box in boxes(picture)]
    assert len(cells) == matrices * K * (K + 1) // 2 == len({(x, y) for x, y, _, _ in cells})
    assert all(x + w <= width and y + h <= height for x, y, w, h in cells)
    assert len({y for _, y, _, _ in cells}) == lines * K
    assert all(float(e.get("y")) < height for e in svg(picture).iter("text"))


def test_long_names_are_wrapped():
    said = texts(matrix.accuracy({"a" * 99: R}, ["superclass_of_my_hospital", "x" * 99, "a b"]))
    assert {"superclass", "after superclass", "after a b", "a b"} <= set(said)
    assert {"after", "x" * 16 + "…", "x" * 11 + "…"} <= set(said)
    assert max(map(len, said)) < 40 and not [text for text in said if "_" in text]


def test_names_are_escaped():
    hostile = '"><script>alert(1)</script>&'
    picture = matrix.accuracy({hostile: R[:2, :2]}, [hostile, ""], [hostile, "b"])
    assert svg(picture).tag == "svg" and "<script" not in picture


@pytest.mark.parametrize(
    "given",
    [({"a": R}, TASKS[:2]), ({"a": R[:2]}, TASKS), ({"a": R, "b": [[1]]}, TASKS), ({"a": R}, TASKS, ["F1"])],
)
def test_what_does_not_fit_is_refused(given):
    with pytest.raises(InputError, match=r"does not fit [23] tasks|1 kinds"):
        matrix.accuracy(*given)
    with pytest.raises(InputError, match="no accuracy matrix"):
        matrix.accuracy({}, TASKS)
