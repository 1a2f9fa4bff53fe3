"""What is sent to a receiver, what a receiver is, and how a delivery fails."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mulde.errors import MuldeError

Retry = Literal["reconnect", "message", "never"]


class SinkError(MuldeError):
    """A message that was not acknowledged.

    retry: "reconnect" where the receiver cannot be reached, so nothing can be delivered now; "message" where this
    message may be taken at another time; "never" where it never will be. wait_s: for how long the receiver asked not to
    be tried again, 0 where it did not. Its text holds no secret.
    """

    def __init__(self, problem: str, retry: Retry, *, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.retry, self.wait_s = retry, wait_s

    def __reduce__(self) -> tuple[object, ...]:
        return (SinkError, (self.problem, self.retry))


@dataclass(frozen=True)
class Message:
    """One revision of an alert. json: the alert as JSON; picture: a JPEG of it, None without; is_test: it is sent to
    see whether it arrives; num_withheld: alerts that the receiver was not sent since the last one, for the rate."""

    json: str
    picture: Path | None = None
    is_test: bool = False
    num_withheld: int = 0

    @cached_property
    def alert(self) -> Mapping[str, Any]:
        """The alert as plain data."""
        data: dict[str, Any] = json.loads(self.json)
        return data

    @property
    def key(self) -> tuple[str, int]:
        """Id and revision, which are the same whenever the message is sent again."""
        return self.alert["id"], self.alert["revision"]

    def picture_bytes(self) -> bytes | None:
        """The picture; None without, and where it is gone or cannot be read: an alert is sent without it rather than
        not at all."""
        try:
            return None if self.picture is None else self.picture.read_bytes()
        except OSError:
            return None


class Sink(ABC):
    """A receiver of alerts, for one thread except where a method says otherwise."""

    @abstractmethod
    def deliver(self, message: Message) -> None:
        """Send a message; to return is to say that the receiver has acknowledged it. Raises SinkError."""

    def show(self, cameras: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: B027 - most receivers show no states
        """Take in the state of every camera, by name, as plain data. Any thread may call this; it never waits."""

    def turn(self) -> None:  # noqa: B027
        """Send what is due but for messages; called now and then, and after the sink has asked to be woken."""

    def close(self) -> None:  # noqa: B027
        """Let go of the receiver, within half a second."""


@dataclass(frozen=True)
class Surroundings:
    """What a receiver is opened with.

    stop: set when the process ends, so that nobody waits; wake: called when a receiver has something to do; reached:
    called when one can be reached that could not; warn: takes a sentence; on_command: takes the name of a camera and
    the seconds of its pause, 0 to resume; is_test: for one message, beside a process that may be running.
    """

    stop: threading.Event
    wake: Callable[[], object] = lambda: None
    reached: Callable[[], object] = lambda: None
    warn: Callable[[str], object] = lambda text: None
    on_command: Callable[[str, float], object] = lambda camera, seconds: None
    is_test: bool = False
