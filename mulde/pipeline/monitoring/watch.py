"""A folder that video files arrive in: each is scored once when it is complete.

Looked at again and again, because drives on a network tell nobody of a new file. What a file came to is in the ledger
(ledger.py); a file is finished there only when its scores and events are written, and to write them again changes
nothing: so the process may be killed at any moment.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.left_out import LeftOut, Reason, in_words
from mulde.datasets.sources import absolute_source
from mulde.datasets.tree import walk
from mulde.errors import Failure, MuldeError, UsageError, VideoError
from mulde.events import Event, by_likelihood
from mulde.filetypes import suffix_of
from mulde.media import content_hash
from mulde.pipeline.extraction.engine import Extraction, unexpected
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.monitoring import ledger as ledgers
from mulde.pipeline.monitoring.ledger import Ledger, LedgerEntry, Scored, Stamp
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.predictor.scorer import ScoreOptions, Scorer
from mulde.pipeline.run_claim import claim
from mulde.pipeline.run_folder import LEDGER, RECORD, RunFolder, read_record
from mulde.progress import Advance, Reporter
from mulde.records import ScoredVideo
from mulde.store.store import lacks_locks

LOCK_FILE = ".watch.lock"
_MAX_PAUSE_S = 3600.0
_MAX_SETTLES = 10
"""With `once`, a file that is still growing after so many times `settle_s` is left for another time."""
_EXPORT_S = 60.0
_BATCH_FILES, _BATCH_BYTES = 16, 2**26
_OWN_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""Of the disk that scores are written to: no file is to blame."""


@dataclass(frozen=True)
class WatchOptions:
    """every_s: between two looks at the folder; settle_s: how long a file must stay as it is to be complete; tries: how
    often a file that fails is tried; once: end when the files that are there at the start are done."""

    every_s: float
    settle_s: float
    tries: int
    once: bool = False


class VideoProcessor(Protocol):
    """Who brings features of videos into the store, and scores them. What either raises ends the watching."""

    def extract(self, videos: Sequence[Video]) -> Extraction: ...

    def score(self, stored: Sequence[StoredVideo]) -> Mapping[str, Scored | Failure]:
        """By the names of the videos; says itself what failed."""
        ...

    def gather(self) -> None:
        """Bring the tables of the run folder up to date; of a process that was killed, too."""
        ...


@dataclass(frozen=True)
class _Arrival:
    """A file that is not settled: since when it has its stamp, since when it is known, and when it may be tried."""

    stamp: Stamp
    since: float
    first_seen: float
    not_before: float = 0.0


@dataclass(frozen=True)
class _Taken:
    path: str
    entry: LedgerEntry


