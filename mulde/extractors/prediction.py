"""How badly frames could be foreseen: rows of the maps of a pixel model, per frame and per box."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from mulde.errors import UsageError
from mulde.extractors.base import Fingerprint, local_weights, weights_digest
from mulde.extractors.spec import ExtractorSpec, Requirement, Shared
from mulde.extractors.wording import Comparison, Wording, describe_appearance, times
from mulde.reconstruction.model_file import stored_kind
from mulde.reconstruction.registry import MODELS, build_pixel_model, model_class
from mulde.records import FeatureTable, Float32, Regions, UInt8, Window
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    from mulde.reconstruction.model_file import SeenModel

_TIMES_AS_WRONG = "times_as_wrong"
_Origin = tuple[str, int]


class PredictionSettings(Section):
    model: Text = Field(
        "pdm", min_length=1, description=f"pixel model, one of {', '.join(MODELS)}; pdm predicts a frame from the four "
        "before it, ppdm makes the maps of a frozen network again (for images); `mulde train` trains them; patches "
        "(images), mean (images) and copy (video) are what to compare them with"
    )  # fmt: skip
    teacher_weights: PathText = Field(
        "DEFAULT",
        min_length=1,
        description="for ppdm and patches: weights of the network that is frozen: DEFAULT, a tag of torchvision or the "
        "path of a state dict, or RANDOM, for a null; what is trained holds them",
    )
    preset: Text = Field("small", min_length=1, description="sizes of its networks: small (for CPUs), or paper")
    options: Mapping[str, Any] = Field({}, description="options of the pixel model that differ from the preset")
    maps: tuple[Text, ...] = Field(
        (),
        description="maps that rows are made of, by name (pdm: error, gradient, coarse, fine); empty: of pdm the first "
        "two, of others all",
    )
    weights: PathText = Field(
        "", description="trained pixel models, which `mulde train` writes beside its model; empty: it trains them"
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _trained_hold_their_teacher(cls, data: Any) -> Any:
        """No path stays in the settings of a model."""
        if not isinstance(data, Mapping) or not data.get("weights"):
            return data
        return {key: value for key, value in data.items() if key != "teacher_weights"}

    @property
    def is_trained_here(self) -> bool:
        """Whether its networks must be trained, and are not given."""
        return not self.weights and self.model != "copy"


class Maps:
    """The maps of pixel models of the core frames of windows, which all rows are read from."""

    def __init__(self, settings: PredictionSettings, device: str) -> None:
        self.settings, self.device = settings, device
        self._last = threading.local()
        self._lock = threading.Lock()
        self._loaded: list[SeenModel] | None = None
        model = model_class(settings.model)
        build_pixel_model(settings.model, settings.preset, settings.options)  # refuses options that it does not take
        if settings.model == "copy" and settings.weights:
            raise UsageError("features.prediction.weights has no effect on the model copy")
        self.names, self.num_past = model.MAPS, model.NUM_PAST
        unknown = [name for name in settings.maps if name not in self.names]
        if unknown or len(set(settings.maps)) < len(settings.maps):
            raise UsageError(
                "features.prediction.maps",
                expected=f"each of {', '.join(self.names)} once at most",
                got=list(settings.maps),
            )
        self.read = tuple(self.names.index(name) for name in _read(settings))

    @cached_property
    def source(self) -> Fingerprint:
        """What the maps depend on. Raises UsageError where no trained networks are named."""
        settings = self.settings
        if settings.model == "copy":
            return {"preset": settings.preset, "options": dict(settings.options)}
        path = local_weights(settings.weights) if settings.weights else None
        if path is None:
            raise UsageError(
                "features.prediction.weights",
                expected="the file that mulde train wrote when it trained this stream",
                got=settings.weights or "none",
                hint="mulde train, which trains the networks first; then name its prediction.safetensors",
            )
        if (kind := stored_kind(path)) != settings.model:  # before a frame is looked at
            raise UsageError(
                f"features.prediction.weights {path}",
                expected=f"trained pixel models {settings.model}",
                got="a file without any" if kind is None else kind,
                hint=f"features.prediction.model={kind}" if kind in MODELS else "the file that mulde train wrote",
            )
        return {"weights_sha256": weights_digest(path)}

    @property
    def models(self) -> list[SeenModel]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> list[SeenModel]:
        from mulde.reconstruction.model_file import SeenModel, load_models

        settings = self.settings
        if settings.model == "copy":
            model = build_pixel_model("copy", settings.preset, settings.options, device=self.device)
            return [SeenModel(model, {})]
        return load_models(Path(settings.weights), self.device)

    def of(self, window: Window, origin: _Origin) -> list[Float32]:
        """The maps of the core frames by each model: (N, M, side, side), of frames that it has seen NaN. origin: the
        content that the frames are of, and the number of the video's first frame there.

        Where every model has seen a frame, each of them has maps of it. They are kept until the thread comes with
        another window, for all that read them.
        """
        last = getattr(self._last, "window", lambda: None)
        if last() is not window or self._last.origin != origin:
            self._last.maps = self._compute(window, origin)
            self._last.window, self._last.origin = weakref.ref(window), origin
        maps: list[Float32] = self._last.maps
        return maps

    def _compute(self, window: Window, origin: _Origin) -> list[Float32]:
        from mulde.reconstruction.frames import to_square

        models, (sha256, first) = self.models, origin
        seen = np.array([[m.has_seen(sha256, first + int(frame)) for frame in window.core_index] for m in models])
        wanted = ~seen.reshape(len(models), -1)
        wanted[:, ~wanted.any(axis=0)] = True
        found = []
        for one, rows in zip(models, wanted, strict=True):
            side = one.model.side
            maps = np.full((len(rows), len(self.names), side, side), np.nan, np.float32)
            if rows.any():
                pictures = [to_square(image, side) for image in window.frames.images]
                clips = [self._clip(pictures, window.first + int(row)) for row in np.flatnonzero(rows)]
                maps[rows] = one.model.maps(np.stack(clips))
            found.append(maps)
        return found

    def _clip(self, pictures: Sequence[UInt8], row: int) -> UInt8:
        """The clip that describes a frame: of the first frames of a video, which have too few before them, the first
        clip that there is; a video that is too short for one begins with its first frame again and again."""
        last = min(max(row, self.num_past), len(pictures) - 1)
        return np.stack([pictures[max(last - back, 0)] for back in range(self.num_past, -1, -1)])


class PredictionRows:
    """Logarithms of what the maps hold, the mean over the models that have not seen the frame.

    Per frame the highest mean in any box of each map, per box mean and maximum inside it. The first frames of a video
    are described by the first clip that has them in it.
    """

    def __init__(self, name: str, maps: Maps, *, object_centric: bool, origin: _Origin = ("", 0)) -> None:
        self.name, self.object_centric, self._maps, self._origin = name, object_centric, maps, origin
        self.before = self.after = maps.num_past
        self.after_with_past = 0

    def for_video(self, sha256: str, first_frame: int = 0) -> PredictionRows:
        """The same of a video whose frames are those from `first_frame` on of this content: models that have seen them
        do not describe it."""
        return PredictionRows(self.name, self._maps, object_centric=self.object_centric, origin=(sha256, first_frame))

    def fingerprint(self) -> Fingerprint:
        settings = self._maps.settings
        facts = {"extractor": self.name, "version": 3, "model": settings.model, "maps": list(_read(settings))}
        return facts | self._maps.source

    @property
    def map_names(self) -> tuple[str, ...]:
        return self._maps.names

    @property
    def side(self) -> int:
        """Height and width of the maps."""
        return self._maps.models[0].model.side

    @property
    def telling_map(self) -> str:
        """The map that is drawn and that reasons speak of: of those that the rows are made of, the one that tells
        best."""
        return self.map_names[self._maps.read[_telling(_read(self._maps.settings))]]

    def peaks(self, rows: Float32) -> Float32:
        """The highest values (N,) that rows (N, D) have of the telling map."""
        read = _read(self._maps.settings)
        each = rows.shape[1] // len(read)  # per box the mean is before the maximum
        return np.exp(rows[:, each * _telling(read) + each - 1])

    def pixel_maps(self, window: Window) -> Float32:
        """The maps (N, M, side, side) of the core frames, the mean over the models that have not seen the frame."""
        return _mean(self._maps.of(window, self._origin))

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        from mulde.reconstruction.peaks import frame_rows, object_rows

        by_model = [maps[:, list(self._maps.read)] for maps in self._maps.of(window, self._origin)]
        if not self.object_centric:
            return FeatureTable(_mean([frame_rows(maps) for maps in by_model]), window.core_index)
        values = np.zeros((len(regions), 2 * len(self._maps.read)), np.float32)
        for row, frame in enumerate(window.core_index):
            mine = regions.frame_index == frame
            if mine.any():
                boxes, size_hw = regions.box_xyxy[mine], window.frames.size_hw
                values[mine] = _mean([object_rows(maps[row], boxes, size_hw) for maps in by_model])
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)


def _mean(rows: Sequence[Float32]) -> Float32:
    return np.asarray(np.nanmean(rows, axis=0), np.float32)


def _build(settings: PredictionSettings, shared: Shared) -> PredictionRows:
    return PredictionRows("prediction", _shared_maps(settings, shared), object_centric=False)


def _build_of_objects(settings: PredictionSettings, shared: Shared) -> PredictionRows:
    return PredictionRows("object_prediction", _shared_maps(settings, shared), object_centric=True)


def _shared_maps(settings: PredictionSettings, shared: Shared) -> Maps:
    maps: Maps = shared.once("prediction", lambda: Maps(settings, shared.machine.device))
    return maps


_GROUPS = {
    "error": "colours", "gradient": "edges", "coarse": "bending", "fine": "bending",
    "distillation": "appearance", "bending": "bending", "distance": "appearance", "difference": "colours",
}  # fmt: skip
_TELLS_BEST = ("gradient", "distillation", "distance", "difference")


def _read(settings: PredictionSettings) -> tuple[str, ...]:
    """The maps that the rows are made of."""
    model = model_class(settings.model)
    return settings.maps or model.ROWS or model.MAPS


def _telling(read: tuple[str, ...]) -> int:
    """The place of the map that tells best."""
    return next((read.index(name) for name in _TELLS_BEST if name in read), 0)


def _groups(dim: int, settings: PredictionSettings) -> tuple[str, ...]:
    names = [_GROUPS[name] for name in _read(settings)]
    each = dim // len(names)
    return tuple(name for name in names for _ in range(each))


def _describe(comparison: Comparison, settings: PredictionSettings) -> Wording:
    """By the map that tells best what was not foreseen: of a prediction the edges."""
    model, read = model_class(settings.model), _read(settings)
    each = len(comparison.row) // len(read)
    column = each * _telling(read)
    ratio = float(np.exp(comparison.row[column] - np.median(comparison.usual[:, column])))
    if ratio <= 1:
        return describe_appearance(comparison)
    if model.NUM_PAST:
        what = "moves in a way" if comparison.is_object else "something in the picture moves in a way"
        what = f"{what} that could not be foreseen"
    else:
        what = "looks" if comparison.is_object else "something in the picture looks"
        what = f"{what} as nothing normal does"
    text = f"{what}: {times(ratio)} the usual error{comparison.place}"
    return text, {_TIMES_AS_WRONG: ratio}


_REQUIREMENTS = (
    Requirement("preset", 'weights=""', lambda s: not s.weights),  # trained networks have their sizes
    Requirement("options", 'weights=""', lambda s: not s.weights),
    Requirement("teacher_weights", 'model="ppdm"', lambda s: s.model in ("ppdm", "patches")),
    Requirement("weights", 'model="pdm"', lambda s: s.model != "copy"),
)

PREDICTION = ExtractorSpec(
    name="prediction",
    object_centric=False,
    only_high=True,  # nothing is wrong with a frame that could be foreseen
    requirements=_REQUIREMENTS,
    settings=PredictionSettings,
    build=_build,
    column_groups=_groups,
    describe=_describe,
)
OBJECT_PREDICTION = ExtractorSpec(
    name="object_prediction",
    object_centric=True,
    settings=PredictionSettings,
    section="prediction",
    only_high=True,
    requirements=_REQUIREMENTS,
    build=_build_of_objects,
    column_groups=_groups,
    describe=_describe,
)
