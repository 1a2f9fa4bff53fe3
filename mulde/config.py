"""Settings of every stage, validated. The bounds stand beside each field and are the only place where they stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from mulde.extractors.flow import FlowSettings
from mulde.extractors.registry import EXTRACTORS, RESERVED, known_extractor, sections
from mulde.section import PathText, Section, Text


class VideoSettings(Section):
    decoder: Literal["pyav", "decord"] = Field("pyav", description="library that decodes video files")
    stream: Literal["auto"] | Annotated[int, Field(ge=0, le=65_535)] = Field(
        "auto", description="which of a file's video streams, counted from 0; auto: the one a player would show"
    )
    working_size_px: int = Field(
        0,
        ge=0,
        le=16384,
        description="longer side of the frames that are worked on; larger ones are scaled down while they are "
        "decoded; 0 = as they are",
    )
    frame_rate: float = Field(
        25.0, gt=0, le=1000, description="frames per second of frame folders whose dataset does not say"
    )
    batch_frames: int = Field(32, ge=1, le=4096, description="frames decoded and described together")
    match_training: Literal["convert", "warn", "refuse"] = Field(
        "convert",
        description="for scoring a video of another size or rate than the model learnt: convert it where that gives "
        "what was learnt and refuse it elsewhere; warn and score it as it is; or refuse it",
    )


class YoloSettings(Section):
    weights: PathText = Field(
        "yolov8n.pt", min_length=1, description="path of the weights, or an official name, downloaded once"
    )
    confidence: float = Field(0.25, ge=0, le=1, description="least confidence of a box")
    classes: tuple[Text, ...] = Field((), description="class names or numbers to keep; empty keeps all")
    image_size: int = Field(
        640, ge=32, le=4096, multiple_of=32, description="pixels of the longer side inside the detector"
    )


class MotionSettings(Section):
    threshold: int = Field(18, ge=1, le=255, description="grey levels that count as a change")
    blur_px: int = Field(3, ge=1, le=31, description="side of the Gaussian blur, odd; 1 = none")
    min_area_px: float = Field(100, ge=1, description="least area of a moving region, square pixels")
    max_aspect: float = Field(10, gt=1, description="largest ratio of a region's sides")
    grow_px: int = Field(2, ge=0, le=100, description="pixels by which regions, and known boxes when blanked, grow")
    join_px: Literal["auto"] | Annotated[int, Field(ge=0, le=100)] = Field(
        "auto",
        description="changes up to twice this far apart become one region (0 to 100); auto: 2 where motion is the "
        "only finder, 0 beside a detector, which leaves it fragments alone",
    )

    @model_validator(mode="after")
    def _odd_blur(self) -> MotionSettings:
        if self.blur_px % 2 == 0:
            raise ValueError(f"blur_px should be odd, got {self.blur_px}")
        return self


class RegionSettings(Section):
    finders: tuple[Literal["yolo", "motion"], ...] = Field(
        ("motion",),
        min_length=1,
        description="what finds boxes: yolo, motion or both; later ones add what earlier ones missed",
    )
    min_area_px: float = Field(100, ge=1, description="least area of a box, square pixels")
    max_cover: float = Field(
        0.6, gt=0, le=1, description="a box of which a larger one covers more than this share is dropped"
    )
    yolo: YoloSettings = YoloSettings()
    motion: MotionSettings = MotionSettings()


class TrackSettings(Section):
    tracker: Literal["none", "bytetrack", "botsort"] = Field(
        "none", description="what follows the boxes, so that rows carry a track_id"
    )
    lost_frames: int = Field(30, ge=1, le=10_000, description="frames for which a box that vanished is remembered")
    average_frames: int = Field(
        0, ge=0, le=10_000, description="frames before and after over which a row is averaged along its track; 0 = none"
    )

    @model_validator(mode="after")
    def _averages_need_tracks(self) -> TrackSettings:
        if self.average_frames and self.tracker == "none":
            raise ValueError(f"a tracker for average_frames = {self.average_frames}, as tracker = 'bytetrack'")
        return self


def _is_known(extractor: str) -> str:
    if extractor not in EXTRACTORS:
        *others, last = map(repr, EXTRACTORS)
        raise ValueError(f"{', '.join(others)} or {last}")
    return extractor


class FeatureSettings(Section):
    """What all extractors share, and below it a section per extractor: its own class, under its own name.

    These sections are no fields but checked against the registry, so that an extractor that a program registers has
    its settings here too.
    """

    model_config = ConfigDict(extra="allow")

    extractors: tuple[Annotated[str, AfterValidator(_is_known)], ...] = Field(
        ("velocity", "geometry", "descriptor"),
        description="features, each one stream with a density of its own; per box: "
        f"{', '.join(name for name, spec in EXTRACTORS.items() if spec.object_centric)}; per frame: "
        f"{', '.join(name for name, spec in EXTRACTORS.items() if not spec.object_centric)}",
    )
    imported: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")], ...] = Field(
        (), description="names of features made elsewhere and brought in by `mulde cache import`; streams as well"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="numbers inside networks; auto: bfloat16 on a GPU that has it, but for `backbone`, which suffers, "
        "else float32",
    )
    batch_size: int = Field(
        64, ge=1, le=65536, description="most crops, frames or clips that a network sees at once; halved where memory "
        "runs out"
    )  # fmt: skip
    flow: FlowSettings = FlowSettings()

    def of(self, extractor: str) -> Section:
        """The settings of an extractor. Raises UsageError for one that this process does not know."""
        spec = known_extractor(extractor)
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
        assert extra is not None  # as extra="allow" has it
        given = dict(extra)
        extra.clear()  # and filled again in the order of the registry
        for name, kind in sections().items():
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
        InitErrorDetails(type=each["type"], loc=(section, *each["loc"]), input=each["input"], ctx=each.get("ctx", {}))
        for each in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(section, details)


class DensitySettings(Section):
    method: Literal["mulde", "msma", "mixture", "neighbours", "mahalanobis"] = Field(
        "mulde", description="density, or yardstick, of each stream"
    )
    preset: Literal["fast", "paper"] = Field("fast", description="sizes of mulde: fast trains in minutes on 2 cores")
    options: dict[str, Any] = Field({}, description="constructor options of the method that differ from the preset")

    @field_validator("options")
    @classmethod
    def _plain_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("finite numbers, text, true, false and lists of these") from None
        return options


class FusionSettings(Section):
    folds: int = Field(
        4,
        ge=1,
        le=100,
        description="parts of the training videos, each of which is held out once: a model per fold, scores are their "
        "mean; all of the normal video then sets the scale and the alarm level. 1 = one model, a share held out",
    )
    heldout_share: float = Field(
        0.25, gt=0, lt=1, description="with folds = 1: share of the training videos kept for calibration"
    )
    only_high: tuple[Text, ...] = Field(
        (),
        description="streams of which only high values count, as the speed of objects: before rows are scored, values "
        "below the median of the normal ones are raised to it",
    )
    combine: Literal["sum", "max"] = Field(
        "sum", description="how the surprises, sqrt(-2 log p), of a frame's streams become one score"
    )
    smoothing_s: float = Field(0.5, ge=0, le=60, description="sigma of the Gaussian smoothing in time, seconds")


class AlarmSettings(Section):
    false_alarms_per_hour: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="of normal video, for which the alarm level is set on held-out normal video; refused where that is "
        "too short to support it; 0 = one, or as few as it supports",
    )
    merge_gap_s: float = Field(1.0, ge=0, le=3600, description="alarms at most this far apart are one event, seconds")
    min_length_s: float = Field(0.0, ge=0, le=3600, description="shorter events are no alarms, seconds")


class ReasonSettings(Section):
    normal_moments: int = Field(
        3000,
        ge=0,
        le=1_000_000,
        description="moments of the training videos that are kept beside a model, with pictures, so that events can be "
        "compared with them; 0 = none",
    )
    nearest: int = Field(3, ge=0, le=100, description="most similar normal moments that an event names")


class RunSettings(Section):
    source: Text = Field("", description="for `mulde run`: NAME:ROOT of a data set, or a folder with train/ and test/")
    out: PathText = Field("", description="run folder to write; empty: runs/<name of the source>")
    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = Field(
        (0,), min_length=1, description="one model per seed; several give mean and spread"
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
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _only_high_streams_exist(self) -> Settings:
        streams = {*self.features.extractors, *self.features.imported}
        if unknown := sorted(set(self.fusion.only_high) - streams):
            raise ValueError(f"fusion.only_high with streams of features.extractors, {unknown[0]!r} is none of them")
        return self
