"""Torchvision's networks without their classifier, and local weights for networks of any library. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import local_weights
from mulde.extractors.formats import is_exported
from mulde.extractors.networks import Loaded, Preprocessing, ready

_HELPERS = ("aux1.", "aux2.", "AuxLogits.")
"""Parts of googlenet and inception_v3 that only train: a weights file may hold them or not."""


def load_torchvision(library: ModuleType, model: str, weights: str, device: str, *, frames: int = 1) -> Loaded:
    """A network of `torchvision.models` or `torchvision.models.video` without its last layer, ready to run.

    `weights` is a tag, a state dict, or a network exported to ONNX or OpenVINO, which sees what `model` would see.
    """
    from torchvision import models

    names = models.list_models(module=library)
    if model not in names:
        raise UsageError(f"torchvision model {model!r}", expected=f"one of {', '.join(names)}")
    path, tags = local_weights(weights), models.get_model_weights(model)
    if path is not None and is_exported(path):
        from mulde.extractors.exported import load_exported

        return load_exported(path, _expects(tags.DEFAULT, frames), device)
    if path is not None:
        network, tag = models.get_model(model, weights=None, **_options(model)), tags.DEFAULT
        dim, head = drop_head(network)
        copy_state(network, read_state(path), path, head)
    elif weights in tags.__members__:
        tag = tags[weights]
        network = _download(model, tag)
        dim, _ = drop_head(network)
    else:
        raise UsageError(
            f"torchvision weights {weights!r} for {model}",
            expected=f"an existing file or one of {', '.join(tags.__members__)}",
        )
    return ready(fold_batch_norm(network.eval()), device), _expects(tag, frames), dim


def load_whole(model: str, weights: str) -> nn.Module:
    """A picture network of torchvision with its weights, a tag or a local state dict, without its last layer.

    Raises UsageError for an unknown model or tag and for a file that does not fit, MuldeError for a failed download.
    """
    from torchvision import models

    if model not in models.list_models(module=models):
        raise UsageError(f"torchvision model {model!r}", expected="a network for pictures", hint="wide_resnet50_2")
    path, tags = local_weights(weights), models.get_model_weights(model)
    network: nn.Module
    if path is not None:
        network = models.get_model(model, weights=None, **_options(model))
        copy_state(network, read_state(path), path, drop_head(network)[1])
        return network
    if weights not in tags.__members__:
        raise UsageError(
            f"torchvision weights {weights!r} for {model}",
            expected=f"an existing file or one of {', '.join(tags.__members__)}",
        )
    network = _download(model, tags[weights])
    return network


def _expects(tag: Any, frames: int) -> Preprocessing:
    expects = tag.transforms()
    return Preprocessing(int(expects.crop_size[0]), tuple(expects.mean), tuple(expects.std), frames)


def _options(model: str) -> dict[str, bool]:
    """What the published weights of the two oldest networks take for granted."""
    if model not in ("googlenet", "inception_v3"):
        return {}
    return {"transform_input": True, "aux_logits": False, "init_weights": False}


def _download(model: str, tag: Any) -> Any:
    from torchvision import models

    try:
        return models.get_model(model, weights=tag)
    except Exception as error:
        raise MuldeError(
            f"torchvision weights {tag.name} for {model} cannot be downloaded ({error})",
            hint="the path of a local state dict as `weights`",
        ) from error


def drop_head(network: nn.Module) -> tuple[int, str]:
    """Replace the last layer with weights (linear, or the 1 x 1 convolution that some networks have in its place) by
    nothing; its input width and its name."""
    layers = (nn.Linear, nn.Conv2d, nn.Conv3d)
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, layers)][-1]
    network.set_submodule(name, nn.Identity())
    return int(last.weight.shape[1]), name


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """The same network with each batch normalisation inside the convolution before it: a third less time on a CPU."""
    from torch.fx.experimental.optimization import fuse

    if not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in network.modules()):
        return network
    return fuse(network)


def copy_state(network: nn.Module, state: Mapping[str, Any], path: Path, head: str) -> None:
    """Copy a state dict, of the whole network or of its `features`, into a network without its head.

    Raises UsageError naming the first entry that does not fit.
    """
    wanted = network.state_dict()
    if not set(state) & set(wanted):
        state = {f"features.{key}": value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith((f"{head}.", *_HELPERS))}
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    wrong = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    for fault, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape of", wrong)):
        if keys:
            raise UsageError(
                f"weights {path} do not fit {type(network).__name__}",
                expected=f"{len(wanted)} entries",
                got=f"a file that {fault} {keys[0]} ({len(keys)} such entries)",
            )
    network.load_state_dict(state)


def read_state(path: Path) -> Mapping[str, Any]:
    """The state dict in a local file; nothing is unpickled but tensors. Raises UsageError for any other file."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"weights {path} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(state, Mapping):
        raise UsageError(f"weights {path}", expected="a state dict", got=type(state).__name__)
    return state
