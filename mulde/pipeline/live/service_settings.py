"""Where the page and the API of a watched run are served, and who may ask."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import Field

from mulde.errors import UsageError
from mulde.files import read_text
from mulde.section import PathText, Section, Text

LISTEN = "127.0.0.1:8765"
MIN_TOKEN = 16
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})", re.ASCII)
_MAX_TOKEN_BYTES = 4096


class ServiceSettings(Section):
    """Where the service listens; empty = nowhere."""

    listen: Text = Field(LISTEN, description="address of the page, as HOST:PORT; empty = no page")
    token_file: PathText = Field(
        "", description="file with the token that lets people in; needed where `listen` is no loopback address"
    )
    trusted_proxies: list[Text] = Field(
        [], description="addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    hosts: list[Text] = Field(
        [], description="names under which the page is reached, besides localhost, addresses and this machine's name"
    )


def host_and_port(listen: str) -> tuple[str, int]:
    """The parts of HOST:PORT. Raises UsageError for anything else."""
    match = _ADDRESS.fullmatch(listen)
    if match is None or int(match["port"]) > 65535:
        raise UsageError("listen", expected="HOST:PORT, as 127.0.0.1:8765 or [::1]:8765", got=repr(listen))
    return match["v6"] or match["host"], int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(settings: ServiceSettings) -> str:
    """The token that lets people in, empty where none is needed.

    Raises UsageError where one is needed and missing, for one that can be guessed, and for proxies that are no
    addresses. Its text holds no part of the token.
    """
    host, _ = host_and_port(settings.listen)
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise UsageError("service.trusted_proxies", expected="addresses, as 10.0.0.2", got=repr(proxy)) from None
    if not settings.token_file:
        if not is_loopback(host):
            raise UsageError(
                f"listen {settings.listen}",
                expected="a token_file, as others can reach this address",
                got="none",
                hint="head -c 24 /dev/urandom | base64 > token, or listen on 127.0.0.1",
            )
        return ""
    token = read_text(Path(settings.token_file), max_bytes=_MAX_TOKEN_BYTES, error=UsageError).strip()
    if len(token) < MIN_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise UsageError(
            f"token in {settings.token_file}",
            expected=f"at least {MIN_TOKEN} letters, digits and signs without a space",
            got=f"{len(token)} characters" if len(token) < MIN_TOKEN else "others",
            hint="head -c 24 /dev/urandom | base64",
        )
    return token
