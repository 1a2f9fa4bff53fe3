"""What the readers of video files share, for any decoder."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

from mulde.images import shrunk_size
from mulde.media.container import DecodeDamage
from mulde.media.facts import VideoFacts, probe
from mulde.media.reader import DEFAULT_RATE, ReadOptions, VideoReader, missing_text

_log = logging.getLogger(__name__)


class FileReader(VideoReader):
    """A video file. Its container is always read by PyAV, so that times agree between decoders."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        self._facts: VideoFacts = probe(path, options.stream, options.default_rate)
        self.size_hw, self.rate = shrunk_size(self._facts.size_hw, options.working_size_px), self._facts.rate
        named = self._facts.rate_in_header or options.default_rate or DEFAULT_RATE
        self.times_follow_rate = not self._facts.stamps_are_times and self.rate != named
        self.num_frames_from_header = self._facts.num_frames_from_header
        self.coloured = self._facts.coloured

    @property
    def steady_rate(self) -> Fraction:
        return self._facts.steady_rate

    def _finish(self, damage: DecodeDamage) -> None:
        """At the end of the file: record the missing frames, and warn where there are fewer than the file promises."""
        facts, num_decoded = self._facts, self._num_frames_read
        if facts.rate_remark:
            _log.warning("%s: %s", self.path, facts.rate_remark)
        if facts.numbers_are_true:
            self._miss_frames_before(len(facts.stamps))
        else:
            self.num_unplaced = damage.num_bad_packets
        from_header = (self.num_frames_from_header or 0) - facts.num_frames_hidden_by_edit_list
        promised = max(from_header, facts.num_packets_before_first_picture + len(facts.stamps))
        end_s, duration_s = (
            facts.time_s(max(0, self._next_index - 1)) + float(1 / self.rate),
            facts.duration_from_header_s,
        )
        if damage.num_bad_packets or damage.num_out_of_place or self.missing or num_decoded < promised:
            _log.warning(
                "%s: decoded %d frames where the file promises %d; %s; damaged places: %d (%s)",
                self.path, num_decoded, promised, self._missing_text(damage), damage.num_bad_packets,
                "; ".join(damage.reasons) or "none reported",
            )  # fmt: skip
        elif duration_s is not None and end_s < duration_s - 1:
            _log.warning(
                "%s: decoded %d frames, which end at %.1f s where the file promises %.1f s",
                self.path, num_decoded, end_s, duration_s,
            )  # fmt: skip

    def _missing_text(self, damage: DecodeDamage) -> str:
        if not self._facts.numbers_are_true:
            return "its time stamps do not say which are missing, the frames are numbered as they come"
        text = missing_text(self.missing) if self.missing else "no frame between them is missing"
        out_of_place = damage.num_out_of_place
        return f"{text}; {out_of_place} without a usable time stamp follow the one before" if out_of_place else text
