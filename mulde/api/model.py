"""`mulde.Model`: learnt from normal videos by `train`, read by `load_model`, at work in `score` and `stream`."""

from __future__ import annotations

import shutil
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from mulde.api.calls import (
    AnyPath,
    ApiReporter,
    SettingsLike,
    Source,
    as_changes,
    as_settings,
    as_sources,
    reporting,
    require_some,
    working,
)
from mulde.api.result import Result
from mulde.config import Settings
from mulde.datasets.sources import open_sources
from mulde.devices import choose_device
from mulde.errors import MuldeWarning, UsageError
from mulde.files import write_bytes
from mulde.names import user_path
from mulde.pipeline.extraction.boxes_alone import settings_without_pixels
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.model import loading
from mulde.pipeline.model.weights import NETWORKS, remember
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import FrameScorer, ScoredFrame
from mulde.pipeline.scoring.threshold import learn_threshold
from mulde.pipeline.stages import fit_bundle, say_mixtures
from mulde.pipeline.training.exclusions import Exclusions, check_exclusions, read_exclusions
from mulde.pipeline.training.finish import finish_model
from mulde.pipeline.training.fit import check_density
from mulde.pipeline.training.networks import check_networks, train_networks, untrained_streams, with_weights
from mulde.progress import Reporter
from mulde.records import ScoredVideo, UInt8
from mulde.settings_file import load_settings


