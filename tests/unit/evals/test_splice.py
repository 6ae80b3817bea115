"""Splice known reconstructions: the activation itself, its mean, zero.

Cross-entropies are compared with a forward pass that is written out here.
"""

import pytest
import torch

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Harvest, Store
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.evals import EvalContext
from crosscoder.evals import splice as splice_module
from crosscoder.evals.splice import SpliceEval
from crosscoder.lm import Pair

SEQ_LEN, N_SEQUENCES, CUT = 24, 12, 10  # each sequence holds two pieces, of 10 and 14 tokens
PIECES = (slice(0, CUT), slice(CUT, SEQ_LEN))


@pytest.fixture(scope="module")
def tokens() -> TokenSet:
    ids = torch.randint(6, 200, (N_SEQUENCES, SEQ_LEN), generator=torch.Generator().manual_seed(0))
    ids[:, [0, CUT]] = 2
    position = torch.cat([torch.arange(CUT), torch.arange(SEQ_LEN - CUT)]).expand_as(ids)
    kind = torch.where(ids == 2, Kind.SPECIAL, Kind.PLAIN)
    return TokenSet(
        Tokens(*(c.flatten() for c in (ids, position, torch.zeros_like(ids), kind))), SEQ_LEN
    )


@pytest.fixture(scope="module", params=["resid_post.0", "attn_z.1"])
def store(request, tiny_pair: Pair, tokens, tmp_path_factory) -> Store:
    harvest = Harvest(tmp_path_factory.mktemp("stores"), shard_tokens=5 * SEQ_LEN)
    return harvest.run(tiny_pair, tiny_pair.sources([request.param]), {"heldout": tokens})[
        "heldout"
    ]


def acts_of(store: Store) -> torch.Tensor:
    rows = torch.cat([store.acts(shard, store.sources.names) for shard in store])
    kinds = torch.cat([store.tokens(shard).kind for shard in store])
    return rows[kinds != Kind.SPECIAL]


def crosscoder_that_returns(recon: str, store: Store, sources: Sources | None = None) -> Crosscoder:
    """Make a crosscoder whose reconstruction is the activation itself, or always its mean."""
    sources = sources or store.sources
    d, eye = sources.d_total, torch.eye(sources.d_total)
    both = torch.cat([eye, -eye]) if recon == "the activation" else torch.zeros(2 * d, d)
    crosscoder = Crosscoder(sources, 2 * d, ReLU(), init=lambda *_: (both, both.clone()))
    mean = dict(
        zip(store.sources.names, acts_of(store).mean(0).split(store.sources.widths), strict=True)
    )
    crosscoder.set_units(torch.cat([mean[name] for name in sources.names]), torch.ones(d))
    return crosscoder.fold()


def splice(crosscoder: Crosscoder, store: Store, pair: Pair, **options) -> dict[str, float]:
    return SpliceEval(**options)(EvalContext(crosscoder, store, pair)).scalars


def cross_entropy(
    pair: Pair, store: Store, tokens: TokenSet, name: str, replacement: torch.Tensor | None
) -> float:
    """Return the nats per predicted token, each piece of a document by itself.

    A replacement takes the place of every activation but that of BOS.
    """
    source = store.sources[name]
    site, _, layer = source.hookpoint.partition(".")
    block = pair[name].get_decoder().layers[int(layer)]

    def put(_, args, output=None):
        if replacement is None:
            return None
        new = (args[0] if output is None else output).clone()
        new[:, 1:] = replacement
        return (new,) if output is None else new

    handle = (
        block.self_attn.o_proj.register_forward_pre_hook(put)
        if site == "attn_z"
        else block.register_forward_hook(put)
    )
    total = count = 0
    try:
        for piece in PIECES:
            ids = tokens.tokens.ids.view(-1, SEQ_LEN)[:, piece]
            logits = pair[name](ids).logits[:, 1:-1]  # BOS predicts too, but is not scored
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), ids[:, 2:].flatten(), reduction="sum"
            )
            count += ids[:, 2:].numel()
    finally:
        handle.remove()
    return float(total / count)


def test_the_activation_itself_loses_nothing(store, tiny_pair):
    scalars = splice(crosscoder_that_returns("the activation", store), store, tiny_pair)
    for name in ("base", "chat"):
        assert scalars[f"loss_recovered/{name}"] == pytest.approx(1, abs=1e-3)
        assert scalars[f"loss_recovered_mean/{name}"] == pytest.approx(1, abs=1e-2)
        assert scalars[f"delta_ce/{name}"] == pytest.approx(0, abs=1e-4)
        assert scalars[f"kl/{name}"] == pytest.approx(0, abs=1e-4)


