"""`mulde watch-folder`: a model on the files that arrive in a folder, one process per run folder."""

from __future__ import annotations

import errno
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.sources import absolute_source
from mulde.errors import Failure, MuldeError, UsageError, sentence
from mulde.events import Event, by_likelihood
from mulde.pipeline.extraction.engine import Extraction
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.monitoring import ledger as ledgers
from mulde.pipeline.monitoring.ledger import Ledger, Scored
from mulde.pipeline.monitoring.watcher import Watcher, WatchOptions
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.predictor.scorer import ScoreOptions, Scorer
from mulde.pipeline.run_claim import claim, only_process
from mulde.pipeline.run_folder import LEDGER, RECORD, RunFolder, read_record
from mulde.records import ScoredVideo

LOCK_FILE = ".watch.lock"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""Of the disk that scores are written to: no file is to blame."""


@dataclass(frozen=True)
class _StoreProcessor:
    """The processor of the command: the store's extraction, and a model."""

    scorer: Scorer
    session: Session
    run: RunFolder

    def extract(self, videos: Sequence[Video]) -> Extraction:
        return self.session.extract(videos, self.scorer.plan)

    def gather(self) -> None:
        self.scorer.gather(self.run)

    def score(self, stored: Sequence[StoredVideo]) -> dict[str, Scored | Failure]:
        try:
            return {**self._score(stored)}
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            if len(stored) > 1:  # one of them is to blame
                return {name: outcome for video in stored for name, outcome in self.score([video]).items()}
            video = stored[0].video
            known = sentence(error, video.path)
            self.session.reporter.warn(f"{video.name}: {known}")
            return {video.name: Failure(video.name, str(known))}

    def _score(self, stored: Sequence[StoredVideo]) -> dict[str, Scored]:
        self.scorer.look(stored, None)
        scored, events = self.scorer.score_part(stored, self.run)
        self.scorer.draw(stored, scored, self.run, events=events)
        return {video.video.name: _ledger_facts(video, scored[video.video.name], events) for video in stored}


def _ledger_facts(stored: StoredVideo, scored: ScoredVideo, events: Sequence[Event]) -> Scored:
    events = [event for event in events if event.video == stored.video.name]
    worst = min(events, key=by_likelihood, default=None)
    p_value = scored.track.p_value
    return Scored(
        sha256=stored.passports["frames"].video_sha256,
        num_frames=stored.num_frames,
        num_events=len(events),
        lowest_p_value=None if p_value is None else float(p_value.min()),
        worst_event=worst.reason.text if worst and worst.reason else "",
    )


def run_watch(
    folder: Path,
    model: Path,
    out: Path,
    session: Session,
    options: WatchOptions,
    *,
    changes: Sequence[str] = (),
    suppressions: Path | None = None,
) -> Outcome:
    """Score the video files of a folder as they arrive, into the run folder `out`; continues where it was stopped.

    Raises UsageError for a folder that does not exist, and for a run folder that holds something else.
    """
    _check(folder, out)
    out.mkdir(parents=True, exist_ok=True)
    with _sigterm_as_ctrl_c(), only_process(out, LOCK_FILE):
        scorer = Scorer.open(model, changes, session, ScoreOptions(suppressions=suppressions))
        facts = {
            "folder": str(folder.resolve()),
            "model (sha256)": scorer.model.sha256,
            "alarm settings": scorer.settings.alarms.model_dump(mode="json"),
            "other settings": _other_settings(scorer.settings),
        }
        try:
            with Ledger.open(out) as ledger:
                ledger.claim(facts, "another --out")
                processor = _StoreProcessor(scorer, session, _run_folder(out, folder, model, scorer, session))
                session.reporter.say(f"watching {folder}; scores, events and {ledgers.TABLE}: {out}")
                table, excluded = out / ledgers.TABLE, (out, session.store.root)
                return Watcher(folder, ledger, processor, options, session.reporter, table, excluded).watch()
        except sqlite3.Error as error:
            raise MuldeError(f"ledger {out / LEDGER}: {error}", hint="another --out, or a sound disk") from None


def _check(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"watched folder {folder}", expected="a folder", got="a file" if folder.exists() else "none")
    if folder.resolve() == out.resolve():
        raise UsageError(f"--out {out}", expected="a folder other than the watched one")
    claim(out, "watch-folder", [str(folder)], Settings())


def _other_settings(settings: Settings) -> dict[str, object]:
    """Those, except for the alarms, that can differ between two runs of one model."""
    return {
        "video": settings.video.model_dump(mode="json", include={"stream", "frame_rate", "match_training"}),
        "tracks": settings.tracks.model_dump(mode="json"),
        "smoothing_s": settings.fusion.smoothing_s,
        **({"smoothing": "causal"} if settings.fusion.smoothing == "causal" else {}),
        "nearest": settings.reasons.nearest,
    }


def _run_folder(out: Path, folder: Path, model: Path, scorer: Scorer, session: Session) -> RunFolder:
    run = RunFolder(out, session.command, read_record(out) if (out / RECORD).exists() else None)
    run.write_settings(scorer.settings)
    run.note(
        kind="watch-folder",
        sources=[absolute_source(str(folder))],
        device=session.device,
        model=str(model.resolve()),
        model_sha256=scorer.model.sha256,
        made_from=scorer.bundle.made_from,
    )
    return run


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """A service manager ends a process with SIGTERM: treat it as Ctrl-C, so that unfinished files are put back."""
    handled = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # by the command line
    if handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
