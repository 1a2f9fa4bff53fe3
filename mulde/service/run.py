"""The service beside `mulde watch`, and by itself for a run folder: `mulde serve`.

Only what it calls needs the extra `mulde[live]`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from mulde.errors import MuldeError, UsageError, first_line
from mulde.pipeline.live.service_settings import ServiceSettings, read_token
from mulde.pipeline.live.signals import asked_to_end
from mulde.pipeline.live.view import LiveView
from mulde.pipeline.live.watch import Beside
from mulde.pipeline.run_folder import ALERTS, check_single_run
from mulde.progress import Reporter
from mulde.service.source import RunSource

_LIBRARIES = ("fastapi", "uvicorn", "prometheus_client")


def missing_libraries() -> str:
    """What the service lacks, as a sentence; empty where it is installed."""
    try:
        for name in _LIBRARIES:
            import_module(name)
    except ImportError as error:
        return f"the page needs mulde[live]: pip install 'mulde[live]' ({first_line(error)})"
    return ""


@contextmanager
def beside_watch(settings: ServiceSettings, reporter: Reporter, *, asked: bool) -> Iterator[Beside | None]:
    """What serves the page beside `mulde watch`; None where there is none, which is said.

    The address is taken at once, so that one that cannot be had is known before anything is watched. asked: whether
    somebody chose the address; then one that is taken is an error, else watching goes on without a page. Raises
    UsageError for a token that is missing or cannot be used.
    """
    if not settings.listen:
        yield None
        return
    read_token(settings)
    if lacking := missing_libraries():
        reporter.warn(f"no page: {lacking}")
        yield None
        return
    from mulde.service.server import listening

    try:
        listener = listening(settings.listen)
    except UsageError as error:
        if asked:
            raise
        reporter.warn(f"no page: {error}")
        yield None
        return

    @contextmanager
    def beside(root: Path, view: LiveView) -> Iterator[None]:
        from mulde.service.live_source import LiveSource
        from mulde.service.server import serving

        with LiveSource.open(root, view) as source, serving(source, settings, listener) as address:
            reporter.say(f"page: {address}")
            yield

    with listener:
        yield beside


@contextmanager
def opened_run(run: Path) -> Iterator[RunSource]:
    """What is shown of a run folder: of a watched one its cameras, of another one its videos.

    Raises UsageError for a folder that is neither, MuldeError where files of it are damaged.
    """
    from mulde.service.folder_source import FolderSource
    from mulde.service.review_source import ReviewSource

    if (run / ALERTS).is_file():
        with FolderSource.open_folder(run) as source:
            yield source
        return
    check_single_run(run)
    if not (run / "scores").is_dir():
        raise UsageError(f"run folder {run}", expected="the --out of mulde watch, score or run", got="no scores in it")
    yield ReviewSource(run)


def run_serve(run: Path, settings: ServiceSettings, reporter: Reporter, stop: threading.Event | None = None) -> None:
    """Serve the page of a run folder until `stop` is set or a signal comes.

    Raises UsageError for a folder without a run, an address that cannot be had or a token that cannot be used, and
    MuldeError without the extra `mulde[live]`.
    """
    if lacking := missing_libraries():
        raise MuldeError(lacking)
    from mulde.service.server import listening, serving

    read_token(settings)
    stop = stop or threading.Event()
    with (
        opened_run(run) as source,
        listening(settings.listen) as listener,
        asked_to_end(stop),
        serving(source, settings, listener) as address,
    ):
        reporter.say(f"page of {run}: {address}")
        stop.wait()
