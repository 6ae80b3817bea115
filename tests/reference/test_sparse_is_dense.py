"""Loss and gradients with every kernel equal those of a dense pass with plain autograd in fp32."""

import importlib.util
from collections.abc import Callable, Iterator

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.core import kernels
from crosscoder.core.model import Crosscoder, Output
from crosscoder.core.sparse import DenseCode, SparseCode
from crosscoder.losses import LossContext, Term, total
from tests.helpers.configs import activation_of, choices, composed
from tests.helpers.devices import interpreted, needs_compiler, on_cuda
from tests.helpers.kernel_choice import choose_anew
from tests.helpers.small import crosscoder_of, random_acts

N_LATENTS, WIDTHS, EQUAL, BATCH = 160, (10, 14), (12, 12), 96
OF_ONE_WIDTH = ("covariance", "difference", "delta")  # losses that refuse streams of unequal width


def terms_of(loss: str) -> dict[str, Term]:
    return {name: instantiate(term) for name, term in composed(f"loss=[{loss}]").loss.items()}


# what selects among pre-activations, and the losses that go with it; the others compute their
# values themselves, densely
SELECTING = [
    name
    for name in choices("activation")
    if not activation_of(name, N_LATENTS).requirements.learnable
]
LOSSES = [
    name
    for name in choices("loss")
    if not any(term.requirements.needs for term in terms_of(name).values())
]
BACKENDS = ("embedding", "triton", "reference")
PATHS = [
    pytest.param(("cpu", by), marks=[interpreted] if by == "triton" else [], id=f"cpu-{by}")
    for by in BACKENDS
]
PATHS.append(pytest.param(("cpu", "compiled"), marks=needs_compiler, id="cpu-compiled"))
PATHS += [pytest.param(("cuda", by), marks=on_cuda, id=f"cuda-{by}") for by in BACKENDS]


@pytest.fixture(params=PATHS)
def device(request, monkeypatch) -> Iterator[str]:
    """Where to compute, with the kernels of this case chosen."""
    on, by = request.param
    if by == "triton" and importlib.util.find_spec("triton") is None:
        pytest.skip("triton has no build here")
    monkeypatch.setenv(kernels.VARIABLE, by)
    with choose_anew():
        yield on


def dense_output(crosscoder: Crosscoder, acts: torch.Tensor, active: torch.Tensor) -> Output:
    """Return the forward pass with the same active entries, computed without the package."""
    pre = acts @ crosscoder.W_enc.T + crosscoder.b_enc
    f = torch.where(active, pre, 0)
    return Output(
        DenseCode(f), f @ crosscoder.W_dec + crosscoder.b_dec, lambda latents: pre[:, latents]
    )


def loss_and_gradients(
    crosscoder: Crosscoder, acts: torch.Tensor, output: Output, terms: dict[str, Term]
) -> tuple[float, dict[str, torch.Tensor]]:
    dead = torch.arange(N_LATENTS, device=acts.device) % 3 == 0
    loss, _ = total(
        terms, LossContext(acts, output, crosscoder, dead, progress=1.0, mean=torch.mean)
    )
    crosscoder.zero_grad(set_to_none=True)
    loss.backward()
    return loss.item(), {n: w.grad for n, w in crosscoder.named_parameters() if w.grad is not None}


def require_equal(crosscoder: Crosscoder, acts: torch.Tensor, loss: str) -> Output:
    terms, output = terms_of(loss), crosscoder(acts)
    active = output.code.to_dense().detach() > 0
    assert 0 < active.float().mean() < 1
    ours_loss, ours = loss_and_gradients(crosscoder, acts, output, terms)
    dense_loss, dense = loss_and_gradients(
        crosscoder, acts, dense_output(crosscoder, acts, active), terms
    )
    assert ours_loss == pytest.approx(dense_loss, rel=1e-5)
    assert ours.keys() == dense.keys()
    assert ours.keys()
    for name, gradient in dense.items():
        assert (ours[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    return output


@pytest.fixture
def crosscoder_with(device: str) -> Callable[..., Crosscoder]:
    """Return a function like `crosscoder_with("relu", "l1", b_enc=-4.0)`: a crosscoder in training.

    Every product is in fp32. A lower bias makes a sparser code.
    """

    def make(activation: str, loss: str, b_enc: float = 0.0) -> Crosscoder:
        widths = EQUAL if loss in OF_ONE_WIDTH else WIDTHS
        crosscoder = crosscoder_of(
            activation_of(activation, N_LATENTS, k=6), widths, N_LATENTS
        ).train()
        with torch.no_grad():
            crosscoder.b_enc += b_enc
        return crosscoder.to(device)

    return make


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", SELECTING)
def test_sparse_path_equals_dense_reference(crosscoder_with, device, activation, loss):
    acts = random_acts(BATCH, sum(WIDTHS)).to(device)
    # relu is sparse once few pre-activations are positive
    crosscoder = crosscoder_with(activation, loss, b_enc=0.0 if "topk" in activation else -4.0)
    output = require_equal(crosscoder, acts, loss)
    assert isinstance(output.code, DenseCode if kernels.is_reference() else SparseCode)


@pytest.mark.parametrize("loss", LOSSES)
def test_dense_path_equals_dense_reference(crosscoder_with, device, loss):
    output = require_equal(
        crosscoder_with("relu", loss), random_acts(BATCH, sum(WIDTHS)).to(device), loss
    )
    assert isinstance(output.code, DenseCode)
