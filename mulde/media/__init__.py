"""The only door to decoders and encoders. Heavy libraries (av, cv2, decord) load when a video is opened or written."""

from mulde.filetypes import is_frame_folder, is_video_file, list_frames
from mulde.media.audio import Sound
from mulde.media.boxes_reader import BoxesReader
from mulde.media.content_hash import Snapshot, content_hash
from mulde.media.conversion import Conversion, ConvertedReader
from mulde.media.opening import open_video
from mulde.media.reader import VideoReader, missing_text
from mulde.media.times import FrameTimes, read_frame_times
from mulde.media.writer import VideoWriter, timing, write_video

__all__ = [
    "BoxesReader",
    "Conversion",
    "ConvertedReader",
    "FrameTimes",
    "Snapshot",
    "Sound",
    "VideoReader",
    "VideoWriter",
    "content_hash",
    "is_frame_folder",
    "is_video_file",
    "list_frames",
    "missing_text",
    "open_video",
    "read_frame_times",
    "timing",
    "write_video",
]
