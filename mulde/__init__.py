"""mulde: learn what is normal in video and say when something is not.

    model = mulde.train("normal/")
    result = model.score("new.mp4")
    result.events

`import mulde` loads nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulde import errors as errors
    from mulde.api.evaluation import evaluate as evaluate
    from mulde.api.features import extract as extract
    from mulde.api.model import Model as Model
    from mulde.api.model import load_model as load_model
    from mulde.api.model import score as score
    from mulde.api.model import train as train
    from mulde.api.result import Result as Result
    from mulde.density.estimator import MuldeDensity as MuldeDensity
    from mulde.density.options import MuldeOptions as MuldeOptions
    from mulde.evaluation.protocol import Evaluation as Evaluation

__version__ = "0.2.0"

__all__ = [
    "Evaluation",
    "Model",
    "MuldeDensity",
    "MuldeOptions",
    "Result",
    "__version__",
    "errors",
    "evaluate",
    "extract",
    "load_model",
    "score",
    "train",
]

_HOMES = {
    "Evaluation": "mulde.evaluation.protocol",
    "Model": "mulde.api.model",
    "MuldeDensity": "mulde.density.estimator",
    "MuldeOptions": "mulde.density.options",
    "Result": "mulde.api.result",
    "evaluate": "mulde.api.evaluation",
    "extract": "mulde.api.features",
    "load_model": "mulde.api.model",
    "score": "mulde.api.model",
    "train": "mulde.api.model",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("mulde.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
