"""What every public function does around its work: sources, settings, a store, progress and warnings."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mulde.config import Settings
from mulde.errors import Failure, MuldeWarning, UsageError, VideoError
from mulde.names import user_path
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.setting_uses import check_used
from mulde.progress import Reporter
from mulde.settings_file import load_settings

AnyPath = str | Path
Source = AnyPath | Sequence[AnyPath]
"""A video, a folder of frames, a folder of videos, NAME:ROOT for a data set, or a list of these."""
SettingsLike = Mapping[str, Any] | AnyPath | Settings | None
"""Settings by name, `{"density": {"preset": "paper"}}` or `{"density.preset": "paper"}`; the path of a TOML file; or
those of a model."""


class ApiReporter(Reporter):
    """Progress for whoever watches; what went wrong becomes Python warnings when the call ends well."""

    def __init__(self, progress: bool | None) -> None:
        super().__init__(quiet=not (_is_watched() if progress is None else progress))
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _is_watched() -> bool:
    """Whether a person sees what is printed: on a terminal, or in a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def reporting(progress: bool | None) -> Iterator[ApiReporter]:
    """A reporter for one call of a public function, which enters this directly."""
    reporter = ApiReporter(progress)
    yield reporter
    for text in dict.fromkeys(reporter.warnings):
        warnings.warn(text, MuldeWarning, stacklevel=4)  # in the code that calls the public function


@contextmanager
def working(store: AnyPath | None, device: str, reporter: Reporter) -> Iterator[Session]:
    """A session with the store at a path or, without one, with a temporary one that is removed afterwards.

    The user's record of weights is not written: nobody gave a path for it.
    """
    with ExitStack() as stack:
        root = stack.enter_context(TemporaryDirectory(prefix="mulde-")) if store is None else user_path(store)
        yield Session.open(Path(root), device, reporter, keeps_record=False)


def as_sources(source: Source) -> list[str]:
    """The sources as the command line takes them. Raises UsageError for anything that names none."""
    several = [source] if isinstance(source, str | Path) else list(source)
    wrong = [entry for entry in several if not isinstance(entry, str | Path)]
    if wrong or not several:
        got = type(wrong[0]).__name__ if wrong else "an empty list"
        raise UsageError("source", expected="a path, a data set as NAME:ROOT, or a list of these", got=got)
    return [str(entry) for entry in several]


def as_settings(command: str, settings: SettingsLike, detector: AnyPath | None) -> Settings:
    """The settings of a command. Raises UsageError for one that is unknown, out of bounds or without effect."""
    overrides, changes, config = [], list[str](), None
    base = settings if isinstance(settings, Settings) else None
    if detector is not None:
        overrides = ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={_toml(str(detector))}"]
    if isinstance(settings, Mapping):
        changes = as_changes(settings)
    elif isinstance(settings, str | Path):
        config = user_path(settings)
    elif settings is not None and base is None:
        raise UsageError("settings", expected="settings by name, or a path", got=type(settings).__name__)
    chosen = load_settings(config, [*overrides, *changes], base)
    check_used(command, changes, chosen)
    return chosen


def as_changes(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings by name as KEY=VALUE. Raises UsageError for a value that no setting can have."""
    changes = []
    for name, value in settings.items():
        if not isinstance(name, str):
            raise UsageError("settings", expected="names as keys", got=repr(name))
        if isinstance(value, Mapping):
            changes += as_changes(value, f"{prefix}{name}.")
        else:
            changes.append(f"{prefix}{name}={_toml(value, f'setting {prefix}{name}')}")
    return changes


def _toml(value: Any, what: str = "setting") -> str:
    plain = str(value) if isinstance(value, Path) else value
    try:
        if plain is None:
            raise TypeError("None")
        return json.dumps(plain, ensure_ascii=False, default=_plain)  # of such values JSON and TOML are the same
    except TypeError:
        raise UsageError(what, expected="text, a number, true or false, or a list", got=repr(value)) from None


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers, paths as text, sets as lists."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(value)


def require_some(num_done: int, failures: Sequence[Failure]) -> None:
    """Raises VideoError where nothing came of any video."""
    if not num_done and failures:
        more = f" (and {len(failures) - 1} more videos failed)" if len(failures) > 1 else ""
        raise VideoError(f"{failures[0].video}: {failures[0].reason}{more}")
