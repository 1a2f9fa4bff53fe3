"""`mulde.extract`: the features of videos as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulde.api.calls import AnyPath, SettingsLike, Source, as_settings, as_sources, reporting, require_some, working
from mulde.datasets.sources import open_sources
from mulde.pipeline.extraction.boxes_alone import settings_without_pixels
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import StoredVideo
from mulde.store.store import BOX_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def extract(
    source: Source,
    *,
    detector: AnyPath | None = None,
    settings: SettingsLike = None,
    store: AnyPath | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute the features of videos, as tables.

    Args:
        source: A video, a folder of frames, a folder of videos, `"NAME:ROOT"` for a data set, or a list of these.
        detector: Weights of an object detector, as for `train`. None: moving regions alone.
        settings: Settings by name, or the path of a TOML file, as for `train`.
        store: Folder where features are kept and found again. None: a temporary one, removed afterwards.
        device: `"cpu"`, `"cuda"`, `"cuda:1"` ..., or `"auto"`.
        progress: Whether to show progress. None: on a terminal and in a notebook.

    Returns:
        A table for each extractor, by its name. A row is an object in a frame or, of features of whole frames, a frame:
        `video`, `frame_index` (0-based), `time_s` (seconds from the start); for objects the box `x0`, `y0`, `x1`, `y1`
        in pixels of the frames as they were worked on, and `track_id` where a tracker runs (-1: on no track); then the
        features, `f0`, `f1`, ... (float32).

    Raises:
        mulde.errors.MuldeError: A source, a setting or every one of the videos cannot be used; one sentence says why.

    Examples:
        >>> tables = mulde.extract("door.mp4", store="features")
        >>> tables["velocity"].filter(like="f").mean()
    """
    chosen = as_settings("extract", settings, detector)
    with reporting(progress) as reporter, working(store, device, reporter) as session:
        opened = open_sources(as_sources(source))
        opened.report(reporter)
        chosen = settings_without_pixels(opened.videos, chosen, reporter)
        extraction = session.extract(opened.videos, plan := ExtractionPlan(chosen, session.device))
        require_some(len(extraction.done), [*opened.failures, *extraction.failures])
        return {name: _table(name, extraction.done) for name in plan.streams}


def _table(name: str, videos: list[StoredVideo]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    parts = []
    for stored in videos:
        table = stored.features(name)
        rows = np.searchsorted(stored.frame_index, table.frame_index)
        boxes = {} if table.box_xyxy is None else dict(zip(BOX_COLUMNS, table.box_xyxy.T, strict=True))
        tracks = {} if table.track_id is None else {"track_id": table.track_id}
        known = {"video": stored.video.name, "frame_index": table.frame_index, "time_s": stored.time_s[rows]}
        values = {f"f{i}": column for i, column in enumerate(table.values.T)}
        parts.append(pd.DataFrame({**known, **boxes, **tracks, **values}))
    return pd.concat(parts, ignore_index=True)
