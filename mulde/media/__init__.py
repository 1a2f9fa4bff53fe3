"""The one door to decoders and encoders. Heavy libraries (av, cv2, decord) load when a video is opened or written."""

from mulde.filetypes import is_frame_folder, is_video_file, list_frames
from mulde.media.identity import identity
from mulde.media.opening import open_video
from mulde.media.reader import VideoReader
from mulde.media.writer import write_video

__all__ = [
    "VideoReader",
    "identity",
    "is_frame_folder",
    "is_video_file",
    "list_frames",
    "open_video",
    "write_video",
]
