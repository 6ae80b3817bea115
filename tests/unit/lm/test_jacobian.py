"""The mean Jacobian against PyTorch's own Jacobian of whole contexts, token by token."""

import pytest
import torch
from torch import Tensor

from crosscoder.errors import NotApplicable
from crosscoder.lm import Hookpoint, Pair, load_pair, tail_attention
from crosscoder.lm import jacobian as module
from crosscoder.lm import jacobian_cache as cache_module
from crosscoder.lm.hooks import run_decoder
from crosscoder.lm.jacobian import compute_jacobian
from crosscoder.lm.jacobian_cache import load_jacobian
from crosscoder.lm.lens_contexts import N_TAIL, LensContexts
from crosscoder.lm.tail_attention import attend

WIDTH = 32
LAST = Hookpoint.parse("resid_post.1")


def random_contexts(n: int, length: int) -> LensContexts:
    generator = torch.Generator().manual_seed(0)
    return LensContexts(torch.randint(6, 200, (n, length), generator=generator))


@pytest.fixture
def contexts() -> LensContexts:
    return random_contexts(5, 20)


def naive_jacobian(model, hookpoint: Hookpoint, contexts: LensContexts) -> Tensor:
    """Sum ∂h_final[p'] / ∂h[p] over p' ≥ p, for every context and p, and average."""
    matrices = []
    for row in contexts.ids:
        blocks = differentiate(model, hookpoint, row)  # [p', d_model, p, width]
        for p in range(N_TAIL):
            matrices.append(sum(blocks[later, :, p] for later in range(p, N_TAIL)))
    return torch.stack(matrices).mean(0)


def differentiate(model, hookpoint: Hookpoint, ids: Tensor) -> Tensor:
    """Differentiate one whole context, without any cache."""
    found = {}

    def keep(acts: Tensor) -> None:
        found["acts"] = acts.detach().clone()

    def run(tail: Tensor) -> Tensor:
        final = {}

        def replace(acts: Tensor) -> Tensor:
            return torch.cat([found["acts"][:, :-N_TAIL], tail[None]], dim=1)

        def end(acts: Tensor) -> None:
            final["acts"] = acts

        with hookpoint.attach(model, replace), LAST.attach(model, end):
            run_decoder(model, ids[None])
        return final["acts"][0, -N_TAIL:]

    with hookpoint.attach(model, keep):
        run_decoder(model, ids[None])
    return torch.autograd.functional.jacobian(run, found["acts"][0, -N_TAIL:])


@pytest.mark.parametrize("site", ["resid_post.0", "attn_out.1", "mlp_out.0"])
@pytest.mark.parametrize("batch", [2, 64])
def test_it_is_the_mean_of_every_context_s_own_jacobian(contexts, monkeypatch, site, batch):
    monkeypatch.setattr(module, "CONTEXTS_PER_BATCH", batch)
    model = load_pair("tiny", dtype="float64")["chat"]
    hookpoint = Hookpoint.parse(site)
    expected = naive_jacobian(model, hookpoint, contexts)
    found = compute_jacobian(model, hookpoint, contexts)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    # later tokens have a part in it, so that this test can tell a sum over p' from p' = p
    assert (expected - torch.eye(WIDTH)).norm() > 0.1


def test_without_later_layers_it_is_the_identity(contexts):
    model = load_pair("tiny")["chat"]
    layer = model.get_decoder().layers[1]
    for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
        weight.data.zero_()
    for hookpoint in (Hookpoint.parse("resid_post.0"), LAST):
        found = compute_jacobian(model, hookpoint, contexts)
        torch.testing.assert_close(found, torch.eye(WIDTH))


def test_the_model_is_as_it_was_afterwards(contexts, tiny_pair):
    model = tiny_pair["chat"]
    with torch.no_grad():
        before = run_decoder(model, contexts.ids)
        compute_jacobian(model, Hookpoint.parse("resid_post.0"), contexts)
        torch.testing.assert_close(run_decoder(model, contexts.ids), before)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_model_with_another_attention_takes_its_own(contexts, monkeypatch):
    model = load_pair("tiny", dtype="float64")["chat"]
    hookpoint = Hookpoint.parse("resid_post.0")
    found = compute_jacobian(model, hookpoint, contexts)
    attempts = []

    def attend_wrongly(*args, **kwargs):
        attempts.append(1)
        attended, _ = attend(*args, **kwargs)
        return 2 * attended, None

    monkeypatch.setattr(tail_attention, "attend", attend_wrongly)
    torch.testing.assert_close(compute_jacobian(model, hookpoint, contexts), found)
    assert attempts
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", lambda: False)
    attempts.clear()
    torch.testing.assert_close(compute_jacobian(model, hookpoint, contexts), found)
    assert not attempts
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_cannot_continue_a_cache_is_refused(contexts, tiny_pair, monkeypatch):
    from transformers import DynamicCache

    monkeypatch.setattr(module, "_read_lead", lambda model, ids: DynamicCache(config=model.config))
    with pytest.raises(NotApplicable, match="continues a KV cache"):
        compute_jacobian(tiny_pair["chat"], Hookpoint.parse("resid_post.0"), contexts)


class Counter:
    """Counts how often the Jacobian is computed."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, *given) -> Tensor:
        self.n += 1
        return compute_jacobian(*given)


@pytest.fixture
def counter(monkeypatch, tmp_path) -> Counter:
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path))
    counter = Counter()
    monkeypatch.setattr(cache_module, "compute_jacobian", counter)
    return counter


@pytest.fixture
def pair() -> Pair:
    return load_pair("tiny")


def test_it_is_computed_once_for_a_model_a_hookpoint_and_contexts(pair, contexts, counter):
    hookpoint = Hookpoint.parse("resid_post.0")
    first = load_jacobian(pair, "chat", hookpoint, contexts)
    assert torch.equal(load_jacobian(load_pair("tiny"), "chat", hookpoint, contexts), first)
    assert counter.n == 1
    load_jacobian(pair, "base", hookpoint, contexts)
    load_jacobian(pair, "chat", LAST, contexts)
    load_jacobian(pair, "chat", hookpoint, random_contexts(2, 20))
    assert counter.n == 4


def test_a_broken_file_is_replaced_and_named(pair, contexts, counter, tmp_path, caplog):
    hookpoint = Hookpoint.parse("resid_post.0")
    first = load_jacobian(pair, "chat", hookpoint, contexts)
    (path,) = (tmp_path / "jacobians").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert torch.equal(load_jacobian(pair, "chat", hookpoint, contexts), first)
    assert f"the Jacobian is computed again: {path} cannot be read" in caplog.text
    assert counter.n == 2
    load_jacobian(pair, "chat", hookpoint, contexts)
    assert counter.n == 2


def test_a_file_with_nan_is_replaced(pair, contexts, counter, tmp_path, caplog):
    hookpoint = Hookpoint.parse("resid_post.0")
    load_jacobian(pair, "chat", hookpoint, contexts)
    (path,) = (tmp_path / "jacobians").iterdir()
    broken = torch.full((WIDTH, WIDTH), torch.nan)
    cache_module.write_tensors(path, {"jacobian": broken})
    assert load_jacobian(pair, "chat", hookpoint, contexts).isfinite().all()
    assert "has NaN or infinity" in caplog.text
