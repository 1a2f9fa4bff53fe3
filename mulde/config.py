"""Settings of every stage, validated. The bounds stand beside each field and are the only place where they stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from mulde.density.registry import DENSITIES
from mulde.extractors.flow import FlowSettings
from mulde.extractors.registry import EXTRACTORS, RESERVED, is_built_in, known_extractor, sections
from mulde.section import PathText, Section, Text


class VideoSettings(Section):
    decoder: Literal["pyav", "decord"] = Field("pyav", description="library that decodes video files")
    stream: Literal["auto"] | Annotated[int, Field(ge=0, le=65_535)] = Field(
        "auto", description="video stream of a file, counted from 0; auto: the one that a player would show"
    )
    working_size_px: int = Field(
        0,
        ge=0,
        le=16384,
        description="longer side of decoded frames; larger frames are scaled down; 0 = original size",
    )
    frame_rate: float = Field(
        25.0, gt=0, le=1000, description="frames per second of frame folders whose data set does not state it"
    )
    analysis_fps: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="frames per second that are looked at, chosen by time stamps; the others repeat their score; 0 = "
        "every frame",
    )
    batch_frames: int = Field(32, ge=1, le=4096, description="frames that are decoded and processed together")
    match_training: Literal["convert", "warn", "refuse"] = Field(
        "convert",
        description="in scoring, what to do with a video of another size or rate than the training videos: convert it "
        "if that is possible and else refuse it; warn and score it unchanged; or refuse it",
    )


class YoloSettings(Section):
    weights: PathText = Field(
        "yolov8n.pt", min_length=1, description="path of the weights, or an official model name, downloaded once"
    )
    confidence: float = Field(0.25, ge=0, le=1, description="minimum confidence of a box")
    classes: tuple[Text, ...] = Field((), description="class names or numbers to keep; empty = all")
    image_size: int = Field(
        640, ge=32, le=4096, multiple_of=32, description="longer side of the detector input, pixels"
    )


class MotionSettings(Section):
    threshold: int = Field(18, ge=1, le=255, description="minimum change of a pixel, grey levels")
    blur_px: int = Field(3, ge=1, le=31, description="kernel size of the Gaussian blur, odd; 1 = no blur")
    min_area_px: float = Field(100, ge=1, description="minimum area of a moving region, square pixels")
    max_aspect: float = Field(10, gt=1, description="maximum ratio of a region's sides")
    grow_px: int = Field(2, ge=0, le=100, description="pixels by which regions grow, and known boxes when blanked")
    join_px: Literal["auto"] | Annotated[int, Field(ge=0, le=100)] = Field(
        "auto",
        description="changes up to twice this far apart become one region (0 to 100); auto: 2 if motion is the only "
        "finder, 0 with a detector, which leaves only fragments to it",
    )

    @model_validator(mode="after")
    def _odd_blur(self) -> MotionSettings:
        if self.blur_px % 2 == 0:
            raise ValueError(f"blur_px should be odd, got {self.blur_px}")
        return self


class RegionSettings(Section):
    finders: tuple[Literal["yolo", "motion", "imported"], ...] = Field(
        ("motion",),
        min_length=1,
        description="what finds boxes: yolo, motion or both; later finders add what earlier ones missed; or imported: "
        "boxes made elsewhere, of videos of boxes alone or as `regions.imported` names them",
    )
    imported: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_.-]*)?$")] = Field(
        "", description="name of boxes that `mulde cache import --boxes` imported, for videos that have pixels"
    )
    min_area_px: float = Field(100, ge=1, description="minimum area of a box, square pixels")
    max_cover: float = Field(
        0.6, gt=0, le=1, description="a box is dropped if a larger box covers more than this share of it"
    )
    yolo: YoloSettings = YoloSettings()
    motion: MotionSettings = MotionSettings()

    @model_validator(mode="after")
    def _imported_boxes_stand_alone(self) -> RegionSettings:
        if "imported" in self.finders and len(self.finders) > 1:
            raise ValueError(f"'imported' without other finders, got {list(self.finders)}")
        return self


class TrackSettings(Section):
    tracker: Literal["none", "bytetrack", "botsort", "imported"] = Field(
        "none",
        description="tracker that links boxes over time, so that rows carry a track_id; imported: the ids of imported "
        "boxes",
    )
    lost_frames: int = Field(30, ge=1, le=10_000, description="frames after which a track without boxes ends")
    average_frames: int = Field(
        0, ge=0, le=10_000, description="average rows along their track over this many frames before and after; 0 = no"
    )

    @model_validator(mode="after")
    def _averages_need_tracks(self) -> TrackSettings:
        if self.average_frames and self.tracker == "none":
            raise ValueError(f"a tracker for average_frames = {self.average_frames}, as tracker = 'bytetrack'")
        return self


def _is_extractor(name: str) -> str:
    return _one_of(name, EXTRACTORS)


def _is_density(name: str) -> str:
    return _one_of(name, DENSITIES)


def _one_of(name: str, known: Mapping[str, object]) -> str:
    if name not in known:
        *names, last = map(repr, known)
        raise ValueError(f"{', '.join(names)} or {last}")
    return name


class FeatureSettings(Section):
    """What all extractors share, and below it a section per extractor: its own class, under its own name.

    These sections are no fields but checked against the registry, so that an extractor that a program registers has
    its settings here too.
    """

    model_config = ConfigDict(extra="allow")

    extractors: tuple[Annotated[str, AfterValidator(_is_extractor)], ...] = Field(
        ("velocity", "geometry", "descriptor"),
        description="features, each a stream with its own density; per box: "
        f"{', '.join(name for name, spec in EXTRACTORS.items() if spec.object_centric)}; per frame: "
        f"{', '.join(name for name, spec in EXTRACTORS.items() if not spec.object_centric)}",
    )
    imported: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")], ...] = Field(
        (), description="names of features imported with `mulde cache import`, each a stream as well"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format inside networks; auto: bfloat16 on GPUs that support it, except for `backbone`, "
        "which loses accuracy; else float32; exported networks keep their own",
    )
    batch_size: int = Field(
        64, ge=1, le=65536, description="maximum number of crops, frames or clips per call of a network; halved when "
        "memory runs out"
    )  # fmt: skip
    flow: FlowSettings = FlowSettings()

    def for_extractor(self, name: str) -> Section:
        """The settings of an extractor. Raises UsageError for one that this process does not know."""
        spec = known_extractor(name)
        section: Section = (self.model_extra or {}).get(spec.section, spec.settings())
        return section

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, data: Any) -> Any:
        """The preset of the flow stood with the velocity before there were other flows."""
        velocity = data.get("velocity") if isinstance(data, Mapping) else None
        if not isinstance(velocity, Mapping) or "flow_preset" not in velocity:
            return data
        flow = data.get("flow", {})
        flow = {"preset": velocity["flow_preset"], **flow} if isinstance(flow, Mapping) else flow
        return {**data, "velocity": {k: v for k, v in velocity.items() if k != "flow_preset"}, "flow": flow}

    @model_validator(mode="after")
    def _sections_are_those_of_extractors(self) -> FeatureSettings:
        extra = self.__pydantic_extra__
        if extra is None:  # never with extra="allow"
            return self
        given = dict(extra)
        extra.clear()  # and filled again in the order of the registry
        used = {known_extractor(name).section for name in self.extractors}
        for name, kind in sections().items():
            if not (is_built_in(name) or name in used or name in given):
                continue  # else a model would need an extractor that it does not use
            try:
                extra[name] = kind.model_validate(given.pop(name, {}))
            except ValidationError as error:
                raise _inside(name, error) from None
        for name, value in given.items():
            unknown = InitErrorDetails(type="extra_forbidden", loc=(name,), input=value)
            raise ValidationError.from_exception_data("features", [unknown])
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> FeatureSettings:
        if not (self.extractors or self.imported):
            raise ValueError("at least one name in extractors or imported")
        if doubled := {name for name in self.extractors if self.extractors.count(name) > 1}:
            raise ValueError(f"each extractor once, {sorted(doubled)[0]} is there twice")
        if taken := set(self.imported) & {*RESERVED[:3], *EXTRACTORS}:
            raise ValueError(f"other names for imported features than {sorted(taken)[0]}, which is taken")
        return self


def _inside(section: str, error: ValidationError) -> ValidationError:
    """The same errors, each named with the section that it is in."""
    details = [
        InitErrorDetails(type=line["type"], loc=(section, *line["loc"]), input=line["input"], ctx=line.get("ctx", {}))
        for line in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(section, details)


class StreamDensitySettings(Section):
    """The density of one stream, whole: what it leaves out has its default."""

    method: Annotated[str, AfterValidator(_is_density)] = Field(
        "mulde", description=f"density of each stream: {', '.join(DENSITIES)}"
    )
    preset: Literal["fast", "paper"] = Field(
        "fast", description="sizes of mulde and msma: fast trains in minutes on 2 cores"
    )
    options: dict[str, Any] = Field({}, description="options of the method that differ from the preset")

    @field_validator("options")
    @classmethod
    def _plain_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("finite numbers, text, true, false and lists of these") from None
        return options


class DensitySettings(StreamDensitySettings):
    streams: dict[Text, StreamDensitySettings] = Field(
        {},
        description="a table for each stream with a density of its own, as [density.streams.velocity] with method, "
        "preset and options; what such a table leaves out has its default, whatever [density] says",
    )

    @property
    def shared(self) -> StreamDensitySettings:
        """That of all streams without a table of their own, as such a table would have it."""
        return StreamDensitySettings(method=self.method, preset=self.preset, options=self.options)

    def of(self, stream: str) -> StreamDensitySettings:
        """The density of a stream: its own, or that of all streams."""
        return self.streams.get(stream, self)


class FusionSettings(Section):
    folds: int = Field(
        4,
        ge=1,
        le=100,
        description="number of parts of the training videos; each is held out once and has a model trained on the "
        "others. Scores are the mean of these models, and all of the normal video sets the scale and the threshold. "
        "1 = one model, with a share held out",
    )
    heldout_share: float = Field(
        0.25, gt=0, lt=1, description="with folds = 1: share of the training videos that is held out for calibration"
    )
    only_high: tuple[Text, ...] = Field(
        (),
        description="streams of which only high values count, e.g. speed: before rows are scored, values below the "
        "median of the normal rows are raised to it",
    )
    combine: Literal["sum", "max"] = Field(
        "sum", description="how the surprises of a frame's streams, sqrt(-2 log p), are combined into one score"
    )
    smoothing_s: float = Field(0.5, ge=0, le=60, description="sigma of the Gaussian smoothing in time, seconds")
    smoothing: Literal["centred", "causal"] = Field(
        "centred",
        description="which frames scores are smoothed over: centred, those before and after; causal, those before "
        "alone, as a live camera has them. Threshold, p-values, events and reasons follow",
    )


class AlarmSettings(Section):
    false_alarms_per_hour: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="target number of false alarms per hour of normal video. It sets the threshold, on held-out normal "
        "video, and is refused if that is too short; 0 = one, or the lowest number that it supports",
    )
    merge_gap_s: float = Field(
        1.0, ge=0, le=3600, description="alarms at most this far apart are merged into one event, seconds"
    )
    min_length_s: float = Field(0.0, ge=0, le=3600, description="shorter events are dropped, seconds")


class ReasonSettings(Section):
    normal_moments: int = Field(
        3000,
        ge=0,
        le=1_000_000,
        description="number of reference samples: training rows that are kept next to a model, with pictures, for "
        "comparison with events; 0 = none",
    )
    nearest: int = Field(3, ge=0, le=100, description="number of most similar reference samples that an event names")


class HealthSettings(Section):
    pictures: int = Field(
        240,
        ge=0,
        le=10_000,
        description="number of training pictures that the camera's health is held against: moved, covered, blurred; "
        "0 = none, and then that is not told",
    )
    compare: bool = Field(
        True, description="say where pictures of a scored video do not look where the training footage looked"
    )


class RunSettings(Section):
    source: Text = Field("", description="for `mulde run`: NAME:ROOT of a data set, or a folder with train/ and test/")
    out: PathText = Field("", description="run folder to write; empty: runs/<name of the source>")
    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = Field(
        (0,), min_length=1, description="random seeds, one model each; several give mean and spread"
    )


class Settings(Section):
    """Everything that a run needs to know."""

    video: VideoSettings = VideoSettings()
    regions: RegionSettings = RegionSettings()
    tracks: TrackSettings = TrackSettings()
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    density: DensitySettings = DensitySettings()
    fusion: FusionSettings = FusionSettings()
    alarms: AlarmSettings = AlarmSettings()
    reasons: ReasonSettings = ReasonSettings()
    health: HealthSettings = HealthSettings()
    run: RunSettings = RunSettings()

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams, extracted ones first."""
        return (*self.features.extractors, *self.features.imported)

    @property
    def only_high(self) -> set[str]:
        """The streams of which low values are nothing unusual: those that are named, and those by their nature."""
        return {*self.fusion.only_high, *(name for name in self.features.extractors if known_extractor(name).only_high)}

    @model_validator(mode="after")
    def _imported_tracks_have_boxes(self) -> Settings:
        if self.tracks.tracker == "imported" and "imported" not in self.regions.finders:
            raise ValueError(
                f"tracks.tracker = 'imported' with regions.finders = ['imported'], got {list(self.regions.finders)}"
            )
        return self

    @model_validator(mode="after")
    def _named_streams_exist(self) -> Settings:
        if unknown := sorted(set(self.fusion.only_high) - {*self.streams}):
            raise ValueError(f"fusion.only_high with streams of features.extractors, {unknown[0]!r} is none of them")
        if unknown := sorted(set(self.density.streams) - {*self.streams}):
            raise ValueError(
                f"density.streams with streams of features.extractors, {unknown[0]!r} is none of them, so its table "
                "has no effect"
            )
        return self