def train(
    source: Source,
    *,
    detector: AnyPath | None = None,
    settings: SettingsLike = None,
    exclude: AnyPath | None = None,
    seed: int = 0,
    store: AnyPath | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> Model:
    """Learn from normal videos what is normal.

    Nothing is written to disk; `Model.save` does that.

    Args:
        source: A video, a folder of frames, a folder of videos, `"NAME:ROOT"` for a data set (its training split), or a
            list of these. All of it should be normal.
        detector: Weights of an object detector (`.pt`, `.onnx` or an OpenVINO folder) or an official name, downloaded
            once: objects are found with it, and moving regions beside them. None: moving regions alone.
        settings: Settings by name, `{"density": {"preset": "paper"}}` or `{"density.preset": "paper"}`, or the path of
            a TOML file. `mulde settings` lists all of them.
        exclude: A CSV with `video,start_frame,end_frame` (0-based, half-open) of moments not to learn from.
        seed: Of the split into folds, the noise and the networks; the same seed gives the same model.
        store: Folder where features are kept and found again. None: a temporary one, removed afterwards.
        device: `"cpu"`, `"cuda"`, `"cuda:1"` ..., or `"auto"`.
        progress: Whether to show progress. None: on a terminal and in a notebook.

    Returns:
        The model. What a person should know beside it comes as `mulde.errors.MuldeWarning`.

    Raises:
        mulde.errors.UsageError: A source or a setting cannot be used as given.
        mulde.errors.VideoError: None of the videos can be read.
        mulde.errors.FitError: There is nothing to learn from, as where no object was found.

    Examples:
        >>> model = mulde.train("normal/", detector="yolov8n.pt", seed=1)
        >>> model.save("door.safetensors")
    """
    chosen = as_settings("train", settings, detector)
    check_density(chosen.density)
    check_networks(chosen)
    if exclude is not None:
        check_exclusions(user_path(exclude))
    with reporting(progress) as reporter, working(store, device, reporter) as session:
        opened = open_sources(as_sources(source), "train")
        opened.report(reporter)
        chosen = settings_without_pixels(opened.videos, chosen, reporter)
        plan = ExtractionPlan(chosen, session.device, without=untrained_streams(chosen))
        extraction = session.extract(opened.videos, plan)
        require_some(len(extraction.done), [*opened.failures, *extraction.failures])
        world = say_mixtures(extraction.done, reporter)
        excluded = read_exclusions(user_path(exclude), extraction.done) if exclude is not None else Exclusions()
        networks = None
        if untrained_streams(chosen):
            networks = _Folder()
            extraction, plan, chosen = train_networks(extraction, plan, chosen, networks.path, seed, session, excluded)
        with TemporaryDirectory(prefix="mulde-") as folder:
            bundle = fit_bundle(extraction.done, world, chosen, plan, Path(folder), seed, session, excluded)
        trained = finish_model(extraction.done, bundle, plan, seed=seed, reporter=reporter)
        scoring = ExtractionPlan(chosen, session.device, world=world)
        return Model(Predictor.trained(trained, scoring, reporter), networks)


def load_model(
    path: AnyPath,
    *,
    detector: AnyPath | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Model:
    """Read a model that `Model.save`, `mulde train` or `mulde run` wrote.

    The file is data: nothing in it is executed, and it names no path that is opened.

    Args:
        path: The model, a `.safetensors` file. The `normal_moments.parquet` beside it is read where there is one.
        detector: Where the weights of the model's detector lie. They must be the ones of the training. None: where this
            user trained with them, or a folder of the environment variable `MULDE_WEIGHTS`.
        settings: Settings to score with, by name, as `{"alarms.merge_gap_s": 2}`. Those that are fixed by the training
            are refused.
        device: `"cpu"`, `"cuda"`, `"cuda:1"` ..., or `"auto"`.

    Returns:
        The model.

    Raises:
        mulde.errors.BundleError: The file is missing, damaged or of a newer version.
        mulde.errors.UsageError: A setting cannot be changed any more, or the weights of the training are not found.

    Examples:
        >>> model = mulde.load_model("door.safetensors")
        >>> model.score("new.mp4").events
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise UsageError("settings of a trained model", expected="settings by name", got=type(settings).__name__)
    changes = as_changes(settings or {})
    if detector is not None:
        changes += as_changes({"regions.yolo.weights": detector})
    with reporting(False) as reporter:
        chosen = choose_device(device)
        trained = loading.load_model(user_path(path), chosen)
        return Model(Predictor.open(trained, user_path(path), changes, chosen, reporter))


def score(
    source: Source,
    model: Model | AnyPath,
    *,
    false_alarms_per_hour: float | None = None,
    store: AnyPath | None = None,
    progress: bool | None = None,
) -> Result:
    """Score videos with a model: `Model.score`, for a model or the path of one.

    Args:
        source: As for `Model.score`.
        model: A model, or the path of one that was saved.
        false_alarms_per_hour: As for `Model.score`.
        store: As for `Model.score`.
        progress: As for `Model.score`.

    Returns:
        Scores, objects and events of the videos.

    Raises:
        mulde.errors.MuldeError: As `load_model` and `Model.score`.

    Examples:
        >>> mulde.score("new.mp4", "door.safetensors").plot()
    """
    ready = model if isinstance(model, Model) else load_model(model)
    return ready.score(source, false_alarms_per_hour=false_alarms_per_hour, store=store, progress=progress)


class _Folder:
    """A temporary folder that is removed when nobody has this object any more."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="mulde-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Model:
    """What was learnt from normal videos; made by `mulde.train` and `mulde.load_model`.

    Attributes:
        settings: All settings of the model, read-only.
        streams: Names of the kinds of features that are scored, as `("velocity", "geometry", "descriptor")`.
    """

    def __init__(self, predictor: Predictor, networks: _Folder | None = None) -> None:
        """networks: the folder of those that were trained with it; it goes when the model goes."""
        self._predictor, self._networks = predictor, networks

    @property
    def settings(self) -> Settings:
        return self._predictor.settings

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(self._predictor.bundle.streams)

    def __repr__(self) -> str:
        normal = self._predictor.bundle.normal.values()
        hours = sum(video.hours for video in normal)
        kept = f"{60 * hours:.1f} minutes of normal video" if normal else "no scores of normal video"
        return f"Model({', '.join(self.streams)}; {kept})"

    def save(self, path: AnyPath) -> None:
        """Write the model to a file, and the index of reference samples beside it as `normal_moments.parquet`; where
        networks were trained with it, these as `prediction.safetensors`.

        The paths of weights are not part of the file. They go into the user's own record (`weights.json` in
        `MULDE_CONFIG`, else `~/.config/mulde`), so that this user's programs find the weights again.

        Args:
            path: The file to write, as `door.safetensors`; one that is there is replaced as a whole.

        Raises:
            mulde.errors.FileError: The file cannot be written.

        Examples:
            >>> mulde.train("normal/").save("door.safetensors")
        """
        target, settings = user_path(path), self.settings
        self._predictor.model.save(target)
        if self._networks is not None:
            beside = target.with_name(NETWORKS)
            write_bytes(beside, (self._networks.path / NETWORKS).read_bytes())
            settings = with_weights(settings, beside)
        remember(settings, self._predictor.plan.fingerprint())

    def score(
        self,
        source: Source,
        *,
        false_alarms_per_hour: float | None = None,
        store: AnyPath | None = None,
        progress: bool | None = None,
    ) -> Result:
        """Give every frame and every object of videos an anomaly score, and list the events.

        Nothing is written to disk unless `store` is given.

        Args:
            source: A video, a folder of frames, a folder of videos, `"NAME:ROOT"` for a data set (its test split), or a
                list of these.
            false_alarms_per_hour: Of normal video, for which the alarm level is set on held-out normal video; refused
                where that is too short to support it. None: that of the settings, 1 or as few as are supported.
            store: Folder where features are kept and found again. None: a temporary one, removed afterwards.
            progress: Whether to show progress. None: on a terminal and in a notebook.

        Returns:
            Scores, objects and events. Videos that failed are named in `Result.failures` and by a warning.

        Raises:
            mulde.errors.UsageError: The source, or the rate of false alarms, cannot be used as given.
            mulde.errors.VideoError: None of the videos can be read, or brought to what the model learnt.

        Examples:
            >>> result = model.score(["monday.mp4", "tuesday.mp4"])
            >>> result.events[["video", "start_s", "reason"]]
        """
        with reporting(progress) as reporter, working(store, self._predictor.plan.device, reporter) as session:
            predictor = self._at_rate(false_alarms_per_hour, reporter)
            opened = open_sources(as_sources(source), "test")
            opened.report(reporter)
            extraction = session.extract(opened.videos, predictor.plan)
            failures = [*opened.failures, *extraction.failures]
            require_some(len(extraction.done), failures)
            predictor.compare(extraction.done)
            scored: dict[str, ScoredVideo] = {}
            with reporter.bar("score", len(extraction.done), "videos") as advance:
                for stored in extraction.done:
                    scored[stored.video.name] = predictor.score(stored)
                    advance(1)
            explained = predictor.explained_events(extraction.done, scored)
            return Result(predictor, extraction.done, scored, explained.events, opened.dataset, failures)

    def _at_rate(self, false_alarms_per_hour: float | None, reporter: Reporter) -> Predictor:
        predictor = replace(self._predictor, reporter=reporter)
        if false_alarms_per_hour is None:
            return predictor
        change = as_changes({"alarms.false_alarms_per_hour": false_alarms_per_hour})
        bundle = replace(predictor.bundle, settings=load_settings(overrides=change, base=self.settings))
        alarm = learn_threshold(bundle, bundle.settings.alarms, reporter)
        return replace(predictor, model=replace(predictor.model, bundle=bundle), alarm=alarm)

    def stream(self, frames: Iterable[tuple[UInt8, float]], *, rate: float | None = None) -> Stream:
        """Score frames as they come, from a camera or any other source.

        The scores are causal: nothing that comes after a frame changes its score. They equal the causally smoothed
        scores of the same frames in a file. Memory holds the few frames that the features look at.

        Args:
            frames: Pairs of an image, (H, W, 3) RGB uint8, all of one size, and its time in seconds, rising.
            rate: Frames per second. None: the rate that the model learnt.

        Returns:
            An iterator over a `ScoredFrame` for each frame, in order. Its `delay` says how many frames later than the
            frame a result comes: 0 unless features look ahead, as video networks do.

        Raises:
            mulde.errors.UsageError: The features of the model need whole videos.
            mulde.errors.RecordError: While frames come: an image or a time of another kind.
            mulde.errors.VideoError: While frames come: a size or rate that the model cannot be brought to.

        Examples:
            >>> for frame in model.stream(frames):
            ...     if frame.p_value is not None and frame.p_value < 0.001:
            ...         print(frame.time_s, frame.anomaly_score, frame.objects)
        """
        return Stream(self._predictor, frames, rate)


class Stream(Iterator[ScoredFrame]):
    """The results of frames as they come; made by `Model.stream`.

    Attributes:
        delay: How many frames later than its frame a result comes, once the first frames have passed.
        rate: Frames per second that smoothing counts with.
    """

    def __init__(self, predictor: Predictor, frames: Iterable[tuple[UInt8, float]], rate: float | None) -> None:
        self._reporter = ApiReporter(progress=False)
        self._scorer = FrameScorer(replace(predictor, reporter=self._reporter), rate)
        self._results = self._score(frames)

    @property
    def delay(self) -> int:
        return self._scorer.delay

    @property
    def rate(self) -> float:
        return self._scorer.rate

    def __next__(self) -> ScoredFrame:
        return next(self._results)

    def _score(self, frames: Iterable[tuple[UInt8, float]]) -> Iterator[ScoredFrame]:
        for image, time_s in frames:
            ready = self._scorer.push(image, time_s)
            while self._reporter.warnings:
                warnings.warn(self._reporter.warnings.pop(0), MuldeWarning, stacklevel=3)
            yield from ready
        yield from self._scorer.flush()
