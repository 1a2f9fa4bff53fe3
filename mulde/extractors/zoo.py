"""`mulde models`: which networks can be named in the settings, what they cost, and which of them are here already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mulde.errors import UsageError
from mulde.extractors.detector import DETECTORS
from mulde.extractors.flow import FLOWS
from mulde.extractors.known_networks import KnownNetwork, NetworkKind
from mulde.extractors.registry import EXTRACTORS


def network_kinds() -> dict[str, NetworkKind]:
    """Every kind of network: detectors, those of the extractors, flows."""
    of_extractors = [spec.networks for spec in EXTRACTORS.values() if spec.networks is not None]
    return {kind.name: kind for kind in (DETECTORS, *of_extractors, FLOWS)}


def list_models(kind: str | None = None) -> list[KnownNetwork]:
    """Every network that `mulde` names, or those of one kind. Raises UsageError for an unknown kind."""
    return [network for wanted in _wanted(kind) for network in wanted.networks()]


def as_json(models: Sequence[KnownNetwork]) -> list[dict[str, Any]]:
    return [asdict(model) for model in models]


def remarks(kind: str | None = None) -> list[str]:
    """What is not in the table."""
    return list(dict.fromkeys(filter(None, (wanted.remark() for wanted in _wanted(kind)))))


def _wanted(kind: str | None) -> list[NetworkKind]:
    kinds = network_kinds()
    if kind is None:
        return list(kinds.values())
    if kind not in kinds:
        raise UsageError("--kind", expected=f"one of {', '.join(kinds)}", got=kind)
    return [kinds[kind]]