def test_a_reconstruction_that_is_the_mean_is_mean_ablation(store, tiny_pair):
    scalars = splice(crosscoder_that_returns("the mean", store), store, tiny_pair)
    for name in ("base", "chat"):
        assert scalars[f"ce_spliced/{name}"] == pytest.approx(scalars[f"ce_mean/{name}"], rel=1e-4)
        assert scalars[f"loss_recovered_mean/{name}"] == pytest.approx(0, abs=1e-2)
        assert scalars[f"kl/{name}"] > 0.01
        assert (
            scalars[f"delta_ce/{name}"]
            == scalars[f"ce_spliced/{name}"] - scalars[f"ce_clean/{name}"]
        )


def test_cross_entropies_are_those_of_each_piece_alone(store, tiny_pair, tokens):
    crosscoder = crosscoder_that_returns("the mean", store)
    scalars = splice(crosscoder, store, tiny_pair)
    for name, mean in crosscoder.sources.split(crosscoder.mean).items():
        for key, replacement in (
            ("ce_clean", None),
            ("ce_zero", torch.zeros_like(mean)),
            ("ce_mean", mean),
        ):
            expected = cross_entropy(tiny_pair, store, tokens, name, replacement)
            assert scalars[f"{key}/{name}"] == pytest.approx(expected, rel=1e-4), key


def test_one_source_is_spliced_from_its_own_activations(store, tiny_pair):
    alone = crosscoder_that_returns("the activation", store, store.sources.subset(["chat"]))
    scalars = splice(alone, store, tiny_pair)
    assert scalars["delta_ce/chat"] == pytest.approx(0, abs=1e-4)
    assert not [key for key in scalars if key.endswith("/base")]


@pytest.mark.long
def test_fewer_tokens_are_whole_sequences_from_all_over_the_store(store, tiny_pair):
    crosscoder = crosscoder_that_returns("the mean", store)
    result = SpliceEval(n_tokens=3 * SEQ_LEN, batch_tokens=SEQ_LEN)(
        EvalContext(crosscoder, store, tiny_pair)
    )
    assert result.meta["n_tokens"] == 3 * SEQ_LEN
    everything = splice(crosscoder, store, tiny_pair)
    assert result.scalars["ce_clean/chat"] != everything["ce_clean/chat"]
    batches = [
        splice(crosscoder, store, tiny_pair, batch_tokens=n)["ce_clean/chat"]
        for n in (SEQ_LEN, 7 * SEQ_LEN)
    ]
    assert batches == pytest.approx([everything["ce_clean/chat"]] * 2)


@pytest.mark.long
def test_outliers_that_training_left_out_keep_their_activation_and_are_not_scored(
    store, tiny_pair, monkeypatch
):
    crosscoder = crosscoder_that_returns("the mean", store)
    norms = Store.norms

    def with_sinks(self, shard: int, name: str) -> torch.Tensor:
        found = norms(self, shard, name).clone()
        if name == "chat":
            found[3::SEQ_LEN] *= 100
        return found

    whole = SpliceEval()(EvalContext(crosscoder, store, tiny_pair))
    monkeypatch.setattr(Store, "norms", with_sinks)
    assert SpliceEval()(EvalContext(crosscoder, store, tiny_pair)).scalars == whole.scalars
    crosscoder.provenance["exclude"] = ["special", "outlier"]
    result = SpliceEval()(EvalContext(crosscoder, store, tiny_pair))
    assert result.meta["excluded"] == whole.meta["excluded"] + N_SEQUENCES
    assert (
        result.scalars["ce_clean/base"] != whole.scalars["ce_clean/base"]
    )  # in no model, so that both are of the same tokens
    replaced = []
    replace_at = splice_module.replace_at
    monkeypatch.setattr(
        splice_module,
        "replace_at",
        lambda new, where: replaced.append(where) or replace_at(new, where),
    )
    SpliceEval()(EvalContext(crosscoder, store, tiny_pair))
    assert not any(where[:, 3].any() for where in replaced)
    assert all(where[:, 4].all() for where in replaced)


def test_it_is_not_applicable_without_language_models(store):
    with pytest.raises(UserError, match="splice needs the language models"):
        SpliceEval()(EvalContext(crosscoder_that_returns("the mean", store), store, None))
