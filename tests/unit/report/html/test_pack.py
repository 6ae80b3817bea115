import base64
import json

import numpy as np
import pandas as pd
import pytest

from crosscoder.report.html import pack


def unpacked(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), dtype=f"<{packed['type']}")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.5, np.nan], "f4"),
        ([True, False], "u1"),
        ([0, 255], "u1"),
        ([0, 256], "u2"),
        ([-1, 3], "i4"),
        ([65536], "i4"),
        ([2**31], "f4"),
        ([], "f4"),
    ],
)
def test_numbers_are_packed_in_the_smallest_type(values, kind):
    packed = pack.pack_numbers(values)
    assert packed["type"] == kind
    np.testing.assert_array_equal(unpacked(packed), np.asarray(values, dtype=kind))


def test_json_cannot_end_its_script():
    text = pack.embed_json({"a": "</script><!--", "b": 'é"'})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": 'é"'}


def test_contexts_follow_the_order_of_the_table(monkeypatch):
    monkeypatch.setattr(pack, "LATENTS_PER_CHUNK", 2)
    frame = pd.DataFrame(
        {
            "latent": [7, 5, 9, 7],
            "group": ["top", "top", "top", "quantile"],
            "kind": "plain",
            "document": [1, 2, 3, 4],
            "position": 0,
            "peak": 1,
            "tokens": [["a", "b"], ["b"], ["x"], ["c", "a", "b"]],
            "activations": [[0.0, 2.0], [0.0], [1.0], [1.0, 4.0, 0.0]],
        }
    )
    vocabulary = pack.Vocabulary()
    first, second = pack.pack_contexts(frame, np.array([7, 3, 5]), vocabulary)
    assert unpacked(first["counts"]).tolist() == [2, 0]
    assert unpacked(second["counts"]).tolist() == [1]  # and 9 is in no row of the table
    assert unpacked(first["document"]).tolist() == [1, 4]
    assert unpacked(first["lengths"]).tolist() == [2, 3]
    words = vocabulary.list_words()
    assert [words[code] for code in unpacked(first["tokens"])] == ["a", "b", "c", "a", "b"]
    fractions = unpacked(first["levels"]) / pack.LEVELS
    np.testing.assert_allclose(
        fractions * np.repeat(unpacked(first["max"]), [2, 3]), [0, 2, 1, 4, 0], atol=4 / pack.LEVELS
    )
    assert unpacked(second["levels"]).tolist() == [0]


def test_columns_are_numbers_words_or_lists_of_tokens():
    vocabulary = pack.Vocabulary()
    frame = pd.DataFrame(
        {"latent": [0, 1], "verdict": ["shared", "dead"], "tokens/chat": [["▁a", "b"], []]}
    )
    packed = pack.pack_columns(frame, vocabulary)
    assert unpacked(packed["latent"]).tolist() == [0, 1]
    assert packed["verdict"]["words"] == ["shared", "dead"]
    assert unpacked(packed["tokens/chat"]["lengths"]).tolist() == [2, 0]
    assert vocabulary.list_words() == [" a", "b"]
