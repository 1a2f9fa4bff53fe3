"""Who is let in, on a clock that stands until it is moved."""

from __future__ import annotations

import socket

import pytest

from mulde.errors import UsageError
from mulde.pipeline.live.service_settings import ServiceSettings, host_and_port, is_loopback, read_token
from mulde.pipeline.live.settings import read_watch_settings
from mulde.service.gate import FREE_TRIES, WAIT_S, Hosts, TokenGate

TOKEN = "t0ken-of-32-characters-or-so-ABC"


class Gate:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.gate = TokenGate(TOKEN, lambda: self.now_s)

    def tries(self, count: int, address: str = "10.0.0.1") -> list[float]:
        return [self.gate.check_token(address, f"wrong {n}").wait_s for n in range(count)]


def test_the_token_and_its_cookie_are_right_and_nothing_else_is():
    gate = Gate().gate
    assert gate.check_token("a", TOKEN).is_right
    assert gate.check_cookie("a", gate.cookie).is_right
    assert TOKEN not in gate.cookie
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.lower(), gate.cookie, "\udcff"):
        assert not TokenGate(TOKEN).check_token("a", wrong).is_right
    assert not gate.check_cookie("a", TOKEN).is_right


def test_five_wrong_tokens_are_answered_at_once_and_then_one_in_ten_seconds():
    door = Gate()
    assert door.tries(FREE_TRIES) == [0.0] * FREE_TRIES
    assert door.gate.check_token("10.0.0.1", TOKEN).wait_s == WAIT_S, "not even looked at"
    door.now_s += 9.9
    assert door.gate.check_token("10.0.0.1", TOKEN).wait_s == pytest.approx(0.1)
    door.now_s += 0.2
    assert door.tries(1) == [0.0]
    assert door.tries(1) == [WAIT_S]
    door.now_s += WAIT_S
    assert door.gate.check_token("10.0.0.1", TOKEN).is_right
    assert door.tries(FREE_TRIES) == [0.0] * FREE_TRIES, "and it begins again"


def test_wrong_tokens_of_one_address_keep_no_other_waiting():
    door = Gate()
    door.tries(FREE_TRIES + 1)
    assert door.gate.check_token("10.0.0.2", TOKEN).is_right
    door.tries(FREE_TRIES, "2001:db8:1:2::1")
    assert door.gate.check_token("2001:db8:1:2:ffff::9", TOKEN).wait_s, "one customer has both"
    assert door.gate.check_token("2001:db8:1:3::1", TOKEN).is_right


def test_the_addresses_that_are_remembered_are_bounded():
    door = Gate()
    for number in range(10_500):
        door.gate.check_token(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "wrong")
    assert len(door.gate._wrong) == 10_000


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:8765", True), ("127.0.0.1:8765", True), ("192.168.1.4", True),
        ("[::1]:8765", True), ("[::1]", True), (socket.gethostname(), True), ("nvr.example:443", True),
        ("NVR.example", True), ("evil.example", False), ("localhost.evil.example:8765", False), ("", False),
        ("127.0.0.1.evil.example", False), ("evil.example:127", False), ("nvr.example:x", False), ("[", False),
    ],
)  # fmt: skip
def test_only_addresses_and_known_names_are_hosts(header, allowed):
    assert Hosts(["nvr.example"]).allows(header) is allowed


def test_an_address_that_others_can_reach_needs_a_token_that_cannot_be_guessed(tmp_path):
    path = tmp_path / "token"
    assert read_token(ServiceSettings()) == ""
    with pytest.raises(UsageError, match=r"0\.0\.0\.0:8765: expected a token_file"):
        read_token(ServiceSettings(listen="0.0.0.0:8765"))
    path.write_text("short\n")
    with pytest.raises(UsageError, match="at least 16") as error:
        read_token(ServiceSettings(listen="0.0.0.0:8765", token_file=str(path)))
    assert "short" not in str(error.value)
    path.write_text("a token with spaces in it\n")
    with pytest.raises(UsageError, match="without a space"):
        read_token(ServiceSettings(token_file=str(path)))
    path.write_text(f"{TOKEN}\n")
    assert read_token(ServiceSettings(listen="0.0.0.0:8765", token_file=str(path))) == TOKEN
    with pytest.raises(UsageError, match="trusted_proxies"):
        read_token(ServiceSettings(trusted_proxies=["proxy.example"]))


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:8765", "127.0.0.1", 8765, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("[::1]:80", "::1", 80, True),
        ("localhost:0", "localhost", 0, True),
        ("[::]:8765", "::", 8765, False),
        ("nvr.example:8765", "nvr.example", 8765, False),
    ],
)
def test_where_to_listen(listen, host, port, loopback):
    assert host_and_port(listen) == (host, port)
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("listen", ["", "8765", "127.0.0.1", "::1:80", "a:70000", "a:b", "http://a:80", "[::1]80"])
def test_what_is_no_address(listen):
    with pytest.raises(UsageError, match="HOST:PORT"):
        host_and_port(listen)


def test_a_file_of_cameras_says_whether_somebody_chose_the_address(tmp_path):
    path = tmp_path / "cameras.toml"
    cameras = '[cameras.yard]\nurl = "rtsp://127.0.0.1/x"\n'
    path.write_text(cameras)
    assert read_watch_settings(path).service.model_fields_set == set()
    path.write_text(f'{cameras}[service]\nlisten = "127.0.0.1:1"\ntoken_file = "token"\n')
    service = read_watch_settings(path).service
    assert service.model_fields_set == {"listen", "token_file"}
    assert service.token_file == str(tmp_path / "token")
