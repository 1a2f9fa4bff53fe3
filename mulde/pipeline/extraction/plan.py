"""What is computed for every video: finders, tracker, extractors, and the passports of their tables in the store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from mulde.config import Settings, VideoSettings
from mulde.datasets.base import Origin, Video
from mulde.devices import choose_threads
from mulde.errors import UsageError
from mulde.extractors.base import Extractor, TrackExtractor, TrainedExtractor
from mulde.extractors.class_names import class_names, shown
from mulde.extractors.detector import YoloRegions
from mulde.extractors.finders import UnitedRegions
from mulde.extractors.given import IMPORTED, GivenTracks
from mulde.extractors.registry import known_extractor
from mulde.extractors.spec import Machine
from mulde.extractors.tracks import Tracker
from mulde.media import BoxesReader, Conversion, ConvertedReader, VideoReader, open_video
from mulde.pipeline.extraction.registry import build_extractors, build_regions, build_tracker
from mulde.pipeline.model.world import Match, World, match
from mulde.records import Regions, UInt8, Window
from mulde.store import store as tables
from mulde.store.imported import imported_boxes, imported_passport
from mulde.store.store import Passport

_MAX_WINDOW_BYTES = 2**26
"""Pictures in the core of a window; large frames come in smaller windows, so that memory stays bounded."""


class ExtractionPlan:
    """Region finders, tracker and extractors of one configuration, built once and used for every video.

    `threads` windows are processed in parallel, each on one core; 0 chooses the number. `world`: the training footage
    of the model that will score the videos, to which they are matched; None leaves them as they are. without: streams
    that are not computed. Raises UsageError for an extractor that needs tracks without a tracker.
    """

    def __init__(
        self,
        settings: Settings,
        device: str,
        threads: int = 0,
        world: World | None = None,
        without: Set[str] = frozenset(),
    ) -> None:
        self.settings, self.device, self.threads = settings, device, threads or choose_threads(device)
        self.world = world
        self.video: VideoSettings = settings.video
        machine = Machine(device, self.threads)
        built = build_extractors(settings.features, machine, without)
        self.extractors: list[Extractor] = [e for e in built if not isinstance(e, TrackExtractor)]
        self.track_extractors: list[TrackExtractor] = [e for e in built if isinstance(e, TrackExtractor)]
        self.imported = settings.features.imported
        if self.video.analysis_fps and (self.imported or IMPORTED in settings.regions.finders):
            raise UsageError(
                "video.analysis_fps", expected="0, as features or boxes that were imported are those of every frame",
                got=self.video.analysis_fps,
            )  # fmt: skip
        is_object_centric = any(e.object_centric for e in built)
        self.regions: UnitedRegions | None = None
        self.tracker: Tracker | GivenTracks | None = None
        if is_object_centric:
            self.regions = build_regions(settings.regions, machine)
            self.tracker = build_tracker(settings.tracks)
        if self.track_extractors and self.tracker is None:
            raise UsageError(
                f"{self.track_extractors[0].name} in features.extractors",
                expected="a tracker",
                got="tracks.tracker = 'none'",
                hint="--set tracks.tracker=bytetrack",
            )
        self.before = max([e.before for e in self.extractors] + [self.regions.before if self.regions else 0])
        self.after = max([e.after for e in self.extractors], default=0)

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the features, each of which gets a density of its own."""
        return self.settings.features.extractors + self.imported

    @property
    def derived(self) -> set[str]:
        """The kinds of tables that are made from other tables once the video has been read."""
        return {"tracks", *(e.name for e in self.track_extractors)}

    @property
    def takes_given_boxes(self) -> bool:
        """Whether its boxes were made elsewhere."""
        return self.regions is not None and IMPORTED in self.settings.regions.finders

    def fingerprint(self) -> dict[str, Any]:
        """What made the features, apart from the video: the part of the passports that a model must share."""
        extractors: list[Extractor | TrackExtractor] = [*self.extractors, *self.track_extractors]
        made: dict[str, Any] = {
            "decoder": self.video.decoder,
            "regions": self.regions.fingerprint() if self.regions else None,
            "extractors": {e.name: e.fingerprint() for e in extractors},
        }
        if self.video.working_size_px:
            made["working_size_px"] = self.video.working_size_px
        if self.video.analysis_fps:
            made["analysis_fps"] = self.video.analysis_fps
        if self.imported:
            made["imported"] = list(self.imported)
        if self.tracker and (self.track_extractors or self.settings.tracks.average_frames):
            made["tracks"] = {**self.tracker.fingerprint(), "average_frames": self.settings.tracks.average_frames}
        return made

    def class_names(self) -> dict[int, str]:
        """The names of the detector's classes by number; none without a detector, of imported boxes that of class 0.
        Weights that are not official are loaded for it."""
        if self.regions is None:
            return {}
        if self.takes_given_boxes:
            return {0: "person"}
        for finder in self.regions.finders:
            if isinstance(finder, YoloRegions):
                names = class_names(finder.network.weights) or finder.network.names
                return {number: shown(name) for number, name in names.items() if number < 10_000}
        return {}

    def open(self, video: Video) -> VideoReader:
        """A reader of the video by the settings, whose batches are the cores of the windows. Raises UsageError for a
        video of boxes alone where pixels are needed, and for one with pixels where nothing names its boxes."""
        self._check_source(video)
        reader = open_with(video, self.video, self.video.working_size_px)
        reader.options = replace(reader.options, batch_size=self.window_frames(reader.size_hw))
        return reader

    def _check_source(self, video: Video) -> None:
        if video.boxes is None and self.takes_given_boxes and not self.settings.regions.imported:
            raise UsageError(
                f"{video.name} is a video with pixels, and its boxes are to be imported ones",
                expected="their name as regions.imported",
                hint="mulde cache import --boxes",
            )
        needing = [e.name for e in self.extractors if known_extractor(e.name).needs_pixels]
        if video.boxes is None or (not needing and (self.regions is None or self.takes_given_boxes)):
            return
        finders = [] if self.takes_given_boxes else [f"the finders {' and '.join(self.settings.regions.finders)}"]
        raise UsageError(
            f"{video.name} is a video of boxes alone",
            expected='features without pixels, as geometry, and regions.finders=["imported"]',
            got=" and ".join([*needing, *finders]),
        )

    def match(self, video: Video, reader: VideoReader) -> Match:
        """How the video of `reader` is converted to what the model learnt, and thinned to the frames that are looked
        at. Raises VideoError if that is refused."""
        return match(
            self.world or World(),
            video.path,
            reader.size_hw,
            reader.steady_rate,
            self.video.match_training,
            rate_is_known=known_rate(video, reader, self.video) is not None,
            imported=bool(self.imported) or self.takes_given_boxes,
            analysis_fps=self.video.analysis_fps,
        )

    def converted(self, reader: VideoReader, match: Match) -> VideoReader:
        """An opened reader whose frames are converted by a match, in batches like those of `open`."""
        if match.conversion is None:
            return reader
        converted = ConvertedReader(reader, match.conversion)
        converted.options = replace(reader.options, batch_size=self.window_frames(converted.size_hw))
        return converted

    def window_frames(self, size_hw: tuple[int, int]) -> int:
        """How many frames of this size are described together."""
        return max(1, min(self.video.batch_frames, _MAX_WINDOW_BYTES // (3 * math.prod(size_hw))))

    def passports(
        self,
        sha256: str,
        decoder: dict[str, Any],
        conversion: Conversion | None = None,
        boxes_sha256: str | None = None,
    ) -> dict[str, Passport]:
        """Passport of each file that one video needs, by kind, without imported features. The frames are those of the
        source, so a conversion is not in their passport. boxes_sha256: of the boxes that were imported for it."""
        made = {"frames": Passport("frames", sha256, {"decoder": decoder})}
        if conversion is not None:
            decoder = {**decoder, "conversion": conversion.facts()}
        regions = self.regions.fingerprint() if self.regions else None
        if self.takes_given_boxes:
            regions = {"finders": [{"finder": IMPORTED, "version": 1}]}
        if boxes_sha256 is not None:
            regions = {"finders": [{"finder": IMPORTED, "version": 1, "boxes_sha256": boxes_sha256}]}
        if regions is not None:
            made["regions"] = Passport("regions", sha256, {"decoder": decoder, "regions": regions})
        if self.tracker is not None:
            tracks = {"decoder": decoder, "regions": regions, "tracks": self.tracker.fingerprint()}
            made["tracks"] = Passport("tracks", sha256, tracks)
        for e in self.extractors:
            made_by = {
                "decoder": decoder,
                "regions": regions if e.object_centric else None,
                "extractor": e.fingerprint(),
            }
            made[e.name] = Passport(e.name, sha256, made_by)
        for of_tracks in self.track_extractors:
            made_by = {**made["tracks"].made_by, "extractor": of_tracks.fingerprint()}
            made[of_tracks.name] = Passport(of_tracks.name, sha256, made_by)
        if boxes_sha256 is not None:
            given = imported_boxes(self.settings.regions.imported, sha256, self.video.working_size_px)
            made |= {kind: passport for kind, passport in given.items() if kind == "regions"}
            if isinstance(self.tracker, GivenTracks):
                made["tracks"] = given["tracks"]
        return made

    def imported_passports(self, sha256: str) -> dict[str, Passport]:
        """Passport of each table of imported features, by the name of its stream."""
        return {name: imported_passport(name, sha256) for name in self.imported}

    def describe(
        self, window: Window, known: Regions | None, kinds: Mapping[str, Passport], origin: Origin
    ) -> dict[str, pa.Table]:
        """The rows of each kind for the core of a window of a video. known: its regions, if the store has them; origin:
        of its frames."""
        frames, core = window.frames, slice(window.first, window.last)
        regions = known
        if regions is None:
            regions = self.regions.find(window) if self.regions else Regions.empty()
        described = {}
        if "frames" in kinds:
            described["frames"] = tables.frames_to_arrow(frames.frame_index[core], frames.time_s[core])
        if "regions" in kinds:
            described["regions"] = tables.regions_to_arrow(regions)
        for e in self.extractors:
            if e.name in kinds:
                mine = e.for_video(*origin) if isinstance(e, TrainedExtractor) else e
                described[e.name] = tables.features_to_arrow(mine.extract(window, regions))
        return described


def open_with(video: Video, settings: VideoSettings, working_size_px: int = 0) -> VideoReader:
    """A reader of the video by the settings; its frames have their own size unless `working_size_px` shrinks them."""
    rate = video.frame_rate or Fraction(settings.frame_rate).limit_denominator(100_000)
    return open_video(
        video.path,
        decoder=settings.decoder,
        frame_rate=rate,
        working_size_px=working_size_px,
        stream=settings.stream,
        boxes=video.boxes,
    )


def known_rate(video: Video, reader: VideoReader, settings: VideoSettings) -> Fraction | None:
    """A video's steady rate if the video, its data set or the user names one; None for a default, and for a single
    picture."""
    if reader.num_frames_from_header == 1:
        return None
    is_default = settings.frame_rate == type(settings)().frame_rate
    is_known = reader.decoder != "frames" or video.frame_rate is not None or not is_default
    return reader.steady_rate if is_known else None


def decoder_facts(reader: VideoReader, video: VideoSettings) -> dict[str, Any]:
    """The facts of the reading that change the pictures: part of every passport."""
    facts = {"name": reader.decoder, "version": reader.decoder_version}
    if isinstance(reader, BoxesReader):
        return {**facts, **reader.facts()}
    if reader.decoder == "frames" or reader.times_follow_rate:
        facts["frame_rate"] = str(reader.rate)
    if video.working_size_px:
        facts["working_size_px"] = str(video.working_size_px)
    if video.stream != "auto" and reader.decoder != "frames":
        facts["stream"] = str(video.stream)
    return facts


def wanted_frames(video: Video, plan: ExtractionPlan, wanted: Iterable[int]) -> Iterator[tuple[int, UInt8]]:
    """The wanted frames of a video in order, each once, as index and (H, W, 3) RGB. Frames that the video does not have
    are skipped, and nothing after the last one is decoded; a video of boxes alone has no pictures. Raises VideoError
    if it cannot be opened."""
    left = sorted(wanted)
    if not left or video.boxes is not None:
        return
    with plan.open(video) as source:
        conversion = plan.match(video, source).conversion
        reader = plan.converted(source, Match(conversion and replace(conversion, every=1)))
        for batch in reader:
            for frame in np.intersect1d(left, batch.frame_index):
                yield int(frame), batch.images[int(np.searchsorted(batch.frame_index, frame))]
            if batch.frame_index[-1] >= left[-1]:
                return
