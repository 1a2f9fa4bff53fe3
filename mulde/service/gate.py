"""Who is let in: the token, how often it may be guessed, and the hosts under which the service answers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FREE_TRIES, WAIT_S = 5, 10.0
"""Wrong tokens of one address that are answered at once, and how long it then waits between two."""
_FORGET_S, _MAX_ADDRESSES = 3600.0, 10_000


@dataclass(frozen=True)
class Verdict:
    """Whether a token is right. wait_s: how long its address has to wait before another one is looked at."""

    is_right: bool
    wait_s: float = 0.0


class TokenGate:
    """Compares tokens, in a time that does not tell how much of one is right. For any thread.

    clock: seconds that never go back.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token, self._clock = _digest(token), clock
        self.cookie = hmac.new(token.encode(), b"mulde page", hashlib.sha256).hexdigest()
        """What a browser keeps in place of the token."""
        self._cookie = _digest(self.cookie)
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check_token(self, address: str, token: str) -> Verdict:
        return self._check(address, token, self._token)

    def check_cookie(self, address: str, cookie: str) -> Verdict:
        return self._check(address, cookie, self._cookie)

    def _check(self, address: str, given: str, right: bytes) -> Verdict:
        now_s, network = self._clock(), _network(address)
        count, last_s = self._wrong.get(network, (0, now_s))
        if now_s - last_s > _FORGET_S:
            count = 0
        if count >= FREE_TRIES and now_s - last_s < WAIT_S:
            return Verdict(False, WAIT_S - (now_s - last_s))
        if hmac.compare_digest(_digest(given), right):
            self._wrong.pop(network, None)
            return Verdict(True)
        self._wrong[network] = count + 1, now_s
        self._wrong.move_to_end(network)
        while len(self._wrong) > _MAX_ADDRESSES:
            self._wrong.popitem(last=False)
        return Verdict(False)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _network(address: str) -> str:
    """Of IPv6 the part that one customer has, so that nobody has 2^64 addresses to try from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


class Hosts:
    """The names under which the service answers. A name that somebody else's server resolves to this machine is none,
    so that no page from elsewhere reads this one (DNS rebinding); addresses cannot be resolved to anything else."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {name.casefold() for name in (*names, "localhost", socket.gethostname())}

    def allows(self, header: str) -> bool:
        """header: `Host`, with or without a port."""
        name, colon, port = header.rpartition(":")
        if not colon or not port.isdecimal():
            name = header
        if name.startswith("[") and name.endswith("]"):
            name = name[1:-1]
        if name.casefold().rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
