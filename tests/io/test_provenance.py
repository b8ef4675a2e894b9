from __future__ import annotations

import json

import numpy as np

from biolm.io.provenance import digest, plain


def test_plain_holds_strings_numbers_and_dicts_only():
    facts = {
        "b": np.float32(0.5),
        "a/b": np.array(["x", "y"]),
        "none": None,
        "deep": {"list": [1, 2], "none": None, "flag": np.bool_(True)},
        "other": object,
    }
    assert plain(facts) == {
        "a_b": "x, y", "b": 0.5, "deep": {"flag": True, "list": "1, 2"}, "other": "<class 'object'>",
    }  # fmt: skip
    assert list(plain({"b": 1, "a": 2})) == ["a", "b"]
    assert plain(json.loads(json.dumps(plain(facts)))) == plain(facts)


def test_digest_sees_every_value():
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": {"b": 1}}) != digest({"a": {"c": 1}})
    assert digest({"a": np.array(["x"])}) == digest({"a": ["x"]})
