"""What the readers of video files share, whichever library decodes."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

from mulde.media.container import Damage, VideoFacts, probe
from mulde.media.reader import VideoReader

_log = logging.getLogger(__name__)


class FileReader(VideoReader):
    """A video file: what its container says is read by PyAV whichever library decodes, so that times agree."""

    def __init__(self, path: Path, batch_size: int, default_rate: Fraction | None) -> None:
        super().__init__(path, batch_size)
        self._facts: VideoFacts = probe(path, default_rate)
        self.size_hw, self.rate = self._facts.size_hw, self._facts.rate
        self.num_frames_from_header = self._facts.num_frames_from_header

    def _warn_if_short(self, num_decoded: int, last_s: float, damage: Damage) -> None:
        """Log a warning where fewer frames came out than the file promises."""
        facts = self._facts
        from_header = (self.num_frames_from_header or 0) - facts.num_frames_hidden_by_edit_list
        promised = max(from_header, facts.num_packets_before_first_picture + len(facts.stamps))
        end_s, duration_s = last_s + float(1 / self.rate), facts.duration_from_header_s
        if damage.num_bad_packets or num_decoded < promised:
            _log.warning(
                "%s: decoded %d frames where the file promises %d; damaged places: %d (%s)",
                self.path, num_decoded, promised, damage.num_bad_packets, "; ".join(damage.reasons) or "none reported",
            )  # fmt: skip
        elif duration_s is not None and end_s < duration_s - 1:
            _log.warning(
                "%s: decoded %d frames, which end at %.1f s where the file promises %.1f s",
                self.path, num_decoded, end_s, duration_s,
            )  # fmt: skip
