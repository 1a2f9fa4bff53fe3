"""`mulde cache import --boxes`: boxes and tracks of other programs for videos that are at hand, kept in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.boxes.formats import SUFFIXES, GivenBoxes, changes_text, read_boxes
from mulde.datasets.sources import open_sources
from mulde.digests import fingerprint
from mulde.errors import MuldeError, RecordError, UsageError
from mulde.extractors.given import IMPORTED
from mulde.filetypes import suffix_of
from mulde.media import Snapshot
from mulde.names import valid_text
from mulde.pipeline.extraction.given_boxes import DIGEST, write_given
from mulde.pipeline.extraction.import_features import bring_in_each, find_file, frames_of, is_sound
from mulde.pipeline.extraction.plan import ExtractionPlan, open_with
from mulde.pipeline.outcome import Outcome
from mulde.progress import Reporter
from mulde.records import BoxesAlone, Int64, Regions
from mulde.settings_file import load_settings
from mulde.store.catalogue import note
from mulde.store.imported import imported_boxes
from mulde.store.store import FeatureStore


def run_import_boxes(
    sources: Sequence[str],
    settings: Settings,
    name: str,
    boxes: Path,
    first_frame: int | None,
    store: Path,
    reporter: Reporter,
    *,
    replace: bool = False,
) -> Outcome:
    """Bring the boxes of every video into the store under `name`: of `<boxes>/<video>.txt`, `.json` or `.parquet`, or
    of the file `boxes` where there is one video.

    first_frame: the number that the files give to the first frame, 0 or 1; None is 0 for Parquet, and refused for
    others. Boxes are in pixels of the original frames. One bad video never stops the others.
    """
    if not boxes.exists():
        raise UsageError(f"--boxes {boxes}", expected=f"a folder with <video>{' or '.join(SUFFIXES)}, or such a file")
    changes = [f'regions.finders=["{IMPORTED}"]', f"regions.imported={name!r}", 'features.extractors=["geometry"]']
    plan = ExtractionPlan(load_settings(overrides=changes, base=settings), "cpu")
    opened = open_sources(sources)
    opened.report(reporter)
    videos = opened.videos
    if boxes.is_file() and len(videos) > 1:
        raise UsageError(f"--boxes {boxes}", expected=f"a folder, for {len(videos)} videos", got="a file")
    features, imported = FeatureStore(store), list[GivenBoxes]()
    features.require_folder()

    def bring_in(video: Video) -> None:
        imported.append(_bring_in(video, plan, boxes, first_frame, features, reporter, replace=replace))

    outcome = bring_in_each(videos, bring_in, reporter)
    _say(imported, name, reporter)
    return outcome


def _say(imported: Sequence[GivenBoxes], name: str, reporter: Reporter) -> None:
    if not imported:
        return
    if text := changes_text(given.changes for given in imported):
        reporter.say(text)
    with_tracks = sum(bool((given.track_id >= 0).any()) for given in imported)
    use = [f"""--set 'regions.finders=["{IMPORTED}"]' --set regions.imported={name}"""]
    use += [f"--set tracks.tracker={IMPORTED}"] if with_tracks else []
    num_boxes = sum(len(given.regions) for given in imported)
    what = f"{len(imported)} videos with {num_boxes:,} boxes, {with_tracks} of them with tracks"
    reporter.say(f"{what}; use them with {' '.join(use)}")


def _bring_in(
    video: Video,
    plan: ExtractionPlan,
    boxes: Path,
    first_frame: int | None,
    store: FeatureStore,
    reporter: Reporter,
    *,
    replace: bool,
) -> GivenBoxes:
    """Store the boxes of one video."""
    if video.boxes is not None:
        raise UsageError(f"{video.name} is a video of boxes alone", expected="a video with pixels")
    source = boxes if boxes.is_file() else find_file(video, boxes, SUFFIXES, "boxes")
    name, snapshot = plan.settings.regions.imported, Snapshot(video.path)
    sha256 = snapshot.sha256
    passports = imported_boxes(name, sha256, plan.video.working_size_px)
    with store.lock(sha256, lambda: reporter.say(f"{video.name}: another process is working on it, waiting")):
        if is_sound(passports["regions"], store, reporter) and not replace:
            raise MuldeError(f"boxes {name!r} of this video are in the store already", hint="--replace")
        read = Snapshot(source)
        frame_index = frames_of(video, snapshot, plan, store, reporter)
        facts, scale = _facts(video, plan, int(frame_index[-1]) + 1, _first_frame(source, first_frame))
        given = _in_frames(read_boxes(source, facts), frame_index, scale)
        read.check_content()
        digest = fingerprint({"sha256": read.sha256, "first_frame": facts.first_frame})
        notes = {DIGEST: digest, "source": valid_text(str(source.resolve())), "source_sha256": read.sha256}
        write_given(given, passports, store, notes)
    note(store.root, sha256, dataset=video.dataset, video=video.name, path=video.path)
    return given


def _first_frame(source: Path, stated: int | None) -> int:
    if stated is None and suffix_of(source.name) != ".parquet":
        raise UsageError(
            f"{source}", expected="--first-frame 0 or 1, the number that it gives to the first frame",
            hint="1 for files by the rules of MOTChallenge; many programs write 0",
        )  # fmt: skip
    return stated or 0


def _facts(video: Video, plan: ExtractionPlan, num_frames: int, first_frame: int) -> tuple[BoxesAlone, float]:
    """What the boxes are those of, and by how much the frames are scaled that features are computed on."""
    with open_with(video, plan.video) as original, plan.open(video) as worked_on:
        size_hw, rate = original.size_hw, original.rate
        scale = max(worked_on.size_hw) / max(size_hw)
    try:
        return BoxesAlone(size_hw, num_frames, rate, first_frame), scale
    except RecordError as error:
        raise MuldeError(f"{video.path}: {error.problem}", expected=error.expected, got=error.got) from None


def _in_frames(given: GivenBoxes, frame_index: Int64, scale: float) -> GivenBoxes:
    """The boxes in frames that could be decoded, frame_index (T,), in pixels of the frames that are worked on."""
    rows = np.flatnonzero(np.isin(given.regions.frame_index, frame_index))
    changes: Mapping[str, int] = given.changes
    if len(rows) < len(given.regions):
        changes = {**changes, "undecoded": len(given.regions) - len(rows)}
    kept = given.regions.select(rows)
    scaled = kept if scale == 1 else Regions(
        (kept.box_xyxy * np.float32(scale)), kept.frame_index, kept.confidence, kept.class_id
    )  # fmt: skip
    return GivenBoxes(scaled, given.track_id[rows], changes)
