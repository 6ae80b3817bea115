"""Loss and every gradient of the sparse path equal those of a dense forward pass through autograd, in fp32."""

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.losses import LossInput, Term, total
from crosscoder.model import Crosscoder, Output
from crosscoder.sparse import DenseCode
from tests.configs import activation_of, choices, composed
from tests.small import crosscoder_of, random_acts

N_LATENTS, WIDTHS, BATCH = 64, (10, 14), 128


def terms_of(loss: str) -> dict[str, Term]:
    return {name: instantiate(term) for name, term in composed(f"loss=[{loss}]").loss.items()}


def dense_output(crosscoder: Crosscoder, acts: torch.Tensor, active: torch.Tensor) -> Output:
    """The forward pass with the same entries active, and nothing of the package in it but the record."""
    pre = acts @ crosscoder.W_enc.T + crosscoder.b_enc
    f = torch.where(active, pre, torch.zeros(()))
    return Output(DenseCode(f), f @ crosscoder.W_dec + crosscoder.b_dec, lambda latents: pre[:, latents])


def loss_and_gradients(
    crosscoder: Crosscoder, acts: torch.Tensor, output: Output, terms: dict[str, Term]
) -> tuple[float, dict[str, torch.Tensor]]:
    dead = torch.arange(N_LATENTS) % 3 == 0
    loss, _ = total(terms, LossInput(acts, output, crosscoder, dead, progress=1.0, mean=torch.mean))
    crosscoder.zero_grad(set_to_none=True)
    loss.backward()
    return loss.item(), {n: w.grad for n, w in crosscoder.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("loss", choices("loss"))
@pytest.mark.parametrize("activation", choices("activation"))
def test_sparse_path_equals_dense_reference(activation, loss):
    crosscoder = crosscoder_of(activation_of(activation, N_LATENTS, k=6), WIDTHS, N_LATENTS).train()
    acts, terms = random_acts(BATCH, sum(WIDTHS)), terms_of(loss)
    output = crosscoder(acts)
    active = output.code.to_dense().detach() > 0

    sparse_loss, sparse = loss_and_gradients(crosscoder, acts, output, terms)
    dense_loss, dense = loss_and_gradients(crosscoder, acts, dense_output(crosscoder, acts, active), terms)

    assert sparse_loss == pytest.approx(dense_loss, rel=1e-5)
    assert sparse.keys() == dense.keys()
    assert sparse.keys()
    for name, gradient in dense.items():
        assert (sparse[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
