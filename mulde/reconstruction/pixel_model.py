"""What every pixel model is: built from options, fitted on normal clips, asked for maps, stored as arrays and JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mulde.errors import FitError, RecordError, UsageError
from mulde.records import Float32, UInt8
from mulde.section import Section

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]


class Clips(Protocol):
    """Clips of normal video that can be read again and again, in any order; all of them need not be in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> UInt8:
        """One clip (num_past + 1, side, side, 3): RGB frames in order, the last of which is to be described."""
        ...


class PixelProgress(NamedTuple):
    """How a training is getting on: steps done and in all, the mean loss since the last report, and the lowest loss
    on held-out clips, if measured by now."""

    step: int
    num_steps: int
    loss: float
    heldout_loss: float | None


class Fitting(NamedTuple):
    """What `PixelModel.fit` was given."""

    clips: Clips
    heldout: Clips | None
    progress: Callable[[PixelProgress], None] | None
    checkpoint: Path | None
    fingerprint: str

    def report(self, number: int) -> None:
        """Of a model that goes through the clips once: how many of them it has seen."""
        if self.progress is not None:
            self.progress(PixelProgress(number, len(self.clips), 0.0, None))


class PixelModel(ABC):
    """Learns what normal clips look like; says of each pixel of another clip's last frame how little it fits.

    kind: its name in the registry. MAPS: the names of its maps; 0 is the least unusual value in each. ROWS: the maps
    that rows are made of unless others are named; empty for all. NUM_PAST: the
    frames of a clip before the one that is described. NEEDS_TEACHER: whether the constructor takes `teacher`, which is
    the network of `options.teacher` with its weights and which `fit` needs.
    """

    kind: ClassVar[str]
    MAPS: ClassVar[tuple[str, ...]]
    ROWS: ClassVar[tuple[str, ...]] = ()
    NUM_PAST: ClassVar[int]
    NEEDS_TEACHER: ClassVar[bool] = False
    OPTIONS: ClassVar[type[Section]]
    options: Any
    device: str

    def __init__(self, options: Any, *, seed: int = 0, device: str = "cpu", teacher: Any = None) -> None:
        """options: of the class OPTIONS."""
        self.options, self.seed, self.device, self.network = options, seed, device, teacher

    @property
    def side(self) -> int:
        """Height and width of the frames that it takes, in pixels."""
        return int(self.options.side)

    def fit(
        self,
        clips: Clips,
        heldout: Clips | None = None,
        *,
        progress: Callable[[PixelProgress], None] | None = None,
        checkpoint: Path | None = None,
        fingerprint: str = "",
    ) -> Self:
        """Learn from clips. heldout: normal clips of other footage, which decide what is kept.

        checkpoint: a file from which a training that was stopped goes on, and on a CPU ends with the same bits;
        `fingerprint` says what the clips are, and a checkpoint of others is not used. Raises FitError without a clip,
        and when a loss is not finite.
        """
        if not len(clips):
            raise FitError("training clips", expected="at least one", got="none")
        if self.NEEDS_TEACHER and self.network is None:
            expected = f"its teacher {self.options.teacher} with weights"
            raise UsageError(f"pixel model {self.kind}", expected=expected, got="none")
        self._learn(Fitting(clips, heldout, progress, checkpoint, fingerprint))
        return self

    @abstractmethod
    def _learn(self, given: Fitting) -> None:
        """`fit`, of at least one clip and with the teacher that is needed."""

    def maps(self, clips: UInt8) -> Float32:
        """The maps (N, len(MAPS), side, side), finite, of clips (N, NUM_PAST + 1, side, side, 3), in the order of MAPS.

        A clip's maps do not depend on the clips beside it, on a CPU to the last bit. Raises RecordError for clips of
        another shape.
        """
        expected = (self.NUM_PAST + 1, self.side, self.side, 3)
        if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[1:] != expected:
            raise RecordError(
                "clips",
                expected=f"uint8 of shape (*, {', '.join(map(str, expected))})",
                got=f"{clips.dtype} {clips.shape}",
            )
        return self._maps(clips)

    @abstractmethod
    def _maps(self, clips: UInt8) -> Float32:
        """`maps` of checked clips; N may be 0."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """What was learnt, by name."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> Self:
        """Take what `arrays` of a model with the same options gave. Raises BundleError for anything else."""

    def _fitted(self, learnt: T | None) -> T:
        """What `fit` or `restore` has set. Raises UsageError before."""
        if learnt is None:
            raise UsageError(
                type(self).__name__, expected="a fitted model", got="one before fit", hint="fit(clips) first"
            )
        return learnt
