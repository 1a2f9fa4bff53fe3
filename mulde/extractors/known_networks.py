"""Networks that the settings can name: what each kind's list is made of, and where their weights lie.

torchvision says itself what its networks weigh. Numbers per row are the width of the layer before the classifier. The
download of an Ultralytics file is about 2 bytes per parameter of their tables, those of CLIP and Hiera are as their
hub lists them. Licences are of the weights; "see the project" where the publisher names none for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulde.extractors.yolo import weights_folder

NON_COMMERCIAL = "CC-BY-NC-4.0"
ASK = "see the project"
_AGPL = "AGPL-3.0 (or Ultralytics Enterprise)"
OTHER_FILES = "Any other file of Ultralytics can be named, and own weights by their path."


@dataclass(frozen=True)
class KnownNetwork:
    """A network that the settings can name; `present` is where its weights lie on this machine."""

    kind: str
    name: str
    setting: str
    numbers_per_row: int | None
    download_mb: float | None
    licence: str
    present: str | None


@dataclass(frozen=True)
class NetworkKind:
    """The networks that one setting can name. remark: what their list leaves out, or nothing."""

    name: str
    networks: Callable[[], Iterator[KnownNetwork]]
    remark: Callable[[], str] = str


def ultralytics_networks(
    kind: str, setting: str, families: Mapping[str, Sequence[float]], *, ending: str = "", numbers: int | None = None
) -> Iterator[KnownNetwork]:
    """Families of Ultralytics; millions of parameters by size: n, s, m, l, x."""
    for family, millions in families.items():
        for size, parameters in zip("nsmlx", millions, strict=True):
            name = f"{family}{size}{ending}.pt"
            present = first_file([Path(name), weights_folder() / name])
            yield KnownNetwork(kind, name, f'{setting}="{name}"', numbers, round(2 * parameters, 1), _AGPL, present)


def torchvision_network(kind: str, name: str, setting: str, dim: int | None) -> Iterator[KnownNetwork]:
    """The network with its default weights, where the installed torchvision knows it."""
    from torchvision import models

    try:
        weights = models.get_model_weights(name).DEFAULT
    except ValueError:  # another version of torchvision
        return
    licence = NON_COMMERCIAL if "SWAG" in str(weights.meta.get("license", "")) else weights.meta.get("license", ASK)
    present = first_file([hub_folder() / weights.url.rsplit("/", 1)[-1]])
    setting = f'{setting}="{name}"'
    yield KnownNetwork(kind, name, setting, dim, round(weights.meta["_file_size"], 1), licence, present)


def hub_folder() -> Path:
    """Where torch keeps the weights that it downloads."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def first_file(paths: Sequence[Path]) -> str | None:
    return next((str(path) for path in paths if path.is_file()), None)
