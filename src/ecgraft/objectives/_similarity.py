"""How alike records, or beats, are by what was measured of them: the soft targets and the classes of Beat-SSL.

Every constant is taken once over the corpus, never by batch or column, so that a similarity is symmetric and does not
depend on what a batch happens to hold.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional as F

from ..record import InputError, UsageError

Similarity = Literal["raw", "standard"]
IN_SECONDS = ("rr", "rr_before", "rr_after", "pr", "qrs", "qtc", "p_duration", "t_duration", "rmssd")
CLIP = 5.0  # of a scaled feature
RARE = 0.3  # a feature that is missing in a larger share of the corpus is left out
SIGMA = 1.349  # interquartile range of a normal distribution of standard deviation 1
LARGEST = 4096.0  # exponent; where targets are still too many, rows of the corpus are copies of each other
SUBSET = 50_000  # rows that centres are looked for in


class Scaling(nn.Module):
    """Robust constants of K features over a corpus; zero weight for one that is missing too often, or constant.

    units  (K,) factors that bring the features to the units of `raw` (s to ms)
    """

    def __init__(self, count: int, units: Tensor | None = None):
        super().__init__()
        for name in ("median", "weight", "missing"):  # missing: share of the corpus
            self.register_buffer(name, torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))
        self.register_buffer("units", torch.ones(count) if units is None else units, persistent=False)

    def fit(self, x: np.ndarray) -> None:
        """The constants of x (n, K), NaN where missing. A feature that varies though its quartiles coincide (a share
        that is mostly 0) is scaled by its standard deviation instead."""
        if x.ndim != 2 or x.shape[1] != len(self.median):
            raise InputError(f"features of shape {x.shape} were given; (n, {len(self.median)}) was expected")
        missing = np.isnan(x).mean(0) if len(x) else np.ones(x.shape[1])
        median, spread = np.zeros(x.shape[1]), np.ones(x.shape[1])
        kept = np.flatnonzero(missing <= RARE)
        kept = kept[[np.nanmax(x[:, k]) > np.nanmin(x[:, k]) for k in kept]] if len(kept) else kept
        if len(kept):
            low, median[kept], high = np.nanpercentile(x[:, kept], [25, 50, 75], axis=0)
            spread[kept] = np.where(high > low, high - low, SIGMA * np.nanstd(x[:, kept], axis=0))
        weight = np.isin(np.arange(x.shape[1]), kept)
        for name, value in (("median", median), ("spread", spread), ("weight", weight), ("missing", missing)):
            getattr(self, name).copy_(torch.as_tensor(value, dtype=torch.float32))

    def known(self, x: Tensor) -> Tensor:  # (..., K) -> (...) bool
        """Whether any feature that counts was measured."""
        return (~torch.isnan(x) & (self.weight > 0)).any(-1)

    def standard(self, x: Tensor) -> Tensor:  # (..., K) -> (..., K)
        """(x - median) / IQR, clipped, missing 0."""
        z = ((x - self.median) / self.spread).clamp(-CLIP, CLIP)
        return torch.nan_to_num(z, nan=0.0) * self.weight

    def raw(self, x: Tensor) -> Tensor:  # (..., K) -> (..., K)
        """In ms and mV, missing values the median."""
        return torch.where(torch.isnan(x), self.median, x) * self.units * self.weight


def similarity(phi: Tensor, kind: Similarity, known: Tensor | None = None) -> Tensor:
    """Of features phi (..., N, K) as `Scaling` gives them: (..., N, N) in [0, 1], symmetric, with unit diagonal.

    raw       cosine, negative values cut to 0
    standard  (1 + cosine) / 2
    known     (..., N): what is False is like nothing but itself
    """
    with torch.autocast(phi.device.type, enabled=False):  # a power of 50 forgives no rounding to 8 bits
        unit = F.normalize(phi.float(), dim=-1)
        cosine = (unit @ unit.mT).clamp(-1, 1)
    alike = cosine.clamp(min=0) if kind == "raw" else (1 + cosine) / 2
    if known is not None:
        alike = alike * (known[..., :, None] & known[..., None, :])
    itself = torch.eye(phi.shape[-2], dtype=torch.bool, device=phi.device)
    return alike.masked_fill(itself, 1)


def soft_views(alike: Tensor, exponent: float | Tensor) -> Tensor:
    """Targets (2N, 2N) of views v1_1 .. v1_N, v2_1 .. v2_N: T = [[S^g, S^g], [S^g, S^g]] with the diagonal 0."""
    return (alike**exponent).repeat(2, 2).fill_diagonal_(0)


def exponent_for(phi: Tensor, kind: Similarity, batch: int, positives: float, seed: int = 0) -> float:
    """The exponent g at which the median, over rows of random batches, of the effective number of positives is
    `positives`, by bisection.

    The row of a view in a batch of N records is sum_j T_ij = 1 + 2 sum_{j != i} S_ij^g: its own other view counts 1,
    each other record counts in both its views. phi (n, K): records with known features; a small corpus is one batch.
    """
    N = min(batch, len(phi))
    if N < 2:
        return 1.0
    if positives >= 2 * N - 1:
        raise UsageError(f"positives = {positives:g}: batches of {N} hold at most {2 * N - 1}; take a larger batch")
    random = np.random.default_rng(seed)
    draws = int(np.clip(2**21 // N**2, 1, 64))
    rows = np.stack([random.choice(len(phi), N, replace=False) for _ in range(draws)])
    alike = similarity(phi[torch.from_numpy(rows).to(phi.device)], kind)  # (draws, N, N)
    log = alike.clamp(min=1e-30).log().masked_fill(torch.eye(N, dtype=torch.bool, device=phi.device), -torch.inf)

    def reached(g: float) -> float:
        return 1 + 2 * (g * log).exp().sum(-1).median().item()

    low, high = 0.0, 1.0
    while reached(high) > positives and high < LARGEST:
        low, high = high, 2 * high
    for _ in range(30):
        g = (low + high) / 2
        low, high = (g, high) if reached(g) > positives else (low, g)
    return (low + high) / 2


def centres(phi: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """k-means centres (count, K) of scaled features phi (m, K); the first again where there are fewer than `count`."""
    random = np.random.default_rng(seed)
    if len(phi) > SUBSET:
        phi = phi[np.sort(random.choice(len(phi), SUBSET, replace=False))]
    different = np.unique(phi, axis=0)
    if len(different) <= count:
        found = different if len(different) else np.zeros((1, phi.shape[1]))
    else:
        found, _ = kmeans2(phi, count, iter=50, minit="++", seed=random)
    return np.concatenate([found, np.repeat(found[:1], count - len(found), axis=0)])


def nearest(phi: Tensor, centres: Tensor) -> Tensor:  # (..., K), (k, K) -> (...) int64
    """The nearest centre."""
    return torch.cdist(phi.flatten(0, -2), centres).argmin(-1).view(phi.shape[:-1])


def scalings(records: int | None, beats: int | None) -> tuple[Scaling, Scaling]:
    """For features of records and of beats; those of signal.beats where their number is None."""
    from ..signal.beats import BEAT_FEATURES, RECORD_FEATURES, STATISTICS

    def one(count: int | None, names: tuple[str, ...]) -> Scaling:
        bare = [name.removesuffix(next((f"_{s}" for s in STATISTICS if name.endswith(f"_{s}")), "")) for name in names]
        units = torch.tensor([1000.0 if name in IN_SECONDS else 1.0 for name in bare])  # raw intervals are in ms
        return Scaling(len(names), units) if count in (None, len(names)) else Scaling(count)

    return one(records, RECORD_FEATURES), one(beats, BEAT_FEATURES)


def as_features(x) -> np.ndarray:
    """Numbers of any kind as float64 (n, K), NaN for what is not finite."""
    x = np.asarray(x.cpu() if torch.is_tensor(x) else x, dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)
