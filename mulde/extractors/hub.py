"""Names of networks on the Hugging Face hub, and what of them lies on this machine. Downloads nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def is_hub_name(name: str) -> bool:
    """Whether `name` is written as `owner/name` or `owner/name@revision`: never a path or an address."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def quieten_hub() -> None:
    """Keep the hub's client from reporting its use, and from writing a line for each of its retries: what fails in the
    end is said once, in a sentence. Call it before a library imports that client."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def cached_files(repository: str, pattern: str) -> list[Path]:
    """Files of a repository that the hub's cache holds, by a pattern of their names."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    return [path for path in sorted(folder.glob(f"*/{pattern}")) if path.suffix in (".safetensors", ".bin")]
