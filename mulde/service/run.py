"""The service beside `mulde watch`, and by itself for a run folder: `mulde serve`.

Only what it calls needs the extra `mulde[live]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path

from mulde.errors import UsageError, first_line
from mulde.pipeline.live.alert_book import AlertBook
from mulde.pipeline.live.service_settings import ServiceSettings, read_token
from mulde.pipeline.live.view import LiveView
from mulde.progress import Reporter

_LIBRARIES = ("fastapi", "uvicorn", "prometheus_client")

Beside = Callable[[Path, LiveView], AbstractContextManager[object]]
"""What is done beside watching into a run folder, for as long as the block runs."""


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

        with (
            AlertBook.open(root, write=True) as book,
            serving(LiveSource(root, view, book), settings, listener) as address,
        ):
            reporter.say(f"page: {address}")
            yield

    with listener:
        yield beside
