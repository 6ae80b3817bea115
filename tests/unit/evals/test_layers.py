"""Several layers of a tiny pair: one harvest, a crosscoder each, figures by hookpoint."""

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.activations.topk import TopK
from crosscoder.data import Harvest, Splits
from crosscoder.data.tokens import TokenSet
from crosscoder.diff.analysis import Analysis
from crosscoder.errors import NotApplicable
from crosscoder.evals import Subject
from crosscoder.evals.layers import LayersEval, relative_difference
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.types import Kind, Tokens
from tests.configs import composed

SEQ_LEN = 32
SETTINGS = ("n_latents=32", "k=4", "batch_size=64", "train_tokens=640")
EVAL = {"n_tokens": 30 * SEQ_LEN, "n_heldout": 8 * SEQ_LEN, "n_latents": 24, "train_tokens": 640}


def tokens(n_sequences: int, seed: int) -> TokenSet:
    ids = torch.randint(6, 200, (n_sequences, SEQ_LEN), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 2
    position = torch.arange(SEQ_LEN).expand_as(ids)
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    return TokenSet(Tokens(*(c.flatten() for c in (ids, position, torch.zeros_like(ids), kind))), SEQ_LEN)


@pytest.fixture(scope="module")
def subject(tiny_pair: Pair, tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("run")
    sources = tiny_pair.sources()
    stores = Harvest(folder / "stores")(tiny_pair, sources, {"train": tokens(40, 0), "heldout": tokens(12, 1)})
    splits = Splits(stores["train"], stores["train"], stores["heldout"], sources)
    crosscoder = Crosscoder(sources, 32, TopK(4)).fold()
    crosscoder.provenance = splits.provenance()
    recipe = instantiate(composed(*SETTINGS, f"run={folder}", "logger=none").recipe, _convert_="all")
    return Subject(crosscoder, splits.heldout, tiny_pair, 0, lambda: recipe, folder)


@pytest.mark.parametrize("layers", [None, [0], [0, 1]])
def test_every_hookpoint_has_its_figures(subject, layers):
    result = LayersEval(Analysis(n_resamples=5), layers, n_layers=2, **EVAL)(subject)
    hookpoints = [row["hookpoint"] for row in result.tables["by depth"]]
    assert hookpoints == [f"resid_post.{layer}" for layer in layers or [1]]  # of two layers, thirds are rounded to one
    for hookpoint in hookpoints:
        assert result.scalars[f"fve_difference/{hookpoint}"] <= 1
        assert result.scalars[f"count/chat_specific/{hookpoint}"] >= 0
        assert result.scalars[f"relative_difference/{hookpoint}"] > 0
    kept = {folder.name.partition("-")[0] for folder in (subject.folder / "beside").iterdir()}
    assert set(hookpoints) <= kept


def test_the_relative_difference_is_a_median_of_norm_ratios(subject):
    chat, base = (subject.heldout.acts(0, [name]).float() for name in ("chat", "base"))
    expected = ((chat - base).norm(dim=1) / base.norm(dim=1)).median()
    assert relative_difference(subject.heldout, ("chat", "base")) == pytest.approx(float(expected))


def test_without_language_models_it_says_so(subject):
    with pytest.raises(NotApplicable, match="layers needs the language models"):
        LayersEval(Analysis())(Subject(subject.crosscoder, subject.heldout, None))
