"""Where one stream sees the anomaly and the other is noise, the first is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mulde.config import StreamDensitySettings
from mulde.errors import FitError
from mulde.pipeline.tuning import candidates, scorer, search
from mulde.pipeline.tuning.candidates import DensityCandidate
from mulde.pipeline.tuning.judging import Figure, Judge, JudgedVideo
from mulde.pipeline.tuning.scorer import Scorer
from mulde.pipeline.tuning.scoring import Footage, Recipe, ScoreTables, StreamRows
from mulde.pipeline.tuning.search import Search
from mulde.pipeline.tuning.tune import _left_out, tuned_settings
from mulde.progress import Reporter
from mulde.records import FeatureTable
from mulde.settings_file import load_settings

FRAMES = 60
ANOMALOUS = (np.arange(FRAMES) >= 20) & (np.arange(FRAMES) < 40)


@dataclass(frozen=True)
class Rows:
    """A video of which `geometry` sees an anomaly and `descriptor` sees noise."""

    number: int
    odd: bool
    average_frames: int = 0

    frame_index = np.arange(FRAMES)

    @property
    def passports(self) -> dict[str, Any]:
        return {name: SimpleNamespace(video_sha256=str(self.number), key=name) for name in ("descriptor", "geometry")}

    @property
    def video(self) -> SimpleNamespace:
        return SimpleNamespace(path=Path(str(self.number)), name=str(self.number))

    def features(self, stream: str) -> FeatureTable:
        rng = np.random.default_rng([self.number, len(stream)])
        values = rng.normal(0, 1, (FRAMES, 2))
        if stream == "geometry" and self.odd:
            values[ANOMALOUS] += 6
        return FeatureTable(values.astype(np.float32), self.frame_index)


def share(number: int) -> SimpleNamespace:
    rows = Rows(number, False)
    return SimpleNamespace(stored=rows, first=0, last=FRAMES, frame_index=rows.frame_index, rows=rows.features)


@pytest.fixture
def found(tmp_path, monkeypatch) -> Search:
    lines = tuple(DensityCandidate(name, StreamDensitySettings(method=name)) for name in ("mahalanobis", "mixture"))
    monkeypatch.setattr(candidates, "DENSITIES", lines)
    halves = tuple(map(share, range(3))), tuple(map(share, range(3, 6)))
    folds, judged = [], []
    quiet = np.zeros(FRAMES, np.bool_)
    for number, (heldout, fitting) in enumerate((halves, halves[::-1])):
        clips = range(10 + 4 * number, 14 + 4 * number)
        folds.append(Footage(fitting, heldout, tuple(Rows(i, True) for i in clips)))
        judged += [JudgedVideo(f"n{share.stored.number}", "", quiet, 10.0) for share in heldout]
        judged += [JudgedVideo(f"a{i}", ("fast", "large")[i % 2], ANOMALOUS, 10.0) for i in clips]
    settings = load_settings(
        overrides=['features.extractors=["descriptor", "geometry"]', 'density.method="mahalanobis"']
    )
    return Search(
        settings=settings, folds=tuple(folds), folds_of=lambda stream, step: None, judge=Judge(judged, 0),
        scorer=Scorer(tuple(folds), ScoreTables(tmp_path, 0, "cpu"), 0, "cpu", lambda: False),
        reporter=Reporter(quiet=True), is_over=lambda: False, rate=10.0,
    )  # fmt: skip


def test_the_stream_that_sees_is_chosen_and_the_noise_is_not(found):
    choice = found.run()
    assert choice is not None
    assert list(choice.streams) == ["geometry"]
    assert choice.streams["geometry"].density.name == "mahalanobis"  # as given: mixture is no better here
    chosen = [one for one in found.tried if one.stage == "streams" and one.is_chosen]
    assert [one.name for one in chosen] == ["geometry"]
    assert chosen[0].figure.found > 0.9
    assert chosen[0].figure.auc > next(one.figure.auc for one in found.tried if one.stage == "streams")
    alone = {one.name: one for one in found.tried if one.stage == search.ALONE}
    assert alone["descriptor"].figure.found < 0.3 < alone["geometry"].figure.found
    assert not any(one.is_chosen for one in alone.values())  # it chooses nothing


def given(streams: str) -> search.Choice:
    line = DensityCandidate("mixture", StreamDensitySettings(method="mixture"))
    return search.Choice({name: search.StreamChoice(line, False) for name in streams}, "sum", 0.0, 0)


def figure(found_: float, spread: Any = 0.0) -> Figure:
    return Figure(found_, 0.5, found_ + np.resize(spread, 10), np.full(10, 0.5), {}, {}, {}, 0.0, 0.0)


def by_name(shares: dict[str, float], unsure: str = "") -> Any:
    """In place of Search._fused: what is found by the name of the candidate, sure but for one of them."""

    def fused(stage: str, name: str, scores: object, choice: object, note: str = "") -> search.Tried:
        return search.Tried(stage, name, figure(shares[name], [0.2, -0.2] if name == unsure else 0.0))

    return fused


def test_streams_are_left_out_only_where_the_rest_is_surely_better(found, monkeypatch):
    shares = {"a + b + c": 0.8, "b + c": 0.9, "a + c": 0.7, "a + b": 0.85, "b": 0.95, "c": 0.5}
    monkeypatch.setattr(found, "_scores_of", lambda choice: {name: [] for name in choice.streams})
    monkeypatch.setattr(found, "_fused", by_name(shares))
    assert list(found._choose_streams(given("abc")).streams) == ["b"]  # the worst first, one after the other
    assert [one.name for one in found.tried if one.is_chosen] == ["b"]
    monkeypatch.setattr(found, "_fused", by_name(shares, unsure="b"))
    assert list(found._choose_streams(given("abc")).streams) == ["b", "c"]
    monkeypatch.setattr(found, "_fused", by_name(shares, unsure="b + c"))
    assert list(found._choose_streams(given("abc")).streams) == ["a", "b", "c"]


def test_a_density_is_chosen_within_the_whole_and_not_by_its_stream_alone(found, monkeypatch):
    """Alone the other density is the better one; beside the second stream the given one is."""

    def judged(stage: str, name: str, scores: Any, choice: search.Choice, note: str = "") -> search.Tried:
        own = choice.streams.get("descriptor")
        good = (own is not None and own.density.name == "mixture") != (len(scores) > 1)
        return search.Tried(stage, name, figure(0.9 if good else 0.8))

    monkeypatch.setattr(found, "_fused", judged)
    choice = found.run()
    assert choice.streams["descriptor"].density.name == "mahalanobis"
    table = {one.name: one.is_chosen for one in found.tried if one.stage == "density of descriptor"}
    assert table == {"mahalanobis": True, "mixture": False}


def test_what_was_scored_is_read_again_and_damage_is_not_believed(found, monkeypatch):
    first = found.run()
    calls = []
    real = scorer.score
    monkeypatch.setattr(scorer, "score", lambda *args: calls.append(args) or real(*args))
    found.tried.clear()
    assert found.run() == first
    assert not calls
    for path in found.scorer.tables.folder.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    found.tried.clear()
    assert found.run() == first
    assert calls


def test_each_fold_is_judged_by_what_was_fitted_on_the_other(found, monkeypatch):
    """All normal videos judge, each once, by densities that have not seen them."""
    seen = []
    real = scorer.score

    def score(recipe, rows, fold, *rest):
        fitting = np.concatenate([share.stored.features(recipe.stream).values for share in fold.fitting])
        np.testing.assert_array_equal(rows.fitting, fitting)
        assert not {share.stored.number for share in fold.fitting} & {share.stored.number for share in fold.heldout}
        seen.append((recipe.stream, fold))
        return real(recipe, rows, fold, *rest)

    monkeypatch.setattr(scorer, "score", score)
    recipe = Recipe("geometry", StreamDensitySettings(method="mahalanobis"))
    ((scores, note),) = found.scorer.score([(recipe, found.folds)])
    assert note == ""
    assert [stream for stream, _ in seen] == ["geometry"] * 2
    assert {id(fold) for _, fold in seen} == {id(fold) for fold in found.folds}  # side by side, so in either order
    by_fold = [real(recipe, StreamRows("geometry", fold, 0), fold, 0, "cpu") for fold in found.folds]
    for values, expected in zip(scores, [*by_fold[0], *by_fold[1]], strict=True):
        np.testing.assert_array_equal(values, expected)
    assert sorted(s.stored.number for fold in found.folds for s in fold.heldout) == list(range(6))


def test_streams_share_the_cores_and_read_their_rows_once(found, monkeypatch):
    """Two callers: the candidates of both streams are under way at the same time, with the scores of one caller."""
    recipes = [
        Recipe(stream, StreamDensitySettings(method=method))
        for method in ("mahalanobis", "mixture")
        for stream in ("descriptor", "geometry")
    ]
    jobs = [(recipe, found.folds[:1]) for recipe in recipes]
    expected = found.scorer.score(jobs)
    for path in found.scorer.tables.folder.iterdir():
        path.unlink()
    both, reads = Barrier(2), []
    real, real_rows = scorer.score, scorer.StreamRows

    def score(recipe, *rest):
        both.wait(timeout=60)  # nobody comes this far alone
        return real(recipe, *rest)

    monkeypatch.setattr(scorer, "score", score)
    monkeypatch.setattr(scorer, "StreamRows", lambda *args: reads.append(args[:2]) or real_rows(*args))
    monkeypatch.setattr(scorer, "choose_threads", lambda device: 2)
    for (scores, _), (values, _) in zip(found.scorer.score(jobs), expected, strict=True):
        np.testing.assert_array_equal(scores, values)
    assert sorted(stream for stream, _ in reads) == ["descriptor", "geometry"]


def test_time_that_is_up_leaves_out_and_says_what(found):
    left = iter([False] * 4)  # two streams in two folds
    found.is_over = found.scorer.is_over = lambda: next(left, True)
    choice = found.run()
    assert choice is not None
    assert found.left_out[:2] == [f"density of {stream}: mixture" for stream in choice.streams]
    assert all(one.note == "no time left" for one in found.tried if one.figure is None)


def test_streams_that_there_was_no_time_for_are_named(found):
    left = iter([False] * 3)  # one of the folds of the second stream is missing
    found.is_over = found.scorer.is_over = lambda: next(left, True)
    choice = found.run()
    assert list(choice.streams) == ["descriptor"]
    assert _left_out(found)[0] == "stream geometry left out: no time left"


def test_a_stream_that_cannot_be_fitted_is_left_out_and_named(found, monkeypatch):
    real = scorer.score

    def score(recipe: Recipe, *rest: Any) -> Any:
        if recipe.stream == "descriptor":
            raise FitError("no rows of descriptor")
        return real(recipe, *rest)

    monkeypatch.setattr(scorer, "score", score)
    assert list(found.run().streams) == ["geometry"]
    assert _left_out(found) == ["stream descriptor left out: no rows of descriptor"]


def test_that_no_stream_can_be_fitted_is_a_sentence(found, monkeypatch):
    def score(*args: Any) -> Any:
        raise FitError("no rows at all")

    monkeypatch.setattr(scorer, "score", score)
    with pytest.raises(FitError, match="a stream that can be fitted, got no rows at all"):
        found.run()


def test_a_stream_of_tracks_brings_the_tracker_that_it_needs():
    """Else the settings that tune writes could not be trained with."""
    line = DensityCandidate("mixture", StreamDensitySettings(method="mixture"))
    for stream, tracker in (("trajectory", "bytetrack"), ("geometry", "none")):
        settings = load_settings(overrides=[f'features.extractors=["{stream}"]'])
        choice = search.Choice({stream: search.StreamChoice(line, False)}, "sum", 0.5, 0)
        assert tuned_settings(settings, choice).tracks.tracker == tracker
