"""Clips of alerts: a file each, from before the alert to after it, of the packets that the camera sent."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mulde.errors import MuldeError, sentence
from mulde.media.packets import StreamPacket
from mulde.media.stream_copy import StreamCopy, StreamTemplate, rescue_all
from mulde.names import output_path
from mulde.pipeline.live.packet_ring import PacketRing
from mulde.pipeline.run_folder import CLIPS
from mulde.progress import Reporter

MAX_CLIP_S = 120.0
MAX_QUEUE_BYTES = 2**26
"""Of packets that wait for the disk, of all cameras: several seconds of what they send together."""
CLIP_SUFFIXES = (".mp4", ".mkv")
_ENTRY_BYTES = 512  # what a packet in the queue takes besides its content


@dataclass(frozen=True)
class FinishedClip:
    """A clip that nothing is added to any more.

    path: its file, None where there is nothing to keep; cut: why it is shorter than it should be, "" for a whole one.
    """

    alert_id: str
    camera: str
    path: Path | None
    cut: str


class _Clip:
    """A clip in the making. The fields up to `cut` are guarded by the writer's lock; `copy` and `failure` are the
    thread's alone."""

    def __init__(self, writer: ClipWriter, alert_id: str, camera: str) -> None:
        self.writer, self.alert_id, self.camera = writer, alert_id, camera
        self.is_open = True  # takes packets
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.end_s: float | None = None
        self.post_roll_s: float | None = None
        self.cut = ""
        self.template: StreamTemplate | None = None
        self.copy: StreamCopy | None = None
        self.failure = ""

    def begin(self, template: StreamTemplate) -> None:
        self.template = template

    def add(self, packet: StreamPacket) -> bool:
        return self.writer._offer(self, packet)

    def end(self) -> None:
        self.writer._close(self, "the connection to the camera ended")