@dataclass
class Watcher:
    """Looks at a folder and works on what is complete, oldest first. Times are those of `clock`, in seconds."""

    folder: Path
    ledger: Ledger
    worker: VideoProcessor
    patience: WatchOptions
    reporter: Reporter
    table: Path
    leave_out: tuple[Path, ...] = ()
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _arrivals: dict[str, _Arrival] = field(default_factory=dict)
    _first_look: frozenset[str] | None = None
    _blind: set[str] = field(default_factory=set)
    _said: set[tuple[Path, Reason, str]] | None = None

    def watch(self) -> Outcome:
        """Without end, or with `patience.once` until the files that are there now are scored or have failed."""
        for video in self.ledger.recover():
            self.reporter.say(f"{video}: was cut short, again")
        self._export()
        exported, changed = self.clock(), False
        try:
            with self.reporter.bar("watch", None, "files", waits=True) as advance:
                while True:
                    busy = self._round(advance)
                    changed |= busy
                    if changed and (not busy or self.clock() - exported >= _EXPORT_S):
                        self._export()
                        exported, changed = self.clock(), False
                    if busy:
                        continue
                    if self._first_look is not None and not self._unfinished():
                        return self._outcome(self._first_look)
                    self.sleep(self.patience.every_s)
        finally:
            self._export()

    def _export(self) -> None:
        self.worker.gather()
        self.ledger.export(self.table)

    def _round(self, advance: Advance) -> bool:
        """A look, and work for as long as it is fresh; whether there was any."""
        started, busy = self.clock(), False
        for batch in self.look(advance):
            busy |= self.work(batch, advance)
            if self.clock() - started >= self.patience.every_s:  # what came meanwhile may be older
                break
        return busy

    def look(self, advance: Advance) -> list[list[str]]:
        """The paths of the files that are complete and to be worked on now, in batches."""
        seen = self._files()
        if self.patience.once:
            self._first_look = frozenset(seen) if self._first_look is None else self._first_look
            seen = {path: stamp for path, stamp in seen.items() if path in self._first_look}
        settled, deaths, now = self.ledger.settled(), self.ledger.unfinished(), self.clock()
        if not self._blind:
            for removed in deaths.keys() - {ledgers.key(path) for path in seen}:
                self._gone(self.ledger.find(removed))
        fresh = {path: stamp for path, stamp in seen.items() if settled.get(ledgers.key(path)) != stamp}
        self._arrivals = {path: self._noticed(path, stamp, now) for path, stamp in fresh.items()}
        ready = {
            path: one.stamp
            for path, one in self._arrivals.items()
            if now - one.since >= self.patience.settle_s and now >= one.not_before
        }
        advance(0, status=f"{len(ready)} ready, {len(fresh) - len(ready)} growing or to be tried again")
        return _batches(ready, {path for path in ready if deaths.get(ledgers.key(path), 0) > 1})

    def work(self, paths: Sequence[str], advance: Advance) -> bool:
        """Take files in hand, unless they have changed since the look; whether any was."""
        unchanged = [path for path in paths if self._is_unchanged(path)]
        taken: list[_Taken] = []
        try:
            for path in unchanged:
                if not self._was_only_touched(path):
                    taken.append(_Taken(path, self.ledger.take(path, self._arrivals[path].stamp)))
            self._try(taken)
        except BaseException:
            for one in taken:
                self.ledger.put_back(one.entry)
            raise
        advance(len(taken))
        return bool(unchanged)

    def _is_unchanged(self, path: str) -> bool:
        return Stamp.of(self.folder / path) == self._arrivals[path].stamp

    def _was_only_touched(self, path: str) -> bool:
        """Whether a file was scored with the content that it has."""
        known = self.ledger.find(path)
        if known is None or known.state != ledgers.DONE:
            return False
        if _has_content(self.folder / path, known.sha256):
            self.ledger.touched(known, self._arrivals[path].stamp)
            return True
        self.reporter.say(f"{known.video}: new content, which replaces the old scores")
        return False

    def _try(self, taken: Sequence[_Taken]) -> None:
        dataset = self.folder.resolve().name
        extraction = self.worker.extract(
            [Video(one.entry.video, "all", self.folder / one.path, dataset=dataset) for one in taken]
        )
        outcomes: dict[str, Scored | Failure] = {failure.video: failure for failure in extraction.failures}
        whole = {one.entry.video for one in taken if self._is_unchanged(one.path)}
        if stored := [stored for stored in extraction.done if stored.video.name in whole]:
            outcomes |= self.worker.score(stored)
        for one in taken:
            outcome = outcomes.get(one.entry.video)
            if isinstance(outcome, Scored):
                self.ledger.done(one.entry, outcome, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
                self.reporter.say(f"{time.strftime('%H:%M:%S')} {one.entry.video}: {_in_words(outcome)}")
            elif outcome is None or not self._is_unchanged(one.path):
                self._was_changed(one.entry, self.folder / one.path)
            else:
                self._has_failed(one, outcome.reason)

    def _was_changed(self, entry: LedgerEntry, file: Path) -> None:
        if file.exists():
            self.ledger.put_back(entry)
            self.reporter.say(f"{entry.video}: changed while it was worked on, so again when it is complete")
        else:
            self._gone(entry)

    def _has_failed(self, one: _Taken, reason: str) -> None:
        entry, tries = one.entry, one.entry.tries + 1
        for_good = tries >= self.patience.tries
        self.ledger.failed(entry, reason, for_good=for_good)
        if for_good:
            self.reporter.warn(f"{entry.video}: left alone after {tries} tries, until the file changes")
            return
        pause_s = min(self.patience.every_s * 2**tries, _MAX_PAUSE_S)
        self._arrivals[one.path] = replace(self._arrivals[one.path], not_before=self.clock() + pause_s)
        self.reporter.say(f"{entry.video}: try {tries} of {self.patience.tries} failed, again in {pause_s:g} s")

    def _noticed(self, path: str, stamp: Stamp, now: float) -> _Arrival:
        before = self._arrivals.get(path)
        if before is None:
            return _Arrival(stamp, now, now)
        return before if before.stamp == stamp else _Arrival(stamp, now, before.first_seen)

    def _gone(self, entry: LedgerEntry | None) -> None:
        if entry is not None:
            self.ledger.gone(entry)
            self.reporter.say(f"{entry.video}: removed before it was scored")

    def _files(self) -> dict[str, Stamp]:
        """Every video file, by its path below the folder with forward slashes; what else is there is said once."""
        found, seen = walk(self.folder, self.leave_out), {}
        others = list(found.left_out)
        prefix = os.path.join(self.folder, "") if self.folder != Path() else ""  # relative_to takes thrice the time
        for video, path in found.videos:
            try:
                status = os.stat(path)
            except OSError:  # gone since its folder was listed
                continue
            if stat.S_ISDIR(status.st_mode):
                others.append(LeftOut(path, video, Reason.FRAMES))
            else:
                name = str(path).removeprefix(prefix).replace(os.sep, "/")
                seen[name] = Stamp(status.st_size, status.st_mtime_ns)
        self._say_left_out(others)
        self._say_unreadable({str(one.path): one.detail for one in found.unreadable})
        return seen

    def _say_left_out(self, left_out: Sequence[LeftOut]) -> None:
        """At the first look all of it, later once for each kind in each folder what a person may have wanted."""
        news = [one for one in left_out if one.reason is not Reason.UNREADABLE]
        if self._said is None:
            self._said = set()
        else:
            news = [one for one in news if one.reason.is_strict and one.reason is not Reason.UNFINISHED]
            news = [one for one in news if _sort_of(one) not in self._said]
        self._said |= {_sort_of(one) for one in news}
        if news:
            is_wanted = any(one.reason.is_strict for one in news)
            (self.reporter.warn if is_wanted else self.reporter.say)(in_words(news))

    def _say_unreadable(self, folders: Mapping[str, str]) -> None:
        """Once for each time that a folder turns unreadable."""
        for folder in sorted(folders.keys() - self._blind):
            self.reporter.warn(f"{folder} cannot be read: {folders[folder]}; it is looked at again")
        self._blind = set(folders)

    def _unfinished(self) -> list[str]:
        return [path for path in self._arrivals if not self._grows_for_ever(path)]

    def _grows_for_ever(self, path: str) -> bool:
        one, now, settle_s = self._arrivals[path], self.clock(), self.patience.settle_s
        return now - one.since < settle_s and now - one.first_seen >= _MAX_SETTLES * settle_s

    def _outcome(self, seen: frozenset[str]) -> Outcome:
        failed, settled = self.ledger.failures(seen), self.ledger.settled()
        failures = [Failure(video, reason) for video, reason in failed.items()]
        failures += [Failure(ledgers.key(path), "still growing, left for another time") for path in self._arrivals]
        failures += [Failure(folder, "cannot be read") for folder in sorted(self._blind)]
        return Outcome(sum(ledgers.key(path) in settled for path in seen) - len(failed), failures)


def _sort_of(one: LeftOut) -> tuple[Path, Reason, str]:
    return one.path.parent, one.reason, suffix_of(one.path.name)


def _batches(ready: Mapping[str, Stamp], suspects: set[str]) -> list[list[str]]:
    """Oldest first; small files share a batch. Files on which a process died twice, of which one may be the reason,
    come last and each alone, so that they keep no other waiting."""
    batches: list[list[str]] = []
    num_bytes = 0
    for path in sorted(ready, key=lambda path: (path in suspects, ready[path].mtime_ns, path)):
        num_bytes += ready[path].size
        if not batches or path in suspects or len(batches[-1]) == _BATCH_FILES or num_bytes > _BATCH_BYTES:
            batches.append([])
            num_bytes = ready[path].size
        batches[-1].append(path)
    return batches


def _has_content(file: Path, sha256: str | None) -> bool:
    try:
        return content_hash(file) == sha256
    except VideoError:
        return False


def _in_words(scored: Scored) -> str:
    events = {0: "no event", 1: "1 event"}.get(scored.num_events, f"{scored.num_events} events")
    p_value = "" if scored.lowest_p_value is None else f", lowest p-value {scored.lowest_p_value:.2g}"
    return events + p_value + (f": {scored.worst_event}" if scored.worst_event else "")


@dataclass(frozen=True)
class _StoreProcessor:
    """The worker of the command: the store's extraction, and a model."""

    scorer: Scorer
    place: Session
    run: RunFolder

    def extract(self, videos: Sequence[Video]) -> Extraction:
        return self.place.extract(videos, self.scorer.plan)

    def gather(self) -> None:
        self.scorer.gather(self.run)

    def score(self, stored: Sequence[StoredVideo]) -> dict[str, Scored | Failure]:
        try:
            return {**self._score(stored)}
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OWN_ERRORS:
                raise
            if len(stored) > 1:  # one of them is to blame
                return {name: outcome for one in stored for name, outcome in self.score([one]).items()}
            video = stored[0].video
            known = error if isinstance(error, MuldeError) else unexpected(video, error)
            self.place.reporter.warn(f"{video.name}: {known}")
            return {video.name: Failure(video.name, str(known))}

    def _score(self, stored: Sequence[StoredVideo]) -> dict[str, Scored]:
        self.scorer.look(stored, None)
        scored, events = self.scorer.score_part(stored, self.run)
        self.scorer.draw(stored, scored, self.run, events=events)
        return {one.video.name: _summary(one, scored[one.video.name], events) for one in stored}


def _summary(stored: StoredVideo, scored: ScoredVideo, events: Sequence[Event]) -> Scored:
    own = [event for event in events if event.video == stored.video.name]
    worst = min(own, key=by_likelihood, default=None)
    p_value = scored.track.p_value
    return Scored(
        sha256=stored.passports["frames"].video_sha256,
        num_frames=stored.num_frames,
        num_events=len(own),
        lowest_p_value=None if p_value is None else float(p_value.min()),
        worst_event=worst.reason.text if worst and worst.reason else "",
    )


def run_watch(
    folder: Path,
    model: Path,
    out: Path,
    place: Session,
    patience: WatchOptions,
    *,
    changes: Sequence[str] = (),
    exemptions: Path | None = None,
) -> Outcome:
    """Score the video files of a folder as they arrive, into the run folder `out`; goes on where it was stopped.

    Raises UsageError for a folder that is none, and for a run folder that is used otherwise.
    """
    _check(folder, out)
    out.mkdir(parents=True, exist_ok=True)
    with _sigterm_as_ctrl_c(), _alone(out):
        scorer = Scorer.open(model, changes, place, ScoreOptions(exemptions=exemptions))
        facts = {
            "folder": str(folder.resolve()),
            "model (sha256)": scorer.model.sha256,
            "alarm settings": scorer.settings.alarms.model_dump(mode="json"),
            "other settings": _other_settings(scorer.settings),
        }
        try:
            with Ledger.open(out) as ledger:
                ledger.claim(facts, "another --out")
                worker = _StoreProcessor(scorer, place, _run_folder(out, folder, model, scorer, place))
                place.reporter.say(f"{folder} is watched; scores, events and {ledgers.TABLE}: {out}")
                table = out / ledgers.TABLE
                return Watcher(folder, ledger, worker, patience, place.reporter, table, (out, place.store.root)).watch()
        except sqlite3.Error as error:
            raise MuldeError(f"ledger {out / LEDGER}: {error}", hint="another --out, or a sound disk") from None


def _check(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"watched folder {folder}", expected="a folder", got="a file" if folder.exists() else "none")
    if folder.resolve() == out.resolve():
        raise UsageError(f"--out {out}", expected="another folder than the watched one")
    claim(out, "watch-folder", [str(folder)], Settings())


def _other_settings(settings: Settings) -> dict[str, object]:
    """Those that a model can be scored with otherwise, but for the alarms."""
    return {
        "video": settings.video.model_dump(mode="json", include={"stream", "frame_rate", "match_training"}),
        "tracks": settings.tracks.model_dump(mode="json"),
        "smoothing_s": settings.fusion.smoothing_s,
        "nearest": settings.reasons.nearest,
    }


def _run_folder(out: Path, folder: Path, model: Path, scorer: Scorer, place: Session) -> RunFolder:
    run = RunFolder(out, place.command, read_record(out) if (out / RECORD).exists() else None)
    run.write_settings(scorer.settings)
    run.note(
        kind="watch-folder",
        sources=[absolute_source(str(folder))],
        device=place.device,
        model=str(model.resolve()),
        model_sha256=scorer.model.sha256,
        made_from=scorer.bundle.made_from,
    )
    return run


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One watcher per run folder, where the file system has locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process watches a folder into {out}", hint="another --out, or its end") from None
    except (NotImplementedError, OSError) as error:
        if not lacks_locks(error):
            raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """A service manager ends a process with SIGTERM: as Ctrl-C, so that what is in hand is put back."""
    handled = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # by the command line
    if handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
