"""The loop that watches a folder: finds files that are complete, has them scored, notes in the ledger what became of
them.

It polls, because network drives do not report new files. A file counts as finished only when its scores and events are
written, and writing them a second time changes nothing, so the process may be killed at any moment.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mulde.datasets.base import Video
from mulde.datasets.left_out import LeftOut, Reason, in_words
from mulde.datasets.tree import walk
from mulde.errors import Failure, VideoError
from mulde.filetypes import suffix_of
from mulde.media import content_hash
from mulde.pipeline.extraction.engine import Extraction
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.monitoring import ledger as ledgers
from mulde.pipeline.monitoring.ledger import Ledger, LedgerEntry, Scored, Stamp
from mulde.pipeline.outcome import Outcome
from mulde.progress import Advance, Reporter

_MAX_PAUSE_S = 3600.0
_MAX_SETTLES = 10
"""With `once`, a file that is still growing after this many times `settle_s` is left for a later run."""
_EXPORT_S = 60.0
_BATCH_FILES, _BATCH_BYTES = 16, 2**26


@dataclass(frozen=True)
class WatchOptions:
    """every_s: seconds between two scans of the folder; settle_s: a file is complete after this many seconds without a
    change; tries: attempts at a file that fails; once: end when the files that are there at the start are done."""

    every_s: float
    settle_s: float
    tries: int
    once: bool = False


class VideoProcessor(Protocol):
    """Brings features of videos into the store, and scores them. An error that a method raises ends the watching."""

    def extract(self, videos: Sequence[Video]) -> Extraction: ...

    def score(self, stored: Sequence[StoredVideo]) -> Mapping[str, Scored | Failure]:
        """By the names of the videos; reports failures itself."""
        ...

    def gather(self) -> None:
        """Bring the tables of the run folder up to date, also with what a killed process left."""
        ...


@dataclass(frozen=True)
class _Arrival:
    """A file that is not finished: since when it has its stamp, since when it is known, and when it may be tried."""

    stamp: Stamp
    since: float
    first_seen: float
    not_before: float = 0.0


@dataclass(frozen=True)
class _Job:
    path: str
    entry: LedgerEntry


@dataclass
class Watcher:
    """Scans a folder and has complete files scored, oldest first. Times are those of `clock`, in seconds."""

    folder: Path
    ledger: Ledger
    processor: VideoProcessor
    options: WatchOptions
    reporter: Reporter
    table: Path
    excluded: tuple[Path, ...] = ()
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _arrivals: dict[str, _Arrival] = field(default_factory=dict)
    _first_scan: frozenset[str] | None = None
    _unreadable: set[str] = field(default_factory=set)
    _reported: set[tuple[Path, Reason, str]] | None = None

    def watch(self) -> Outcome:
        """Without end, or with `options.once` until the files that are there now are scored or have failed."""
        for video in self.ledger.recover():
            self.reporter.say(f"{video}: was interrupted, starting again")
        self._export()
        exported, changed = self.clock(), False
        try:
            with self.reporter.bar("watch", None, "files", waits=True) as advance:
                while True:
                    busy = self._scan_and_process(advance)
                    changed |= busy
                    if changed and (not busy or self.clock() - exported >= _EXPORT_S):
                        self._export()
                        exported, changed = self.clock(), False
                    if busy:
                        continue
                    if self._first_scan is not None and not self._unfinished():
                        return self._outcome(self._first_scan)
                    self.sleep(self.options.every_s)
        finally:
            self._export()

    def _export(self) -> None:
        self.processor.gather()
        self.ledger.export(self.table)

    def _scan_and_process(self, advance: Advance) -> bool:
        """Scan, then process until the scan is `every_s` old; whether there was any work."""
        started, busy = self.clock(), False
        for batch in self.scan(advance):
            busy |= self.process(batch, advance)
            if self.clock() - started >= self.options.every_s:  # files that arrived meanwhile may be older
                break
        return busy

    def scan(self, advance: Advance) -> list[list[str]]:
        """The paths of the files that are complete and due now, in batches."""
        seen = self._files()
        if self.options.once:
            self._first_scan = frozenset(seen) if self._first_scan is None else self._first_scan
            seen = {path: stamp for path, stamp in seen.items() if path in self._first_scan}
        settled, deaths, now = self.ledger.settled(), self.ledger.unfinished(), self.clock()
        if not self._unreadable:
            for removed in deaths.keys() - {ledgers.key(path) for path in seen}:
                self._gone(self.ledger.find(removed))
        fresh = {path: stamp for path, stamp in seen.items() if settled.get(ledgers.key(path)) != stamp}
        self._arrivals = {path: self._noticed(path, stamp, now) for path, stamp in fresh.items()}
        ready = {
            path: arrival.stamp
            for path, arrival in self._arrivals.items()
            if now - arrival.since >= self.options.settle_s and now >= arrival.not_before
        }
        advance(0, status=f"{len(ready)} ready, {len(fresh) - len(ready)} growing or to be tried again")
        return _batches(ready, {path for path in ready if deaths.get(ledgers.key(path), 0) > 1})

    def process(self, paths: Sequence[str], advance: Advance) -> bool:
        """Process the files that have not changed since the scan; whether there were any."""
        unchanged = [path for path in paths if self._is_unchanged(path)]
        jobs: list[_Job] = []
        try:
            for path in unchanged:
                if not self._was_only_touched(path):
                    jobs.append(_Job(path, self.ledger.take(path, self._arrivals[path].stamp)))
            self._try(jobs)
        except BaseException:
            for job in jobs:
                self.ledger.put_back(job.entry)
            raise
        advance(len(jobs))
        return bool(unchanged)

    def _is_unchanged(self, path: str) -> bool:
        return Stamp.of(self.folder / path) == self._arrivals[path].stamp

    def _was_only_touched(self, path: str) -> bool:
        """Whether a file has another time stamp, but the content that was scored."""
        known = self.ledger.find(path)
        if known is None or known.state != ledgers.DONE:
            return False
        if _has_content(self.folder / path, known.sha256):
            self.ledger.touched(known, self._arrivals[path].stamp)
            return True
        self.reporter.say(f"{known.video}: new content, which replaces the old scores")
        return False

    def _try(self, jobs: Sequence[_Job]) -> None:
        dataset = self.folder.resolve().name
        extraction = self.processor.extract(
            [Video(job.entry.video, "all", self.folder / job.path, dataset=dataset) for job in jobs]
        )
        outcomes: dict[str, Scored | Failure] = {failure.video: failure for failure in extraction.failures}
        unchanged = {job.entry.video for job in jobs if self._is_unchanged(job.path)}
        if stored := [stored for stored in extraction.done if stored.video.name in unchanged]:
            outcomes |= self.processor.score(stored)
        for job in jobs:
            outcome = outcomes.get(job.entry.video)
            if isinstance(outcome, Scored):
                self.ledger.done(job.entry, outcome, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
                self.reporter.say(f"{time.strftime('%H:%M:%S')} {job.entry.video}: {_summary(outcome)}")
            elif outcome is None or not self._is_unchanged(job.path):
                self._was_changed(job.entry, self.folder / job.path)
            else:
                self._has_failed(job, outcome.reason)

    def _was_changed(self, entry: LedgerEntry, file: Path) -> None:
        if file.exists():
            self.ledger.put_back(entry)
            self.reporter.say(f"{entry.video}: changed while it was processed; it is scored again when it is complete")
        else:
            self._gone(entry)

    def _has_failed(self, job: _Job, reason: str) -> None:
        entry, tries = job.entry, job.entry.tries + 1
        for_good = tries >= self.options.tries
        self.ledger.failed(entry, reason, for_good=for_good)
        if for_good:
            self.reporter.warn(f"{entry.video}: left alone after {tries} tries, until the file changes")
            return
        pause_s = min(self.options.every_s * 2**tries, _MAX_PAUSE_S)
        self._arrivals[job.path] = replace(self._arrivals[job.path], not_before=self.clock() + pause_s)
        self.reporter.say(f"{entry.video}: try {tries} of {self.options.tries} failed, again in {pause_s:g} s")

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
        """Every video file, by its path below the folder with forward slashes; other files are reported once."""
        listing, stamps = walk(self.folder, self.excluded), {}
        others = list(listing.left_out)
        prefix = os.path.join(self.folder, "") if self.folder != Path() else ""  # relative_to takes three times as long
        for video, path in listing.videos:
            try:
                status = os.stat(path)
            except OSError:  # gone since its folder was listed
                continue
            if stat.S_ISDIR(status.st_mode):
                others.append(LeftOut(path, video, Reason.FRAMES))
            else:
                name = str(path).removeprefix(prefix).replace(os.sep, "/")
                stamps[name] = Stamp(status.st_size, status.st_mtime_ns)
        self._report_left_out(others)
        self._report_unreadable({str(folder.path): folder.detail for folder in listing.unreadable})
        return stamps

    def _report_left_out(self, left_out: Sequence[LeftOut]) -> None:
        """All of it at the first scan; later, once for each kind of file in each folder, what may have been meant to be
        scored."""
        news = [file for file in left_out if file.reason is not Reason.UNREADABLE]
        if self._reported is None:
            self._reported = set()
        else:
            news = [file for file in news if file.reason.is_strict and file.reason is not Reason.UNFINISHED]
            news = [file for file in news if _kind_of(file) not in self._reported]
        self._reported |= {_kind_of(file) for file in news}
        if news:
            is_strict = any(file.reason.is_strict for file in news)
            (self.reporter.warn if is_strict else self.reporter.say)(in_words(news))

    def _report_unreadable(self, folders: Mapping[str, str]) -> None:
        """Once each time a folder becomes unreadable."""
        for folder in sorted(folders.keys() - self._unreadable):
            self.reporter.warn(f"{folder} cannot be read: {folders[folder]}; it is tried again")
        self._unreadable = set(folders)

    def _unfinished(self) -> list[str]:
        return [path for path in self._arrivals if not self._grows_for_ever(path)]

    def _grows_for_ever(self, path: str) -> bool:
        arrival, now, settle_s = self._arrivals[path], self.clock(), self.options.settle_s
        return now - arrival.since < settle_s and now - arrival.first_seen >= _MAX_SETTLES * settle_s

    def _outcome(self, seen: frozenset[str]) -> Outcome:
        failed, settled = self.ledger.failures(seen), self.ledger.settled()
        failures = [Failure(video, reason) for video, reason in failed.items()]
        failures += [Failure(ledgers.key(path), "still growing, left for a later run") for path in self._arrivals]
        failures += [Failure(folder, "cannot be read") for folder in sorted(self._unreadable)]
        return Outcome(sum(ledgers.key(path) in settled for path in seen) - len(failed), failures)


def _kind_of(file: LeftOut) -> tuple[Path, Reason, str]:
    return file.path.parent, file.reason, suffix_of(file.path.name)


def _batches(ready: Mapping[str, Stamp], suspects: set[str]) -> list[list[str]]:
    """Oldest first; small files share a batch. Files on which a process died twice may be what kills it: they come last
    and each alone, so that no other file waits for them."""
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


def _summary(scored: Scored) -> str:
    events = {0: "no event", 1: "1 event"}.get(scored.num_events, f"{scored.num_events} events")
    p_value = "" if scored.lowest_p_value is None else f", lowest p-value {scored.lowest_p_value:.2g}"
    return events + p_value + (f": {scored.worst_event}" if scored.worst_event else "")
