"""Cameras on loopback: GStreamer's RTSP server in a process of its own, to be killed, stopped and begun again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("rtsp_server.py")
PACKAGES = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad python3-gi"
_PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('qtdemux', 'h264parse', 'rtph264pay')))"
)
_START_S = 60


def has_gstreamer() -> bool:
    """Whether the server can run here."""
    if not Path(PYTHON).exists():
        return False
    return subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CameraServer:
    """Video files as cameras behind one port, which stays the same when the server is begun again. As a context it is
    started, and killed at the end."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files, self.port = dict(files), free_port()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> CameraServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def address(self, name: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Returns when clients may come."""
        cameras = [f"{name}={path.absolute()}" for name, path in self.files.items()]
        self._process = subprocess.Popen(
            [PYTHON, str(SCRIPT), str(self.port), *cameras], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != "ready":
            self.kill()
            raise RuntimeError(f"the RTSP server does not start: {line.strip() or 'see above'}. Debian: {PACKAGES}")

    def kill(self) -> None:
        """As a camera that loses its power."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(_START_S)
        if process.stdout is not None:
            with contextlib.suppress(OSError):
                process.stdout.close()

    def stop(self) -> None:
        """As a camera that hangs: its connections stay open, and nothing comes."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
