"""What models are made of, and models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import echo
from mulde.commands.options import (
    Config,
    Detector,
    Device,
    Json,
    Set,
    path,
    read_settings,
)


def export(
    model: Annotated[Path, typer.Argument(parser=path, help="Bundle written by `mulde train` or `mulde run`.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="As ONNX: rows of features in, anomaly_score and readings out.")
    ] = False,
    out: Annotated[Path, typer.Option(parser=path, help="Folder to write: a file per stream, and export.json.")] = Path(
        "export"
    ),
    stream: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This stream alone. Repeatable. [default: all]")
    ] = None,
) -> None:
    """Write the densities of a model for other programs, with what is needed to fuse them."""
    from mulde.pipeline.model.export import export as write_export

    formats = [name for name, wanted in {"onnx": onnx}.items() if wanted]
    for written in write_export(model, out, formats, stream or ()):
        echo(written)


def export_detector(
    weights: Annotated[str, typer.Argument(help="Detector or pose weights (.pt), or an official name.")],
    format_: Annotated[str, typer.Option("--format", help="openvino, onnx or engine (TensorRT).")] = "openvino",
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit numbers, calibrated on pictures of --data: about 3 times as fast.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="16-bit numbers.")] = False,
    image_size: Annotated[int, typer.Option(min=32, help="Pixels of the longer side inside the network.")] = 640,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            help="For --int8: Ultralytics data set YAML, as coco8.yaml, which is downloaded.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Where to put it. [default: beside the weights]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make a faster copy of a detector for this kind of machine; use it with --detector."""
    from mulde.pipeline.extraction.export_detector import export_detector as make

    echo(
        make(weights, format_, out, int8=int8, half=half, image_size=image_size, batch=batch, data=data, device=device)
    )


def settings(config: Config = None, set_: Set = None, detector: Detector = None) -> None:
    """Print every setting with its meaning, bounds and value, as a TOML file for --config."""
    from mulde.settings_file import dump_toml

    for line in dump_toml(read_settings(config, set_, detector)).splitlines():
        echo(line)


def models(
    kind: Annotated[
        str | None, typer.Option(help="Only these: detector, pose, image, video, clip or flow.", show_default=False)
    ] = None,
    json_: Json = False,
) -> None:
    """List the networks that the settings can name: numbers per row, download, licence, what is here already."""
    from mulde.commands.console.cache import print_models
    from mulde.extractors.zoo import list_models, remarks

    print_models(list_models(kind), remarks(kind), json_=json_)
