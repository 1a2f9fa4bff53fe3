"""Hiera video networks (Ryali et al., 2023) of the package hiera-transformer. The only file that imports hiera.

The package is Apache-2.0; the published weights are CC BY-NC 4.0, for non-commercial use only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import local_weights
from mulde.extractors.networks import Loaded, Preprocessing, ready
from mulde.extractors.pretrained import copy_state, read_state

_MEAN, _STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


def load_hiera(model: str, weights: str, device: str) -> Loaded:
    """A Hiera network of 16 frames of 224 x 224 without its head, ready to run: 1152 numbers for hiera_large_16x224.

    `weights` is a tag of weights trained for classification (as mae_k400_ft_k400; DEFAULT is that one), downloaded
    once, or the path of a local state dict. Raises UsageError for a missing package, an unknown tag or a file that
    does not fit, MuldeError for a failed download.
    """
    build = getattr(_hiera(), model)
    # Weights from masked pictures alone are left out: they lack the normalisation that the features come from.
    tags = {"DEFAULT": build.default, **{tag: tag for tag in build.checkpoints if "_ft_" in tag}}
    path = local_weights(weights)
    if path is not None:
        state = read_state(path)
    elif weights in tags:
        state, path = _download(build.checkpoints[tags[weights]]), Path(tags[weights])
    else:
        raise UsageError(
            f"Hiera weights {weights!r} for {model}", expected=f"an existing file or one of {', '.join(tags)}"
        )
    network = build()
    dim = int(network.head.projection.in_features)
    network.head = nn.Identity()  # the whole of it: behind the linear layer it holds a softmax
    copy_state(network, state.get("model_state", state), path, "head")
    return ready(network, device), Preprocessing(224, _MEAN, _STD, frames=16), dim


def _hiera() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of timm, that the package imports from its former places
            import hiera
    except ImportError as error:
        raise UsageError(
            f"Hiera networks need the package hiera-transformer, which cannot be imported ({error})",
            hint='pip install "mulde[hiera]"',
        ) from error
    return hiera


def _download(url: str) -> Mapping[str, Any]:
    """Published weights; the package's own loader is not used because it unpickles whatever the file holds."""
    try:
        state: Mapping[str, Any] = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
        return state
    except Exception as error:
        raise MuldeError(
            f"Hiera weights {url} cannot be downloaded ({error})", hint="the path of a local state dict as `weights`"
        ) from error
