"""What an extractor says of itself before it is built: one `ExtractorSpec` at the end of each extractor's file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mulde.errors import UsageError
from mulde.extractors.base import Extractor, TrackExtractor
from mulde.extractors.flow import FlowSettings, SharedMotion, build_flow
from mulde.extractors.wording import Comparison, Wording, describe_appearance
from mulde.section import Section

if TYPE_CHECKING:
    from mulde.extractors.known_networks import NetworkKind

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Machine:
    """Where networks run, and how many threads call them at the same time."""

    device: str = "cpu"
    threads: int = 1


ONE_CPU = Machine()
_FLOW = FlowSettings()


@dataclass(frozen=True)
class Shared:
    """What the extractors of one plan have in common: the machine, the motion between frames, how networks run."""

    machine: Machine = ONE_CPU
    flow: FlowSettings = _FLOW
    precision: str = "auto"
    batch_size: int = 64
    _made: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several extractors read from, made when the first of them is built."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @cached_property
    def motion(self) -> SharedMotion:
        flow = self.flow
        return SharedMotion(
            build_flow(flow.method, preset=flow.preset, weights=flow.weights, device=self.machine.device)
        )

    @cached_property
    def network_options(self) -> dict[str, Any]:
        """Keyword arguments of the extractors by a torch network: device, precision and the most inputs at once."""
        from mulde.extractors.networks import resolve_precision

        device = self.machine.device
        precision = resolve_precision(self.precision, device)
        return {"device": device, "precision": precision, "batch_size": self.batch_size}


class NoSettings(Section):
    """Of an extractor that has nothing to set."""


class Requirement(NamedTuple):
    """A setting of the extractor's section that has an effect only if another one of it has the right value.

    needed: what it needs, in the words of the section (`mode="crops"`). holds: whether the section has it.
    """

    key: str
    needed: str
    holds: Callable[[Any], bool]


def one_group(dim: int, settings: Section | None = None) -> tuple[str, ...]:
    """Of columns without a meaning of their own."""
    del settings
    return ("appearance",) * dim


def _describe(comparison: Comparison, settings: Section) -> Wording:
    del settings
    return describe_appearance(comparison)


@dataclass(frozen=True)
class ExtractorSpec:
    """An extractor as everything else sees it: settings, plan, training, reasons, `mulde models`.

    Args:
        name: Of the extractor and of its stream; lower-case letters, digits and `_`.
        object_centric: Whether it makes a row per box; else a row per frame.
        build: Makes the extractor of its settings and of what all extractors share. Weights and heavy libraries are
            loaded later, at the first frame.
        settings: The class of its settings, which are the table `[features.<section>]`.
        section: The name of that table; by default that of the extractor. Extractors may share one.
        column_groups: The group of each of the `dim` columns; reasons say how much each group adds.
        describe: What is unusual about a row, in words and numbers.
        uses_flow: Whether it reads `shared.motion`, so that `[features.flow]` has an effect.
        needs_pixels: Whether its rows depend on the pictures; else boxes, times and the size of the frames are enough.
        needs_tracks: Whether it is a `TrackExtractor`, so that a tracker has to be set.
        only_high: Whether a low value in any column is nothing unusual, whatever `fusion.only_high` says.
        requirements: Settings that have an effect only beside others.
        official_weights: Whether `weights` names a file of Ultralytics by its official name; else a tag of a library.
        networks: The networks that its settings can name, for `mulde models`.

    Raises UsageError for a name that cannot be that of a stream.
    """

    name: str
    object_centric: bool
    build: Callable[[Any, Shared], Extractor | TrackExtractor]
    settings: type[Section] = NoSettings
    section: str = ""
    column_groups: Callable[[int, Any], tuple[str, ...]] = one_group
    describe: Callable[[Comparison, Any], Wording] = _describe
    uses_flow: bool = False
    needs_pixels: bool = True
    needs_tracks: bool = False
    only_high: bool = False
    requirements: tuple[Requirement, ...] = ()
    official_weights: bool = False
    networks: NetworkKind | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError("name of an extractor", expected="lower-case letters, digits and _", got=repr(self.name))
        if not self.section:
            object.__setattr__(self, "section", self.name)

    def groups(self, dim: int, settings: Section) -> tuple[str, ...]:
        """The group of each of the `dim` columns. Raises UsageError where `column_groups` names another number."""
        groups = self.column_groups(dim, settings)
        if len(groups) != dim:
            raise UsageError(f"column_groups of extractor {self.name!r}", expected=f"{dim} names", got=f"{len(groups)}")
        return groups

    @property
    def weights_setting(self) -> str | None:
        """The setting that names the weights that it loads, if any."""
        if "weights" in self.settings.model_fields:
            return f"features.{self.section}.weights"
        return "features.flow.weights" if self.uses_flow else None
