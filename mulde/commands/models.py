"""Commands about models: the networks and settings that they are made from, exports for other programs."""

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
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", parser=path, help="Model written by `mulde train` or `mulde run`.")
    ],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write ONNX: rows of features in, anomaly_score and readings out.")
    ] = False,
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder to write: one file per stream, and export.json.")
    ] = Path("export"),
    stream: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Export only this stream. Repeatable. [default: all]")
    ] = None,
) -> None:
    """Export the densities of a model for other programs.

    What is needed to fuse them is written as well.
    """
    from mulde.pipeline.model.export import export as write_export

    formats = [name for name, wanted in {"onnx": onnx}.items() if wanted]
    for written in write_export(model, out, formats, stream or ()):
        echo(written)


def export_detector(
    weights: Annotated[
        str, typer.Argument(metavar="WEIGHTS", help="Detector or pose weights (.pt), or an official model name.")
    ],
    format_: Annotated[str, typer.Option("--format", help="openvino, onnx or engine (TensorRT).")] = "openvino",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Use 8-bit integers, calibrated on the images of --data: about three times faster."
        ),
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Use 16-bit floats.")] = False,
    image_size: Annotated[int, typer.Option(min=32, help="Longer side of the network input, in pixels.")] = 640,
    batch: Annotated[int, typer.Option(min=1, help="Number of images per batch.")] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            help="For --int8: YAML of an Ultralytics data set, e.g. coco8.yaml, which is downloaded.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Where to write the copy. [default: next to the weights]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Convert a detector to a faster format for this machine.

    Use the result with --detector, here and on machines of the same kind.
    """
    from mulde.pipeline.extraction.export_detector import export_detector as make

    echo(
        make(weights, format_, out, int8=int8, half=half, image_size=image_size, batch=batch, data=data, device=device)
    )


def settings(config: Config = None, set_: Set = None, detector: Detector = None) -> None:
    """Print all settings as TOML for --config.

    Each is printed with its meaning, bounds and value.
    """
    from mulde.settings_file import dump_toml

    for line in dump_toml(read_settings(config, set_, detector)).splitlines():
        echo(line)


def models(
    kind: Annotated[
        str | None,
        typer.Option(help="Only this kind: detector, pose, image, timm, video, clip or flow.", show_default=False),
    ] = None,
    json_: Json = False,
) -> None:
    """List the networks that settings can name.

    Shows numbers per row, download size, licence, and whether a network is here already.
    """
    from mulde.commands.console.cache import print_models
    from mulde.extractors.zoo import list_models, remarks

    print_models(list_models(kind), remarks(kind), json_=json_)
