"""Passwords and addresses that are secret: settings name an environment variable or a file, and never hold one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mulde.errors import UsageError
from mulde.files import read_text

_MAX_BYTES = 4096


def read_secret(
    owner: str, key: str, variable: str, file: str, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The secret of `owner` that the settings `key`_env and `key`_file name; None where neither is given.

    Raises UsageError where both are given and where it cannot be had, without a byte of it.
    """
    if variable and file:
        raise UsageError(owner, expected=f"{key}_env or {key}_file", got="both", hint="leave one of them out")
    if variable:
        if variable not in environment:
            raise UsageError(f"{key} of {owner}: environment variable {variable} is not set")
        return environment[variable]
    if file:
        return read_text(Path(file), max_bytes=_MAX_BYTES, error=UsageError).removesuffix("\n").removesuffix("\r")
    return None


def without_secrets(text: str, *secrets: str) -> str:
    """The text with every occurrence of a secret as `...`; a secret of less than four characters would match anything,
    so such a text is left out as a whole where it has one."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "...")
        elif secret and secret in text:
            return "..."
    return text
