"""The errors that `mulde` raises on purpose: each says what was expected, what came and what to try."""

from __future__ import annotations


class MuldeError(Exception):
    """A failure with a sentence for the person in front of the screen.

    `problem` names the thing at fault; `expected`, `got` and `hint` are optional clauses. `exit_code` is what the
    command line returns when this error ends the whole command.
    """

    exit_code = 1

    def __init__(self, problem: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        self.problem, self.expected, self.got, self.hint = problem, expected, got, hint
        clauses = []
        if expected is not None:
            clauses.append(f"expected {expected}")
        if got is not None:
            clauses.append(f"got {_cut(str(got))}")
        text = problem + (": " + ", ".join(clauses) if clauses else "")
        super().__init__(text + (f". Try: {hint}" if hint else ""))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.expected, self.got, self.hint))


def _cut(text: str, most: int = 300) -> str:
    """What came may be of any length; a sentence is not."""
    return text if len(text) <= most else f"{text[:most]}..."


def _rebuild(kind: type[MuldeError], problem: str, expected: object, got: object, hint: str | None) -> MuldeError:
    return kind(problem, expected=expected, got=got, hint=hint)


class UsageError(MuldeError):
    """A setting, flag or name that cannot be used as given."""

    exit_code = 2


class RecordError(MuldeError, ValueError):
    """Arrays that do not fit together, refused when a record is made."""


class VideoError(MuldeError):
    """A video or frame folder that cannot be read."""


class ImageError(MuldeError):
    """An image file, a frame or a mask, that cannot be read; the cause is an OSError where the disk refused."""


class LabelError(MuldeError):
    """Ground truth that is missing, miscounted or contradicts itself."""


class StoreError(MuldeError):
    """A stored feature file that is damaged or was made by other settings."""


class BundleError(MuldeError):
    """A model bundle that is damaged, of another version, or made for other settings."""


class FitError(MuldeError, ValueError):
    """Rows that a density cannot be fitted on."""
