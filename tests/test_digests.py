import hashlib

import numpy as np
import pytest

from mulde.digests import arrays_digest, file_digest, fingerprint, path_digest
from mulde.errors import UsageError


def test_the_fingerprint_looks_at_content_not_at_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert file_digest(tmp_path / "a.bin") == path_digest(tmp_path / "a.bin") == hashlib.sha256(b"abc").hexdigest()
    assert file_digest(tmp_path / "a.bin", "md5") == hashlib.md5(b"abc").hexdigest()


def test_a_folder_has_the_digest_of_the_names_and_digests_below_it(tmp_path):
    (tmp_path / "w" / "b").mkdir(parents=True)
    (tmp_path / "w" / "b" / "net.bin").write_bytes(b"net")
    (tmp_path / "w" / "a.xml").write_bytes(b"xml")
    listing = f"a.xml {hashlib.sha256(b'xml').hexdigest()}\nb/net.bin {hashlib.sha256(b'net').hexdigest()}\n"
    assert path_digest(tmp_path / "w") == hashlib.sha256(listing.encode()).hexdigest()


def test_a_folder_of_more_than_a_thousand_files_is_refused(tmp_path):
    for number in range(1001):
        (tmp_path / str(number)).touch()
    with pytest.raises(UsageError, match="expected a file, or a folder with at most 1000 files"):
        path_digest(tmp_path)


def test_arrays_are_digested_behind_their_labels():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(b"text" + b"x" + array.T.tobytes() + b"none" + b"empty").hexdigest()
    arrays = [("x", array.T), ("none", None), ("empty", np.zeros((0, 3)))]
    assert arrays_digest("text", arrays) == expected
