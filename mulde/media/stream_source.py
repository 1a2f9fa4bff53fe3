"""Where a stream comes from: an address without secrets, and beside it what opens it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from mulde.errors import UsageError


class Kind(NamedTuple):
    """How libav reads an address: what it may take it for, what it may open, and options that can be replaced."""

    formats: str
    protocols: str
    options: Mapping[str, str]


_HTTP_FORMATS = "mpegts,hls,flv,live_flv,mjpeg,mpjpeg,matroska,webm,mov,mp4,h264,hevc"
# A playlist names further addresses, which are opened under the same list of protocols: never a file.
_RTSP_OPTIONS = {"rtsp_transport": "tcp", "allowed_media_types": "video"}
KINDS: Mapping[str, Kind] = {
    "rtsp": Kind("rtsp", "rtsp,rtp,tcp,udp", _RTSP_OPTIONS),
    "rtsps": Kind("rtsp", "rtsp,rtsps,rtp,srtp,tcp,tls", _RTSP_OPTIONS),
    "rtmp": Kind("flv,live_flv", "rtmp,tcp", {}),
    "rtmps": Kind("flv,live_flv", "rtmps,rtmp,tls,tcp", {}),
    "http": Kind(_HTTP_FORMATS, "http,https,tls,tcp,crypto", {}),
    "https": Kind(_HTTP_FORMATS, "https,http,tls,tcp,crypto", {}),
    "device": Kind("video4linux2,v4l2", "file", {}),
}
_FIXED_OPTIONS = frozenset({"protocol_whitelist", "protocol_blacklist", "format_whitelist"})
_DEVICE = re.compile(r"/dev/video\d{1,3}")
_SECRET_IN_ADDRESS = re.compile(r"(?i)(?:password|passwd|pass|pwd)[=:](?!\{password\})[^&/?#;]")
PASSWORD_PLACE, USER_PLACE = "{password}", "{user}"
_HINT = "put the name into `user` and the password into password_env or password_file"


@dataclass(frozen=True)
class StreamSource:
    """A camera's address and what is needed to open it.

    url: rtsp, rtsps, rtmp, rtmps, http or https, or /dev/videoN; `{user}` and `{password}` in it stand for the two,
    for cameras that want them there. options: libav's. User, password and options are in no repr. Raises UsageError for
    an address of another kind, one that carries a password, and options that would open more.
    """

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    open_timeout_s: float = 5.0
    read_timeout_s: float = 3.0

    def __post_init__(self) -> None:
        if min(self.open_timeout_s, self.read_timeout_s) <= 0:
            raise UsageError("The time-outs of a stream", expected="more than 0 s")
        if fixed := _FIXED_OPTIONS & set(self.options):
            raise UsageError(f"The options of a stream cannot set {' and '.join(sorted(fixed))}")
        if _DEVICE.fullmatch(self.url):
            return
        scheme, separator, _ = self.url.partition("://")
        if not separator or scheme not in KINDS or scheme == "device":
            raise UsageError(
                "The address of a camera is of another kind",
                expected=f"{', '.join(kind for kind in KINDS if kind != 'device')} or /dev/video and a number",
            )
        if any(letter.isspace() or not letter.isprintable() for letter in self.url):
            raise UsageError("The address of a camera holds blanks or control characters", hint="quote them: %20")
        self._check_secrets(scheme)

    def _check_secrets(self, scheme: str) -> None:
        # Anywhere: a "/", "?" or "#" in a password would move the "@" behind the host.
        if "@" in self.url or _SECRET_IN_ADDRESS.search(self.url):
            raise UsageError("The address of a camera carries a user or a password", hint=_HINT)
        try:
            parts = urlsplit(self.url)
            has_host = bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text quotes the address
            has_host = False
        if not has_host:
            raise UsageError("The address of a camera cannot be read", expected=f"{scheme}://HOST/...")
        if scheme.startswith("rtmp") and quote(self.user + self.password, safe="") != self.user + self.password:
            raise UsageError(
                "RTMP takes no user or password with characters other than letters, digits and _ . - ~",
                hint=f"use {PASSWORD_PLACE} in the address where the camera wants it, or choose another password",
            )

    @property
    def kind(self) -> Kind:
        return KINDS["device" if self.url.startswith("/") else self.url.partition("://")[0]]

    @property
    def shown(self) -> str:
        """The address for messages: without user, query and fragment."""
        return self.url.partition("?")[0].partition("#")[0]

    def address(self) -> str:
        """The address for libav, with the user and the password in it: for no other eyes."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        filled = self.url.replace(USER_PLACE, user).replace(PASSWORD_PLACE, password)
        if filled != self.url or not (user or password):
            return filled
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{user}:{password}@{rest}"

    def libav_options(self) -> dict[str, str]:
        """What libav is opened with; what it may open cannot be replaced."""
        kind = self.kind
        return {
            **kind.options,
            **self.options,
            "format_whitelist": kind.formats,
            "protocol_whitelist": kind.protocols,
        }
