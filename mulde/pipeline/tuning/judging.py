"""What a candidate finds of the inserted anomalies at the level that the rest supports, and what is chance in it.

Arrays alone. A figure is averaged over the kinds of anomalies, so that no kind weighs more than another; its spread is
that over resamples of the videos of each kind, drawn once, so that candidates are compared on the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mulde.evaluation.bootstrap import COVERAGE, draw_videos, twice_wins
from mulde.evaluation.metrics import LabelledScores
from mulde.evaluation.smoothing import smooth
from mulde.records import Bool, Float64, Int64

FALSE_FRAMES = 0.01
"""The share of normal frames at or above the level at which anomalies count as found."""
NUM_RESAMPLES = 200
SURE = 0.84
"""More than chance is what holds in this share of the resamples: about one standard deviation of the difference."""


@dataclass(frozen=True)
class JudgedVideo:
    """A video that candidates score: anomalous (T,), the kind of what is inserted ("": nothing) and its rate. An
    insertion without an anomalous frame is a control: a normal video as well."""

    name: str
    kind: str
    anomalous: Bool
    rate: float


@dataclass(frozen=True)
class Figure:
    """found: the mean over the kinds of the mean of two shares, that of the events and that of the frames found; auc:
    the mean over the kinds of the frame AUC against all normal frames; both with their resamples (B,). events, frames,
    aucs: by kind. level: of the scores; controls: the share of the controls' frames that reach it."""

    found: float
    auc: float
    found_resamples: Float64
    auc_resamples: Float64
    events: Mapping[str, float]
    frames: Mapping[str, float]
    aucs: Mapping[str, float]
    level: float
    controls: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of `found`, 95 %."""
        return _interval(self.found_resamples)

    @property
    def auc_interval(self) -> tuple[float, float]:
        return _interval(self.auc_resamples)

    def beats(self, other: Figure) -> bool:
        """Whether it surely finds more, or has a surely better AUC and finds no less: surely is in `SURE` of the
        resamples, no less is of the figure itself. What surely finds less beats nothing, whatever its AUC."""
        if _surely(self.found_resamples, other.found_resamples):
            return True
        finds_less = self.rank[0] < other.rank[0] or _surely(other.found_resamples, self.found_resamples)
        return not finds_less and _surely(self.auc_resamples, other.auc_resamples)

    @property
    def rank(self) -> tuple[float, float]:
        """What candidates are sorted by, the best highest."""
        return (round(self.found, 6), self.auc)


def _surely(more: Float64, less: Float64) -> bool:
    return bool((more > less).mean() >= SURE)


def _interval(resamples: Float64) -> tuple[float, float]:
    low, high = np.quantile(resamples, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return float(low), float(high)


@dataclass(frozen=True)
class Judge:
    """Scores of the same videos, again and again, become figures. Each anomalous video holds one event."""

    videos: Sequence[JudgedVideo]
    seed: int

    @cached_property
    def draws(self) -> Int64:
        """How often each video comes in each resample (B, V): of the normal ones and of each kind as many as there are,
        since neither the kinds nor their clips are the work of chance, only what is in them."""
        draws = np.zeros((NUM_RESAMPLES, len(self.videos)), np.int64)
        kinds = [(video.kind, bool(video.anomalous.any())) for video in self.videos]
        for number, kind in enumerate(dict.fromkeys(kinds)):
            own = [i for i, other in enumerate(kinds) if other == kind]
            draws[:, own] = draw_videos(len(own), NUM_RESAMPLES, self.seed + number)
        return draws

    @cached_property
    def _num_normal(self) -> Int64:
        return np.array([np.sum(~video.anomalous) for video in self.videos], np.int64)

    @cached_property
    def _num_anomalous(self) -> Int64:
        return np.array([np.sum(video.anomalous) for video in self.videos], np.int64)

    @cached_property
    def _kinds(self) -> dict[str, Int64]:
        """The videos (n,) of each kind that show an anomaly."""
        names = dict.fromkeys(v.kind for v in self.videos if v.kind and v.anomalous.any())
        return {
            name: np.array([i for i, v in enumerate(self.videos) if v.kind == name and v.anomalous.any()])
            for name in names
        }

    def figure(self, fused: Sequence[Float64], smoothing_s: float) -> Figure:
        """The figure of unsmoothed scores (T,) of each video."""
        scores = [
            smooth(values, smoothing_s * video.rate, "centred")
            for values, video in zip(fused, self.videos, strict=True)
        ]
        counts = np.concatenate([np.ones((1, len(self.videos)), np.int64), self.draws])  # the first is what was seen
        levels = self._levels(scores, counts)
        frames, events = self._found(scores, levels)
        wins = twice_wins([LabelledScores(v.name, s, v.anomalous) for v, s in zip(self.videos, scores, strict=True)])
        by_kind = {name: self._of_kind(mine, counts, frames, events, wins) for name, mine in self._kinds.items()}
        found = np.mean([(e + f) / 2 for e, f, _ in by_kind.values()], axis=0)
        auc = np.mean([a for _, _, a in by_kind.values()], axis=0)
        return Figure(
            found=float(found[0]),
            auc=float(auc[0]),
            found_resamples=found[1:],
            auc_resamples=auc[1:],
            events={name: float(e[0]) for name, (e, _, _) in by_kind.items()},
            frames={name: float(f[0]) for name, (_, f, _) in by_kind.items()},
            aucs={name: float(a[0]) for name, (_, _, a) in by_kind.items()},
            level=float(levels[0]),
            controls=self._controls(scores, float(levels[0])),
        )

    def _controls(self, scores: Sequence[Float64], level: float) -> float:
        """The share of the frames of the controls that reach the level; 0 without controls."""
        reached = [s >= level for v, s in zip(self.videos, scores, strict=True) if v.kind and not v.anomalous.any()]
        return float(np.concatenate(reached).mean()) if reached else 0.0

    def _levels(self, scores: Sequence[Float64], counts: Int64) -> Float64:
        """The level (B,) that at most `FALSE_FRAMES` of the normal frames reach, in each resample."""
        pooled = np.concatenate([s[~v.anomalous] for v, s in zip(self.videos, scores, strict=True)])
        owner = np.repeat(np.arange(len(self.videos)), self._num_normal)
        order = np.argsort(-pooled)
        pooled, owner = pooled[order], owner[order]
        levels = np.empty(len(counts))
        for i, count in enumerate(counts):
            passed = np.cumsum(count[owner])
            first = int(np.searchsorted(passed, FALSE_FRAMES * passed[-1], side="right"))
            levels[i] = np.nextafter(pooled[min(first, len(pooled) - 1)], np.inf)  # the first that may not reach it
        return levels

    def _found(self, scores: Sequence[Float64], levels: Float64) -> tuple[Float64, Float64]:
        """The share of the anomalous frames at or above the levels (B,), and whether there is any, (V, B) each."""
        frames = np.zeros((len(self.videos), len(levels)))
        for i, (video, values) in enumerate(zip(self.videos, scores, strict=True)):
            if video.anomalous.any():
                own = np.sort(values[video.anomalous])
                frames[i] = 1 - np.searchsorted(own, levels, side="left") / len(own)
        return frames, (frames > 0).astype(np.float64)

    def _of_kind(
        self, mine: Int64, counts: Int64, frames: Float64, events: Float64, wins: Float64
    ) -> tuple[Float64, Float64, Float64]:
        """Share of events, mean share of frames, AUC of one kind in each resample (B,)."""
        own = counts[:, mine].astype(np.float64)  # (B, n)
        total = own.sum(axis=1)
        pairs = (own @ self._num_anomalous[mine]) * (counts @ self._num_normal)
        auc = np.einsum("bi,ij,bj->b", own, wins[mine], counts.astype(np.float64)) / 2 / pairs
        return (own * events[mine].T).sum(axis=1) / total, (own * frames[mine].T).sum(axis=1) / total, auc
