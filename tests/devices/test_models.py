"""The tiny pair on a device: harvest, streams, edits, generation, evals; and the commands on it."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.data import Harvest, Store, Text
from crosscoder.data.corpora.text import Files
from crosscoder.evals.density import DensityEval
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.splice import SpliceEval
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.steer import steer
from crosscoder.lm import Pair, load_pair, make_chat
from crosscoder.lm.answering import generate_answers
from tests.unit.evals.tiny import tiny_context, tokens

QUESTIONS = [make_chat("Why does it fail?"), make_chat("Is this line right? a = 1")]


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pair(device: str) -> Pair:
    """Return the tiny pair on the device."""
    return load_pair("tiny", device=device)


def read_acts(store: Store) -> torch.Tensor:
    return torch.cat([store.acts(shard, store.sources.names) for shard in store])


@pytest.mark.parametrize("hookpoint", ["resid_post.1", "mlp_out.0", "attn_out.1", "attn_z.0"])
def test_a_harvest_equals_that_of_the_cpu(pair, tiny_pair, tmp_path, hookpoint):
    found = []
    for name, one in (("there", pair), ("here", tiny_pair)):
        harvest = Harvest(tmp_path / name, batch_tokens=128)
        stores = harvest.run(one, one.sources([hookpoint]), {"train": tokens(10, 0)})
        found.append(read_acts(stores["train"]))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_a_stream_equals_that_of_the_cpu(pair, tiny_pair, tmp_path):
    paths = []
    for i in range(40):
        paths.append(str(tmp_path / f"{i}.txt"))
        Path(paths[-1]).write_text(f"Text {i} of some words, again and again. " * 4)
    text = Text(
        [Files(paths)],
        [1.0],
        32,
        mode="stream",
        buffer_tokens=600,
        sample_tokens=160,
    )
    found = []
    for name, one in (("there", pair), ("here", tiny_pair)):
        harvest = Harvest(tmp_path / name, batch_tokens=128)
        sizes = {"train": 1200, "validation": 64, "heldout": 64}
        stream = text.make_splits(one, ["resid_post.1"], None, harvest, sizes).stream
        assert stream is not None
        found.append(torch.cat(list(islice(stream.iter_batches(64), 4))))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def steer_or_ablate(crosscoder: Crosscoder, kind: str) -> Intervention:
    if kind == "ablate":
        return ablate(crosscoder, range(64))
    return steer(crosscoder, [3], 0.5, dict.fromkeys(crosscoder.sources.names, 4.0))


@pytest.mark.parametrize("crosscoder_on", ["the device", "the CPU"])
@pytest.mark.parametrize("mode", ["paired", "solo"])
@pytest.mark.parametrize("kind", ["ablate", "steer"])
def test_edited_answers_equal_those_of_the_cpu(pair, tiny_pair, device, kind, mode, crosscoder_on):
    answers = []
    for one in (pair, tiny_pair):
        crosscoder = Crosscoder(one.sources(["resid_post.0"]), 64, TopK(8), seed=3).fold()
        if one is pair and crosscoder_on == "the device":
            crosscoder.to(device)
        edit = steer_or_ablate(crosscoder, kind)
        with one.edit("chat", edit, mode=mode) as chat:
            answers.append(generate_answers(chat, one.tokenizer, QUESTIONS, max_new_tokens=4))
    assert answers[0] == answers[1]


def test_a_prompt_is_read_and_encoded(pair, tiny_pair, device):
    codes = []
    for one in (pair, tiny_pair):
        crosscoder = Crosscoder(one.sources(["resid_post.0"]), 64, TopK(8), seed=3).fold()
        crosscoder.to(one.device)
        code = crosscoder.encode(one.read("A text of some words.", ["resid_post.0"]))
        codes.append(code.to_dense().cpu())
        assert "token 3" in repr(code.top(3))
    torch.testing.assert_close(codes[0], codes[1], atol=1e-4, rtol=1e-4)


EVALS = {
    "reconstruction": ReconstructionEval(),
    "splice": SpliceEval(n_tokens=128),
    "density": DensityEval(),
}


@pytest.mark.parametrize("name", EVALS)
@pytest.mark.parametrize("crosscoder_on", ["the device", "the CPU"])
def test_an_eval_equals_that_on_the_cpu(pair, tiny_pair, device, tmp_path, name, crosscoder_on):
    there = tiny_context(pair, tmp_path / "there")
    if crosscoder_on == "the device":
        there.crosscoder.to(device)
    here = tiny_context(tiny_pair, tmp_path / "here")
    found, expected = EVALS[name](there).scalars, EVALS[name](here).scalars
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3, nan_ok=True)
