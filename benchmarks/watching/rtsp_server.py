"""GStreamer's RTSP server with video files as cameras, for Debian's own python3: `gi` is in no virtual environment.

    /usr/bin/python3 rtsp_server.py PORT NAME=FILE...

Each file is played at its own pace, without encoding it again, to all clients at once; on 127.0.0.1 alone. `ready` on
standard output says that clients may come.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = '( filesrc location="{}" ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 )'


def main() -> None:
    port, *cameras = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for camera in cameras:
        name, _, path = camera.partition("=")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(LAUNCH.format(path.replace('"', '\\"')))
        factory.set_shared(True)
        server.get_mount_points().add_factory(f"/{name}", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
