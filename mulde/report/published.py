"""Published frame AUCs, as data, that a reproduction is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["object-centric", "frame-centric"]


@dataclass(frozen=True)
class Published:
    """A micro frame AUC in percent that a paper reports for a data set; `source` cites it. kind: the paper's own, where
    a method has one row per box and one row per frame."""

    method: str
    source: str
    micro_auc_percent: float
    kind: Kind | None = None


CAVEAT = (
    "Published figures usually belong to scores smoothed both ways (the row `centred`); scale, aggregate, epoch or "
    "weights were sometimes chosen on test labels, and label sets and dropped frames differ: not like for like."
)

_MULDE = "MULDE", "arXiv 2403.14497"
_REISS = "Reiss & Hoshen", "arXiv 2212.00789"
_MSMA = "MSMA, on the features of MULDE", "arXiv 2403.14497"
_DMAD = "DMAD", "arXiv 2303.05047"
_HF2 = "HF2-VAD", "arXiv 2108.06852"
_AED = "AED-MAE", "arXiv 2306.12041"

_AVENUE = (
    Published(*_MULDE, 94.3, "object-centric"),
    Published(*_REISS, 93.7),
    Published(*_MSMA, 90.2),
    Published(*_DMAD, 92.8),
    Published(*_HF2, 91.1),
    Published(*_AED, 91.3),
)

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "ucsd-ped2": (
        Published(*_MULDE, 99.7, "object-centric"),
        Published(*_REISS, 99.1),
        Published(*_MSMA, 99.5),
        Published(*_DMAD, 99.7),
        Published(*_HF2, 99.3),
        Published(*_AED, 95.4),
    ),
    "avenue-masks": _AVENUE,  # the papers do not name their label set
    "avenue-intervals": _AVENUE,
    "avenue-tracks": _AVENUE,  # of methods that see pixels
    "shanghaitech": (
        Published(*_MULDE, 86.7, "object-centric"),
        Published(*_MULDE, 81.3, "frame-centric"),
        Published(*_REISS, 85.9),
        Published(*_MSMA, 84.1),
        Published(*_DMAD, 78.8),
        Published(*_HF2, 76.2),
        Published(*_AED, 79.1),
    ),
    "ubnormal": (
        Published(*_MULDE, 72.8, "frame-centric"),
        Published(*_REISS, 66.8),
        Published(*_AED, 58.5),
    ),
    "ucf-crime": (Published(*_MULDE, 78.5, "frame-centric"),),
}
"""By the name of the data set; nothing for one that no paper at hand reports."""
