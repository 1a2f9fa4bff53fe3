"""A bundle for other programs: one file per stream, and beside them what puts the streams together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mulde import __version__
from mulde.density.base import Density
from mulde.density.onnx import to_onnx
from mulde.digests import fingerprint
from mulde.errors import UsageError
from mulde.files import atomic_write, write_json
from mulde.pipeline.model.bundle import SCHEMA_VERSION
from mulde.pipeline.model.calibration import Surprise
from mulde.pipeline.model.loading import load_model

FORMATS: dict[str, Callable[[Density, Mapping[str, str]], bytes]] = {"onnx": to_onnx}
"""Ways to write a density, with metadata beside it. The name is the flag and the suffix of the files."""
FUSION_FILE = "export.json"
_STEPS = (
    "rows = the larger of a row's values and `least`, where the stream has that",
    "share = (anomaly_score - low) / (high - low), with the calibration of the stream",
    "calibrated = mean over the files of (share where share <= 1, else 1 + ln(share))",
    "neg_log_p = straight lines through the points (score, neg_log_p), level in front of the first; behind the last "
    "one slope times the rest comes on top",
    "surprise = sqrt(2 neg_log_p); calibrated itself where the stream's surprise is null",
    "score of a frame in a stream = largest surprise of its rows; empty where it has no rows",
    "fused score of a frame = the streams combined (sum or max)",
    "smoothed = Gaussian in time inside a video, standard deviation smoothing_s, borders reflected",
)


def export(model: Path, out: Path, formats: Sequence[str], streams: Sequence[str] = ()) -> list[Path]:
    """Write the streams of a bundle (all, unless some are named) into a folder; the paths of the files.

    For each format and density of a stream `<stream>-<fold>.<format>`, and last export.json: the scales of each stream
    and how they are fused.
    Raises UsageError without a format, for an unknown stream and for a density that the format cannot hold; BundleError
    for a bundle that cannot be read. Nothing is written then.
    """
    if not formats:
        flags = " or ".join(f"--{name}" for name in FORMATS)
        raise UsageError("export", expected=f"a format: {flags}", got="none")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}", expected="a folder", got="a file")
    bundle = load_model(model).bundle
    unknown = [name for name in streams if name not in bundle.streams]
    if unknown:
        raise UsageError("--stream", expected=f"one of {', '.join(bundle.streams)}", got=", ".join(unknown))
    chosen = {name: stream for name, stream in bundle.streams.items() if not streams or name in streams}
    facts = {"mulde": __version__, "schema": SCHEMA_VERSION, "made_from": fingerprint(bundle.made_from)}
    contents = {
        out / f"{name}-{i}.{kind}": _content(kind, name, density, {k: str(v) for k, v in facts.items()})
        for name, stream in chosen.items()
        for i, density in enumerate(stream.densities)
        for kind in formats
    }
    for path, content in contents.items():
        with atomic_write(path) as partial:
            partial.write_bytes(content)
    fusion = bundle.settings.fusion
    described = {
        **facts,
        "direction": "higher = more anomalous",
        "combine": fusion.combine,
        "smoothing_s": fusion.smoothing_s,
        "steps": _STEPS,
        "streams": {
            name: {
                "columns": stream.dim,
                "files": [f"{name}-{i}.{kind}" for i in range(len(stream.densities)) for kind in formats],
                "calibration": stream.calibration.as_dict(),
                "surprise": None if stream.surprise is None else _as_lists(stream.surprise),
                "least": None if stream.least is None else stream.least.tolist(),
                "empty": stream.empty_score,
            }
            for name, stream in chosen.items()
        },
    }
    write_json(out / FUSION_FILE, described)
    return [*contents, out / FUSION_FILE]


def _as_lists(surprise: Surprise) -> dict[str, object]:
    return {"score": surprise.score.tolist(), "neg_log_p": surprise.neg_log_p.tolist(), "slope": surprise.slope}


def _content(kind: str, stream: str, density: Density, facts: Mapping[str, str]) -> bytes:
    try:
        return FORMATS[kind](density, {**facts, "stream": stream})
    except UsageError as error:
        raise UsageError(
            f"stream {stream} as {error.problem}", expected=error.expected, got=error.got, hint=error.hint
        ) from None
