from __future__ import annotations

import cv2
import numpy as np

from mulde.report.page_pictures import LARGE_PX, SMALL_PX, fitted


def picture(path, width: int, height: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (9, 16, 3), dtype=np.uint8), (width, height)))
    return path


def sides(data: bytes) -> tuple[int, int]:
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    return width, height


def test_with_room_all_are_large(tmp_path):
    paths = [picture(tmp_path / "a.jpg", 800, 600), picture(tmp_path / "b.jpg", 100, 50)]
    found = fitted(paths, 1_000_000)
    assert [sides(one) for one in found] == [(LARGE_PX, 300), (100, 50)]
    assert [sides(one) for one in fitted(paths, 1_000_000, large=False)] == [(SMALL_PX, 96), (100, 50)]


def test_what_is_no_picture_is_left_out(tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"no picture")
    (tmp_path / "empty.jpg").touch()
    seen = []
    paths = [None, tmp_path / "absent.jpg", tmp_path / "torn.jpg", tmp_path / "empty.jpg"]
    assert fitted(paths, 1000, seen.append) == [None] * 4
    assert seen == [1] * 4


def test_the_last_lose_theirs_first_and_the_first_get_the_large_ones(tmp_path):
    paths = [picture(tmp_path / f"{i}.jpg", 640, 360, seed=i) for i in range(12)]
    small = [len(one) for one in fitted(paths, 10**6, large=False)]
    for most_bytes in (0, small[0], sum(small[:5]), sum(small) + 4000, 10**6):
        found = fitted(paths, most_bytes)
        assert sum(len(one or b"") for one in found) <= most_bytes
        widths = [0 if one is None else sides(one)[0] for one in found]
        assert widths == sorted(widths, reverse=True)
        if most_bytes == sum(small[:5]):
            assert widths == [SMALL_PX] * 5 + [0] * 7
        if most_bytes == sum(small) + 4000:
            assert widths[0] == LARGE_PX
            assert widths[-1] == SMALL_PX
