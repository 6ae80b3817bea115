import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.losses.reconstruction import Reconstruction


def errors(given) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """e_t of base and of chat, one tensor per token."""
    error = (given.acts - given.output.recon).detach()
    return list(error[:, :5]), list(error[:, 5:])


def test_squared_sums_over_sources_and_dimensions(given):
    base, chat = errors(given())
    expected = sum(float(b @ b + c @ c) for b, c in zip(base, chat, strict=True)) / len(base)
    assert Reconstruction("squared")(given()).item() == pytest.approx(expected, rel=1e-12)


def test_unsquared_is_the_mean_over_tokens_and_sources_of_the_error_norm(given):
    base, chat = errors(given())
    norms = [float(e @ e) ** 0.5 for e in [*base, *chat]]
    assert Reconstruction("unsquared")(given()).item() == pytest.approx(sum(norms) / len(norms), rel=1e-12)


def test_normalised_is_the_mean_square_per_dimension(given):
    base, chat = errors(given())
    squares = [float(x) ** 2 for e in [*base, *chat] for x in e]
    assert Reconstruction("normalised")(given()).item() == pytest.approx(sum(squares) / len(squares), rel=1e-12)


def test_an_unknown_kind_is_named(unchecked):
    with pytest.raises(UserError, match="squared, unsquared or normalised, not 'cubed'"):
        Reconstruction("cubed")
