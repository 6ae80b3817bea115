"""Settings that documents and messages name can be given on the command line as they stand."""

import pytest

from tests.helpers.configs import composed


def test_a_store_can_hold_8_bit_integers():
    assert composed("harvest.storage=int8").harvest.storage == "int8"


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("eval.compare.reference.train_tokens=500_000", "train_tokens", 500_000),
        ("++eval.compare.reference.reads={a.b: base}", "reads", {"a.b": "base"}),
        ("eval.compare.reference.input_scale=0.3", "input_scale", 0.3),
    ],
)
def test_a_reference_is_set(setting, key, value):
    config = composed("crosscoder=x", "eval=[compare]", setting, config="evaluate")
    assert config.eval.compare.reference[key] == value


def test_further_streams_of_a_planted_world_are_set():
    assert composed("data=planted", "++data.between={sft: 0.5}").data.between == {"sft": 0.5}
