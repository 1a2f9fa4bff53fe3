"""Protocol variants of published evaluations, under their names. Their figures compare with no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.metrics import Figures, LabelledScores, frame_figures, mean_figures
from mulde.evaluation.robust import KEEP, WINDOW, robust_average, stretched
from mulde.evaluation.smoothing import smooth
from mulde.records import Bool, Float64


@dataclass(frozen=True)
class CompatFigures:
    """Figures by a protocol variant, of the result and of scores that never look at the video.

    steps: what was done to each video, in order; reported: the figures that the variant reports; not_comparable: why
    they compare with no others.
    """

    name: str
    steps: tuple[str, ...]
    reported: tuple[str, ...]
    not_comparable: str
    result: Figures
    nulls: Mapping[str, Figures]


@dataclass(frozen=True)
class Step:
    """One thing done to the scores and labels of a video; `apply` gets the sigma of the run for it, in frames."""

    text: str
    apply: Callable[[LabelledScores, float], LabelledScores]


@dataclass(frozen=True)
class JoinedStep:
    """One thing done to the scores (T,) of all videos, one after the other."""

    text: str
    apply: Callable[[Float64], Float64]


@dataclass(frozen=True)
class ProtocolVariant:
    """Steps in order, the figures that are then reported, and why these are not comparable; `joined`: what is done
    after them to all videos as if they were one."""

    steps: tuple[Step, ...]
    reported: tuple[str, ...]
    not_comparable: str
    joined: JoinedStep | None = None


def drop_first_frames(num_frames: int) -> Step:
    """Scores and labels of the first frames of each video are left out."""

    def apply(video: LabelledScores, _: float) -> LabelledScores:
        return LabelledScores(video.video, video.scores[num_frames:], video.anomalous[num_frames:])

    return Step(f"first {num_frames} frames dropped", apply)


def drop_last_frames(num_frames: int) -> Step:
    """Scores and labels of the last frames of each video are left out."""

    def apply(video: LabelledScores, _: float) -> LabelledScores:
        end = max(video.scores.size - num_frames, 0)
        return LabelledScores(video.video, video.scores[:end], video.anomalous[:end])

    return Step(f"last {num_frames} frames dropped", apply)


def per_video_minmax() -> Step:
    """Scores of each video stretched to 0..1; all 0 where they are all the same."""

    def apply(video: LabelledScores, _: float) -> LabelledScores:
        return LabelledScores(video.video, stretched(video.scores), video.anomalous)

    return Step("per-video min-max", apply)


def gaussian(sigma_frames: float | None = None) -> Step:
    """Centred Gaussian smoothing, with the sigma of the run unless one is given."""

    def apply(video: LabelledScores, sigma_of_run: float) -> LabelledScores:
        sigma = sigma_of_run if sigma_frames is None else sigma_frames
        return LabelledScores(video.video, smooth(video.scores, sigma, "centred"), video.anomalous)

    named = "sigma of the run" if sigma_frames is None else f"sigma {sigma_frames:g} frames"
    return Step(f"centred smoothing, {named}", apply)


def median(num_frames: int) -> Step:
    """Running median of an odd number of frames; beyond the ends of a video the score counts as 0."""

    def apply(video: LabelledScores, _: float) -> LabelledScores:
        from scipy import ndimage

        filtered = ndimage.median_filter(video.scores, num_frames, mode="constant", cval=0.0)
        return LabelledScores(video.video, np.asarray(filtered), video.anomalous)

    return Step(f"running median of {num_frames} frames", apply)


_STRETCHED = "stretching each video's scores to 0..1 tells the metric that every video holds an anomaly"
_DROPPED = "the first 4 frames of each video, hard or easy, are not counted"
_PADDED = (
    "a fake normal and a fake anomalous frame, both ranked right, are added to each video: one-class videos count 1"
)


def _reiss(sigma_frames: float) -> ProtocolVariant:
    # Public code of Reiss & Hoshen (arXiv 2212.00789). It ranks the fake normal frame at the score 0, where this
    # ranks it below all others: the same thing unless a calibrated score is 0 or less.
    return ProtocolVariant(
        (gaussian(sigma_frames),),
        ("micro_auc", "macro_padded_auc"),
        f"the smoothing is {sigma_frames:g} frames at any frame rate, picked per data set, and looks ahead; {_PADDED}",
    )


VARIANTS: Mapping[str, ProtocolVariant] = {
    "minmax": ProtocolVariant((gaussian(), per_video_minmax()), ("micro_auc",), _STRETCHED),
    "padded-macro": ProtocolVariant((gaussian(),), ("macro_padded_auc",), _PADDED),
    "dropped-frames": ProtocolVariant((drop_first_frames(4), gaussian()), ("micro_auc",), _DROPPED),
    # Public code of Liu et al., Future Frame Prediction (CVPR 2018); the first 4 scores there repeat the fifth, so that
    # dropping before or after the min-max is the same.
    "future-frame": ProtocolVariant(
        (drop_first_frames(4), per_video_minmax()),
        ("micro_auc",),
        f"{_STRETCHED}; {_DROPPED}; their script also keeps the checkpoint with the best test AUC (not done here)",
    ),
    # Public code of Liu et al., HF2-VAD (ICCV 2021).
    "hf2-vad": ProtocolVariant(
        (drop_first_frames(4), median(17)),
        ("micro_auc",),
        f"{_DROPPED}; the median looks 8 frames ahead and takes 0 for the score beyond the ends of a video",
    ),
    # Public code of Liu et al., DMAD (CVPR 2023), on UCSD Ped2, of one score in place of three.
    "dmad": ProtocolVariant(
        (drop_first_frames(4), per_video_minmax()),
        ("micro_auc",),
        f"{_STRETCHED}; {_DROPPED}; the average looks 5 frames ahead and runs across the ends of videos; their "
        "training also keeps the epoch with the best test AUC (not done here)",
        JoinedStep(f"mean of the {KEEP} of {WINDOW} frames nearest their mean, over all videos as one", robust_average),
    ),
    "reiss": _reiss(3),
    "reiss-shanghaitech": _reiss(7),
}


WITHOUT_SKIPPED = "without-skipped-frames"


def compat_figures(
    name: str,
    scores: Mapping[str, Float64],
    nulls: Mapping[str, Sequence[Mapping[str, Float64]]],
    truth: Mapping[str, Bool],
    sigma_frames: Mapping[str, float],
) -> CompatFigures:
    """The figures of a protocol variant, one of VARIANTS.

    scores: video -> (T,) unsmoothed; nulls: name -> draws of the same form, whose figures are averaged; truth: video ->
    (T,); sigma_frames: smoothing of the run, in frames. Raises UsageError for an unknown name.
    """
    if name not in VARIANTS:
        raise UsageError("protocol variant", expected=" or ".join(VARIANTS), got=repr(name))
    return _figures(name, VARIANTS[name], scores, nulls, truth, sigma_frames)


def without_skipped(
    skipped: tuple[int, int],
    scores: Mapping[str, Float64],
    nulls: Mapping[str, Sequence[Mapping[str, Float64]]],
    truth: Mapping[str, Bool],
    sigma_frames: Mapping[str, float],
) -> CompatFigures:
    """The figures of raw scores where frames that a method gives no score are left out with their labels, as
    publications do: skipped[0] at the start of each video and skipped[1] at its end. The other arguments are those of
    `compat_figures`."""
    steps = [drop(count) for drop, count in zip((drop_first_frames, drop_last_frames), skipped, strict=True) if count]
    variant = ProtocolVariant(
        tuple(steps),
        ("micro_auc", "macro_auc"),
        "frames that the method gives no score, hard or easy, are not counted; scores raw, as they were given",
    )
    return _figures(WITHOUT_SKIPPED, variant, scores, nulls, truth, sigma_frames)


def _figures(
    name: str,
    variant: ProtocolVariant,
    scores: Mapping[str, Float64],
    nulls: Mapping[str, Sequence[Mapping[str, Float64]]],
    truth: Mapping[str, Bool],
    sigma_frames: Mapping[str, float],
) -> CompatFigures:

    def figures(raw: Mapping[str, Float64]) -> Figures:
        videos = [LabelledScores(video, raw[video], truth[video]) for video in truth]
        for step in variant.steps:
            videos = [step.apply(video, sigma_frames[video.video]) for video in videos]
        if variant.joined is not None:
            videos = _joined(videos, variant.joined)
        return frame_figures(videos)

    return CompatFigures(
        name=name,
        steps=(*(step.text for step in variant.steps), *([variant.joined.text] if variant.joined else [])),
        reported=variant.reported,
        not_comparable=variant.not_comparable,
        result=figures(scores),
        nulls={null: mean_figures([figures(draw) for draw in draws]) for null, draws in nulls.items()},
    )


def _joined(videos: Sequence[LabelledScores], step: JoinedStep) -> list[LabelledScores]:
    scores = step.apply(np.concatenate([video.scores for video in videos]))
    parts = np.split(scores, np.cumsum([len(video.scores) for video in videos])[:-1])
    return [LabelledScores(v.video, part, v.anomalous) for v, part in zip(videos, parts, strict=True)]
