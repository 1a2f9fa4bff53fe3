"""What every table of the settings is: strict and frozen, so that a misspelt key is refused and nothing changes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from mulde.names import user_path


class Section(BaseModel):
    """A table of settings: unknown keys, infinities and changes after validation are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("text without a NUL")
    return value


def _expanded(text: str) -> str:
    return str(user_path(text)) if text.startswith("~") or "$" in text else text


Text = Annotated[str, AfterValidator(_text)]
PathText = Annotated[Text, AfterValidator(_expanded)]
"""A path, or a name that stands for one; `~` is a home."""