class ClipWriter:
    """Writes the clips of all cameras in one thread, into `clips/CAMERA/ALERT_ID.mp4` of a run folder.

    Nobody who calls it waits for the disk: packets wait in a queue of at most max_queue_bytes, and a clip for whose
    packets that is too little ends there, as do one of max_clip_s seconds and one whose session ends. It is kept up to
    the cut, told to the reporter and counted in `num_cut`; `num_written` counts all clips that have a file, and
    `num_failed` those that have none. on_done is called by the thread after each clip. Times are the arrivals of
    packets.
    """

    def __init__(
        self,
        root: Path,
        reporter: Reporter,
        *,
        max_clip_s: float = MAX_CLIP_S,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        on_done: Callable[[FinishedClip], None] = lambda clip: None,
    ) -> None:
        self.root, self.reporter, self.on_done = root, reporter, on_done
        self.max_clip_s, self.max_queue_bytes = max_clip_s, max_queue_bytes
        self.num_written = self.num_cut = self.num_failed = self.queue_bytes = 0
        self._changed = threading.Condition()
        self._queue: deque[tuple[_Clip, StreamPacket | None]] = deque()  # None: the clip ends
        self._clips: dict[str, _Clip] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="clips", daemon=True)

    def open(self) -> list[Path]:
        """Start the thread; before, give the clips that a killed process left their names, and return these.

        The run folder must be this process's own.
        """
        rescued = list[Path]()
        for folder in _folders(self.root / CLIPS):
            try:
                finished, num_removed = rescue_all(folder)
            except MuldeError as error:
                self.reporter.warn(f"{folder.name}: clips of an earlier run are left as they are: {error}")
                continue
            rescued += finished
            if finished or num_removed:
                self.reporter.say(
                    f"{folder.name}: clips that an earlier run did not finish: {len(finished)} kept, "
                    f"{num_removed} without any picture removed"
                )
        self._thread.start()
        return rescued

    def start(self, alert_id: str, camera: str, ring: PacketRing) -> bool:
        """Begin the clip of an alert with what the ring holds; it grows with each packet that the ring gets.

        Whether there is one: not without a connection, nor for a codec that no file can hold (`PacketRing.refusal`). A
        second call for a clip that is open changes nothing.
        """
        clip = _Clip(self, alert_id, camera)
        with self._changed:
            if self._is_stopping:
                return False
            if alert_id in self._clips:
                return True
            self._clips[alert_id] = clip
        # Outside of the lock: the ring holds its own while it calls the clip, which then asks for ours.
        is_followed = ring.follow(clip)
        if not is_followed:
            with self._changed:
                self._clips.pop(alert_id, None)
        return is_followed

    def finish(self, alert_id: str, post_roll_s: float) -> None:
        """End a clip post_roll_s seconds after the packet that came last; nothing for one that has ended already."""
        with self._changed:
            clip = self._clips.get(alert_id)
            if clip is None:
                return
            clip.post_roll_s = post_roll_s
            if clip.last_s is not None:
                clip.end_s = clip.last_s + post_roll_s

    def stop(self, limit_s: float) -> bool:
        """End all clips here and write what waits, for at most limit_s seconds.

        Whether that was enough: else the next `open` finishes what is there.
        """
        with self._changed:
            for clip in list(self._clips.values()):
                self._end(clip, "the program ended")
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(limit_s)
        if is_left := self._thread.is_alive():
            self.reporter.warn(f"The disk did not take all clips within {limit_s:g} s; what it has is kept")
        return not is_left

    def _offer(self, clip: _Clip, packet: StreamPacket) -> bool:
        """Queue a packet; whether the clip wants more."""
        with self._changed:
            if not clip.is_open:
                return False
            now_s, num_bytes = packet.arrived_s, packet.packet.size + _ENTRY_BYTES
            if clip.first_s is None:
                clip.first_s = now_s
                clip.end_s = None if clip.post_roll_s is None else now_s + clip.post_roll_s
            if clip.end_s is not None and now_s > clip.end_s:
                self._end(clip, "")
            elif now_s - clip.first_s > self.max_clip_s:
                self._end(clip, f"it has {self.max_clip_s:g} s, the longest")
            elif self.queue_bytes + num_bytes > self.max_queue_bytes:
                self._end(clip, "the disk is too slow")
            else:
                clip.last_s = now_s
                self.queue_bytes += num_bytes
                self._queue.append((clip, packet))
                self._changed.notify()
            return clip.is_open

    def _close(self, clip: _Clip, cut: str) -> None:
        with self._changed:
            self._end(clip, cut)

    def _end(self, clip: _Clip, cut: str) -> None:
        """Take no more packets for a clip. The lock is held."""
        if clip.is_open:
            clip.is_open, clip.cut = False, cut
            self._clips.pop(clip.alert_id, None)
            self._queue.append((clip, None))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._is_stopping:
                        return
                    self._changed.wait()
                clip, packet = self._queue.popleft()
                if packet is not None:
                    self.queue_bytes -= packet.packet.size + _ENTRY_BYTES
            try:
                self._process(clip, packet)
            except Exception as error:  # of one clip; the others go on
                self.reporter.warn(str(sentence(error, f"the clip of {clip.alert_id}")))

    def _process(self, clip: _Clip, packet: StreamPacket | None) -> None:
        if packet is None:
            self._finish(clip)
        elif not clip.failure:
            try:
                clip.copy = clip.copy or self._begin(clip)
                clip.copy.write(packet)
            except MuldeError as error:
                clip.failure = str(error)
                self._close(clip, clip.failure)

    def _begin(self, clip: _Clip) -> StreamCopy:
        assert clip.template is not None, "the ring calls begin first"
        return StreamCopy(clip_path(self.root, clip.camera, clip.alert_id), clip.template)

    def _finish(self, clip: _Clip) -> None:
        path = None
        if clip.copy is not None:
            try:
                path = clip.copy.close()
                clip.failure = clip.failure or str(clip.copy.failure or "")
            except MuldeError as error:
                clip.failure = str(error)
        cut = clip.failure or clip.cut
        about = f"clip of alert {clip.alert_id}"
        if path is None:
            self.num_failed += 1
            self.reporter.warn(f"{clip.camera}: no {about}: {cut or 'no key frame came'}")
        else:
            self.num_written += 1
            self.num_cut += bool(cut)
            if cut:
                self.reporter.warn(f"{clip.camera}: the {about} is cut: {cut}")
        self.on_done(FinishedClip(clip.alert_id, clip.camera, path, cut))


def clip_path(root: Path, camera: str, alert_id: str) -> Path:
    """Where the clip of an alert of a run folder begins; Matroska has another suffix, and what was written after a
    restart a number (`find_clips`)."""
    return output_path(root / CLIPS, f"{camera}/{alert_id}", ".mp4")


def find_clips(root: Path, camera: str, alert_id: str) -> list[Path]:
    """The finished files of the clip of an alert, in the order in which they were begun; several where the program was
    started again meanwhile."""
    path = clip_path(root, camera, alert_id)
    found = dict[int, Path]()
    for name in os.listdir(path.parent) if path.parent.is_dir() else ():
        match = re.fullmatch(rf"{re.escape(path.stem)}(?:-([1-9][0-9]{{0,5}}))?\.(?:mp4|mkv)", name)
        if match:
            found[int(match[1] or 1)] = path.with_name(name)
    return [found[number] for number in sorted(found)]


def _folders(clips: Path) -> list[Path]:
    """The folders of cameras; links are not followed."""
    if not clips.is_dir():
        return []
    with os.scandir(clips) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
