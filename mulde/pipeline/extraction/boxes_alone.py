"""Videos of boxes alone: the settings that fit them, and what is said of their boxes."""

from __future__ import annotations

from collections.abc import Sequence

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.boxes.formats import changes_text
from mulde.errors import UsageError
from mulde.extractors.given import IMPORTED
from mulde.extractors.registry import known_extractor
from mulde.pipeline.extraction.given_boxes import CHANGES
from mulde.pipeline.extraction.video import StoredVideo
from mulde.progress import Reporter


def settings_without_pixels(videos: Sequence[Video], settings: Settings, reporter: Reporter) -> Settings:
    """The settings with which the videos can be worked on: of boxes alone, what needs pixels is left out, and said.

    Raises UsageError where nothing is left, and for such videos among others with settings that need pixels.
    """
    alone = [video for video in videos if video.boxes is not None]
    if not alone or (IMPORTED in settings.regions.finders and len(alone) < len(videos)):
        return settings
    if len(alone) < len(videos):
        got = f"{len(alone)} of boxes alone and {len(videos) - len(alone)} with pixels"
        raise UsageError("videos of one command", expected="all of one kind", got=got, hint="a command for each kind")
    if settings.video.working_size_px:
        raise UsageError(
            "setting video.working_size_px has no effect", expected="videos with pixels", got="boxes alone"
        )
    extractors = settings.features.extractors
    left = tuple(name for name in extractors if not known_extractor(name).needs_pixels)
    if not (left or settings.features.imported):
        got = f"{', '.join(extractors)}, which need pixels"
        raise UsageError(
            "videos of boxes alone", expected="a feature that needs none", got=got,
            hint="""--set 'features.extractors=["geometry"]'""",
        )  # fmt: skip
    changes = settings.model_dump(mode="json")
    out = [name for name in extractors if name not in left]
    changes["features"]["extractors"] = left
    changes["fusion"]["only_high"] = [name for name in settings.fusion.only_high if name not in out]
    changes["density"]["streams"] = {k: v for k, v in changes["density"]["streams"].items() if k not in out}
    if left:
        changes["regions"]["finders"] = [IMPORTED]
        if settings.tracks.tracker == "none":
            changes["tracks"]["tracker"] = IMPORTED
    changed = Settings.model_validate(changes)
    whose = "tracks are" if changed.tracks.tracker == IMPORTED else "boxes are"
    without = f"; left out, as they need pixels: {', '.join(out)}" if out else ""
    reporter.say(f"videos of boxes alone: their {whose} those of their files{without}")
    return changed


def say_changes(videos: Sequence[StoredVideo], reporter: Reporter) -> None:
    """Say in one line what was changed of the boxes of the videos when they were read."""
    notes = [
        stored.store.footer(stored.passports["regions"]).notes.get(CHANGES)
        for stored in videos
        if stored.video.boxes is not None and "regions" in stored.passports
    ]
    if text := changes_text(note for note in notes if isinstance(note, dict)):
        reporter.say(text)


def check_pixels(videos: Sequence[Video], what: str) -> None:
    """Raises UsageError where `what` is asked for and a video has no pixels to draw on."""
    if alone := [video.name for video in videos if video.boxes is not None]:
        raise UsageError(f"{what} of {alone[0]}", expected="a video with pixels", got="a video of boxes alone")
