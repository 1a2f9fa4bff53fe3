"""Pictures of cameras as JPEG: the newest one, and a grey one that says that there is none."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from PIL import Image, ImageDraw

from mulde.names import printable
from mulde.service.source import Picture

MAX_WIDTH = 1280
_QUALITY = 80
_GREY_WH = (640, 360)


def jpeg(picture: Picture) -> bytes:
    """The picture, at most MAX_WIDTH pixels wide."""
    image = Image.fromarray(picture.image)
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, max(round(image.height * MAX_WIDTH / image.width), 1)))
    return _encoded(image)


def grey_jpeg(camera: str, taken_ms: int | None) -> bytes:
    """A grey picture that says since when there is none: no old picture may look as if it were live."""
    image = Image.new("RGB", _GREY_WH, (96, 96, 96))
    text = "no picture yet"
    if taken_ms is not None:
        text = f"no picture since {datetime.fromtimestamp(taken_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    draw = ImageDraw.Draw(image)
    draw.text((20, 140), printable(camera)[:60].encode("ascii", "replace").decode(), (230, 230, 230), font_size=28)
    draw.text((20, 185), text, (230, 230, 230), font_size=24)
    return _encoded(image)


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
