"""`mulde cache import`: features made by other programs, checked against their videos and kept in the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.sources import open_sources
from mulde.errors import Failure, MuldeError, StoreError, UsageError, VideoError, sentence
from mulde.media import Snapshot
from mulde.names import on_disk, output_path, valid_text
from mulde.pipeline.extraction.export_features import plan_for
from mulde.pipeline.extraction.feature_files import read_features
from mulde.pipeline.extraction.plan import ExtractionPlan, decoder_facts
from mulde.pipeline.extraction.tables import Undecoded
from mulde.pipeline.outcome import Outcome
from mulde.progress import Reporter
from mulde.records import FeatureTable, Int64
from mulde.store import store as tables
from mulde.store.catalogue import note
from mulde.store.imported import PREFIX, imported_passport
from mulde.store.store import FeatureStore, Passport

_ROW_GROUP_BYTES = 2**26


def run_import(
    sources: Sequence[str],
    settings: Settings,
    name: str,
    folder: Path,
    store: Path,
    reporter: Reporter,
    *,
    replace: bool = False,
) -> Outcome:
    """Bring `<folder>/<video>.npy` or `.npz` of every video into the store, as the features `name`.

    .npy: (N, D) numbers, one row per frame of the video, or beside it `<video>.frames.npy` (N,) with the frame of each
    row, or `<video>.csv` with a column frame_index and, for rows of boxes, x0, y0, x1, y1 in pixels. .npz: `values`,
    and where needed `frame_index` and `boxes` (N, 4). One bad video never stops the others.
    """
    if not folder.is_dir():
        raise UsageError(f"--from {folder}", expected="a folder with <video>.npy or <video>.npz")
    plan, _ = plan_for(settings, f"{PREFIX}{name}")
    opened = open_sources(sources)
    opened.report(reporter)
    videos = opened.videos
    features, dims = FeatureStore(store), dict[int, str]()
    features.require_folder()
    outcome = bring_in_each(
        videos, lambda video: _bring_in(video, plan, name, folder, features, dims, reporter, replace=replace), reporter
    )
    if outcome.done:
        usage = f"--set 'features.imported=[\"{name}\"]'"
        reporter.say(f"{outcome.done} videos with {next(iter(dims))} numbers per row; use them with {usage}")
    return outcome


def bring_in_each(videos: Sequence[Video], bring_in: Callable[[Video], None], reporter: Reporter) -> Outcome:
    """Call `bring_in` for every video; what fails for one is reported and stops no other, but for UsageError."""
    outcome = Outcome()
    with reporter.bar("import", len(videos), "videos") as advance:
        for video in videos:
            try:
                bring_in(video)
                outcome.done += 1
            except UsageError:
                raise
            except (MuldeError, OSError) as problem:
                error = sentence(problem, video.path)
                outcome.failures.append(Failure(video.name, str(error)))
                reporter.warn(f"{video.name}: {error}")
            advance(1)
    return outcome


def _bring_in(
    video: Video,
    plan: ExtractionPlan,
    name: str,
    folder: Path,
    store: FeatureStore,
    dims: dict[int, str],
    reporter: Reporter,
    *,
    replace: bool,
) -> None:
    """Store the features of one video. dims: the number of columns of the first one, and the name of its video."""
    source, snapshot = find_file(video, folder, (".npy", ".npz"), "features"), Snapshot(video.path)
    sha256 = snapshot.sha256
    passport = imported_passport(name, sha256)
    with store.lock(sha256, lambda: reporter.say(f"{video.name}: another process is working on it, waiting")):
        if is_sound(passport, store, reporter) and not replace:
            raise MuldeError(f"features {name} of this video are in the store already", hint="--replace")
        read = Snapshot(source)
        table = read_features(source, frames_of(video, snapshot, plan, store, reporter))
        read.check_content()
        first = next(iter(dims), table.dim)
        if table.dim != first:
            raise MuldeError(f"{source}", expected=f"rows of {first} numbers as for {dims[first]}", got=f"{table.dim}")
        dims.setdefault(first, video.name)
        _write(table, read, passport, store)
    note(store.root, sha256, dataset=video.dataset, video=video.name, path=video.path)


def find_file(video: Video, folder: Path, suffixes: Sequence[str], what: str) -> Path:
    """The one file with `what` of a video, `<folder>/<video><suffix>`. Raises MuldeError for none and for several."""
    plain = [folder / f"{video.name}{suffix}" for suffix in suffixes]
    cut = [output_path(folder, video.name, suffix) for suffix in suffixes]
    files = [path for path in dict.fromkeys(map(on_disk, plain + cut)) if os.path.isfile(path)]
    if len(files) != 1:
        got = "nothing" if not files else " and ".join(path.name for path in files)
        expected = " or ".join([str(plain[0]), *(path.name for path in plain[1:])])
        raise MuldeError(f"{what} of this video", expected=expected, got=got)
    return files[0]


def is_sound(passport: Passport, store: FeatureStore, reporter: Reporter) -> bool:
    """Whether the store has a table and can read it; a damaged one is a warning."""
    try:
        if passport in store:
            store.check(passport)
            return True
    except StoreError as error:
        reporter.warn(f"{error.problem}; it is recomputed")
    return False


def frames_of(video: Video, snapshot: Snapshot, plan: ExtractionPlan, store: FeatureStore, reporter: Reporter) -> Int64:
    """Frame indices (T,) of the video, from the store or, once, by decoding it. Raises SourceError, and stores nothing,
    if the video differs from the snapshot."""
    with plan.open(video) as reader:
        passport = plan.passports(snapshot.sha256, decoder_facts(reader, plan.video))["frames"]
        if not is_sound(passport, store, reporter):
            notes: dict[str, Any] = {}
            with store.writer(passport, tables.FRAMES_SCHEMA, notes) as append:
                for frames in reader:
                    append(tables.frames_to_arrow(frames.frame_index, frames.time_s))
                if not reader.num_frames_decoded:
                    raise VideoError(f"no frame of {video.path} could be decoded")
                snapshot.check_content()
                notes.update(Undecoded.from_reader(reader).as_notes())
    return tables.frames_from_arrow(store.read(passport))[0]


def _write(table: FeatureTable, source: Snapshot, passport: Passport, store: FeatureStore) -> None:
    """Store the table. Its file also records where it came from, which is not part of its key."""
    arrow = tables.features_to_arrow(table)
    origin = {"mulde.source": valid_text(str(source.path.resolve())), "mulde.source_sha256": source.sha256}
    num_rows = max(_ROW_GROUP_BYTES // (4 * table.dim), 1)
    with store.writer(passport, arrow.schema.with_metadata(origin)) as append:
        for start in range(0, max(len(table), 1), num_rows):
            append(arrow.slice(start, num_rows))
