import pytest
import torch

from crosscoder.core.init import TransposedDecoder
from crosscoder.errors import UserError
from tests.helpers.small import sources_of


@pytest.fixture
def weights():
    init = TransposedDecoder(decoder_norm=0.5, encoder_scale=2.0)
    return init(sources_of(6, 6, 4), 50, torch.Generator().manual_seed(0))


def test_decoders_of_one_width_start_equal_with_the_configured_norm(weights):
    _, W_dec = weights
    base, chat, third = W_dec.split((6, 6, 4), dim=-1)
    assert torch.equal(base, chat)
    for part in (base, third):
        torch.testing.assert_close(part.norm(dim=-1), torch.full((50,), 0.5))


def test_the_encoder_is_the_decoder_transposed(weights):
    W_enc, W_dec = weights
    torch.testing.assert_close(W_enc, W_dec * 2.0 / (0.5 * 3))


def test_with_scale_one_a_latent_reads_its_direction_averaged_over_sources():
    W_enc, W_dec = TransposedDecoder(decoder_norm=3.0)(
        sources_of(8, 8), 10, torch.Generator().manual_seed(0)
    )
    direction = W_dec[4, :8] / 3
    torch.testing.assert_close(W_enc[4] @ torch.cat([direction, direction]), torch.tensor(1.0))
    torch.testing.assert_close(W_enc[4] @ torch.cat([direction, torch.zeros(8)]), torch.tensor(0.5))


def test_the_seed_determines_the_weights():
    draw = [
        TransposedDecoder()(sources_of(4, 4), 10, torch.Generator().manual_seed(seed))[1]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


def test_a_fraction_of_the_latents_may_begin_as_exclusive():
    sources = sources_of(6, 6)
    W_enc, W_dec = TransposedDecoder(exclusive_fraction=0.4)(
        sources, 50, torch.Generator().manual_seed(0)
    )
    plain_enc, plain_dec = TransposedDecoder()(sources, 50, torch.Generator().manual_seed(0))
    for (W, plain), factor in (((W_dec, plain_dec), 1), ((W_enc, plain_enc), 2)):
        assert torch.equal(W[:30], plain[:30])
        for latents, own, other in (
            (slice(40, 50), slice(0, 6), slice(6, 12)),
            (slice(30, 40), slice(6, 12), slice(0, 6)),
        ):
            torch.testing.assert_close(W[latents, own], factor * plain[latents, own])
            assert (W[latents, other] == 0).all()


def test_exclusive_latents_may_read_the_difference():
    W_enc, W_dec = TransposedDecoder(exclusive_fraction=0.4, exclusive_encoder="difference")(
        sources_of(6, 6), 50, torch.Generator().manual_seed(0)
    )
    plain = TransposedDecoder(exclusive_fraction=0.4)(
        sources_of(6, 6), 50, torch.Generator().manual_seed(0)
    )
    assert torch.equal(W_dec, plain[1])
    torch.testing.assert_close(W_enc[40:], torch.cat([W_dec[40:, :6], -W_dec[40:, :6]], dim=1))
    same = torch.randn(1, 6, generator=torch.Generator().manual_seed(1)).repeat(1, 2)
    torch.testing.assert_close(W_enc[30:] @ same[0], torch.zeros(20), atol=1e-6, rtol=0)


def test_a_difference_of_unequal_widths_is_refused(unchecked):
    with pytest.raises(
        UserError, match=r"init.exclusive_encoder=difference needs sources of one width"
    ):
        TransposedDecoder(exclusive_fraction=0.4, exclusive_encoder="difference")(
            sources_of(6, 4), 50
        )
    with pytest.raises(UserError, match=r"init.exclusive_encoder is own or difference, not 'all'"):
        TransposedDecoder(exclusive_encoder="all")


def test_a_fraction_above_one_is_refused():
    with pytest.raises(
        UserError,
        match=r"init.exclusive_fraction is a fraction of the latents, from 0 to 1, not 1.5",
    ):
        TransposedDecoder(exclusive_fraction=1.5)
