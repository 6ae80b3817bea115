import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.losses.reconstruction import Reconstruction


def errors(ctx) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """e_t of base and of chat, one tensor per token."""
    error = (ctx.acts - ctx.output.recon).detach()
    return list(error[:, :5]), list(error[:, 5:])


def test_squared_sums_over_sources_and_dimensions(make_ctx):
    base, chat = errors(make_ctx())
    expected = sum(float(b @ b + c @ c) for b, c in zip(base, chat, strict=True)) / len(base)
    assert Reconstruction("squared")(make_ctx()).item() == pytest.approx(expected, rel=1e-12)


def test_unsquared_is_the_mean_over_tokens_and_sources_of_the_error_norm(make_ctx):
    base, chat = errors(make_ctx())
    norms = [float(e @ e) ** 0.5 for e in [*base, *chat]]
    assert Reconstruction("unsquared")(make_ctx()).item() == pytest.approx(
        sum(norms) / len(norms), rel=1e-12
    )


def test_normalised_is_the_mean_square_per_dimension(make_ctx):
    base, chat = errors(make_ctx())
    squares = [float(x) ** 2 for e in [*base, *chat] for x in e]
    assert Reconstruction("normalised")(make_ctx()).item() == pytest.approx(
        sum(squares) / len(squares), rel=1e-12
    )


def test_an_unknown_kind_is_named(unchecked):
    with pytest.raises(UserError, match="squared, unsquared or normalised, not 'cubed'"):
        Reconstruction("cubed")


# --- weights by source ---

SIZES = {
    "squared": lambda e: float(e @ e),
    "unsquared": lambda e: float(e @ e) ** 0.5 / 2,  # two sources
    "normalised": lambda e: float(e @ e) / 12,  # dimensions
}
every_kind = pytest.mark.parametrize("kind", SIZES)


@every_kind
@pytest.mark.parametrize(
    ("by_source", "of_base", "of_chat"),
    [({"base": 0.5, "chat": 3.0}, 0.5, 3.0), ({"chat": 3.0}, 1.0, 3.0), ({"base": 0.0}, 0.0, 1.0)],
)
def test_every_source_is_weighted(make_ctx, kind, by_source, of_base, of_chat):
    base, chat = errors(make_ctx())
    size = SIZES[kind]
    expected = sum(
        of_base * size(b) + of_chat * size(c) for b, c in zip(base, chat, strict=True)
    ) / len(base)
    assert Reconstruction(kind, by_source=by_source)(make_ctx()).item() == pytest.approx(
        expected, rel=1e-12
    )


@every_kind
def test_the_decoder_of_a_source_without_weight_has_no_gradient(make_ctx, crosscoder, kind):
    Reconstruction(kind, by_source={"base": 0.0})(make_ctx()).backward()
    for gradient in (crosscoder.W_dec.grad, crosscoder.b_dec.grad):
        assert gradient[..., :5].eq(0).all()
        assert gradient[..., 5:].ne(0).any()


@every_kind
def test_an_unknown_source_is_named(make_ctx, kind):
    with pytest.raises(
        UserError,
        match=r"by_source names unknown sources chatt, third; expected some of \[base, chat\]",
    ):
        Reconstruction(kind, by_source={"third": 1.0, "chatt": 2.0, "base": 1.0})(make_ctx())
