import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from crosscoder.interventions.span import ablate_in_difference, find_basis, project_out_span
from tests.helpers.small import random_acts, sources_of


def test_projections_become_those_of_the_target_and_nothing_else_changes():
    sources = sources_of(6, 6)
    directions = random_acts(3, 6, seed=1)
    to = random_acts(1, 6, seed=2)[0]
    acts = random_acts(20, 12)
    base, chat = project_out_span(sources, "chat", directions, to)(acts).split(6, dim=-1)
    old_base, old_chat = acts.split(6, dim=-1)
    assert torch.equal(base, old_base)
    assert torch.allclose(chat @ directions.T, (to @ directions.T).expand(20, 3), atol=1e-5)
    # what is orthogonal to the directions, found by another way than a basis
    kernel = torch.eye(6) - torch.linalg.pinv(directions) @ directions
    assert torch.allclose(chat @ kernel, old_chat @ kernel, atol=1e-5)


def test_a_basis_is_orthonormal_and_has_the_rank_of_the_directions():
    directions = random_acts(2, 6)
    basis = find_basis(torch.cat([directions, 3 * directions.sum(0, keepdim=True)]))
    assert torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6)
    assert torch.allclose(directions @ basis.T @ basis, directions, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_directions_that_are_none_are_refused(value):
    with pytest.raises(UserError, match="finite vectors that are not all zero"):
        find_basis(torch.full((2, 6), value))


def test_latents_of_an_sae_are_subtracted_from_the_first_source_only():
    sources = sources_of(6, 6)
    sae = Crosscoder(sources.subset(["chat-base"]), 8, TopK(3), seed=1).fold()
    acts = random_acts(20, 12)
    base, chat = acts.split(6, dim=-1)
    new_base, new_chat = ablate_in_difference(sources, sae, [1, 4])(acts).split(6, dim=-1)
    f = sae.encode(chat - base).to_dense()
    expected = chat.clone()
    for latent in (1, 4):
        expected -= f[:, latent, None] * sae.W_dec[latent]
    assert torch.equal(new_base, base)
    assert torch.allclose(new_chat, expected, atol=1e-5)
    assert not torch.allclose(new_chat, chat)


def test_a_dictionary_of_anything_else_is_refused():
    sources = sources_of(6, 6)
    other = Crosscoder(Sources(sources.items[:1]), 8, TopK(3)).fold()
    with pytest.raises(UserError, match=r"expected an SAE of chat-base, found a crosscoder of"):
        ablate_in_difference(sources, other, [1])
