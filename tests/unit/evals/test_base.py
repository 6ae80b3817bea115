import json
from dataclasses import replace

import pytest

from crosscoder.activations.topk import TopK
from crosscoder.errors import NotApplicable
from crosscoder.evals import Result
from crosscoder.model import Crosscoder
from tests.unit.evals.tiny import tiny_subject


def test_a_result_comes_back_from_its_file(tmp_path):
    result = Result("splice", {"kl/chat": 0.5}, {"rows": [{"rule": "x", "latents": 3}]}, {"n_tokens": 10})
    path = result.save(tmp_path / "results")
    assert path == tmp_path / "results" / "splice.json"
    assert Result.load(path) == result
    assert set(json.loads(path.read_text())) == {"name", "scalars", "tables", "meta"}


def test_models_are_refused_where_there_are_none_or_none_has_the_stream(tiny_pair, tmp_path):
    subject = tiny_subject(tiny_pair, tmp_path)
    assert subject.models("it needs") is tiny_pair
    with pytest.raises(
        NotApplicable, match="it needs the language models, and this crosscoder was trained without any"
    ):
        replace(subject, pair=None).models("it needs")
    difference = Crosscoder(subject.crosscoder.sources.subset(["chat-base"]), 32, TopK(4)).fold()
    with pytest.raises(NotApplicable, match="none of them has the stream chat-base"):
        replace(subject, crosscoder=difference).models("it needs")
