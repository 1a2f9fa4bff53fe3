from mulde.digests import fingerprint


def test_the_fingerprint_looks_at_content_not_at_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
