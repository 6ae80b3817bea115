"""Latents of one source read and write it alone."""

import pytest
import torch

from crosscoder.analysis.columns.norms import compute_norms
from crosscoder.constraints.partition import Partition
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, sources_of


def zero(block: torch.Tensor) -> bool:
    return bool((block == 0).all())


def test_the_blocks_of_the_other_source_are_zero_and_no_others():
    crosscoder = crosscoder_of(TopK(4), widths=(5, 7), n_latents=20)
    Partition(0.25).project(crosscoder)
    for weight in (crosscoder.encoder, crosscoder.decoder):
        assert zero(weight("chat")[:5])
        assert zero(weight("base")[5:10])
        assert (weight("base")[:5] != 0).all()
        assert (weight("chat")[5:10] != 0).all()
        assert (weight("base")[10:] != 0).all()
        assert (weight("chat")[10:] != 0).all()


def test_the_code_of_one_models_latents_does_not_depend_on_the_other():
    crosscoder = crosscoder_of(TopK(20), widths=(5, 5), n_latents=20).eval()
    Partition(0.25).project(crosscoder)
    acts = torch.randn(30, 10)
    other = torch.cat([acts[:, :5], torch.randn(30, 5)], dim=1)
    codes = [crosscoder.encode(x).to_dense() for x in (acts, other)]
    torch.testing.assert_close(codes[0][:, :5], codes[1][:, :5])
    assert not torch.allclose(codes[0][:, 10:], codes[1][:, 10:])


def test_it_begins_with_pre_activations_of_equal_size():
    crosscoder = crosscoder_of(TopK(4), n_latents=20)
    before = crosscoder.W_enc.detach().clone()
    Partition(0.25).begin(crosscoder)
    torch.testing.assert_close(crosscoder.W_enc[:10], 2 * before[:10])
    torch.testing.assert_close(crosscoder.W_enc[10:], before[10:])


def test_exclusive_latents_are_exclusive_by_every_norm():
    crosscoder = crosscoder_of(BatchTopK(4), n_latents=20)
    Partition(0.25).project(crosscoder)
    columns = compute_norms(crosscoder.fold())
    assert columns["delta_norm"][:5].max() == 0
    assert columns["delta_norm"][5:10].min() == 1


@pytest.mark.parametrize(
    ("share", "message"),
    [(0.6, "more than all latents"), (-0.1, "from 0 to 1"), (1.5, "from 0 to 1")],
)
def test_a_fraction_out_of_range_is_refused(share, message):
    with pytest.raises(UserError, match=message):
        Partition(share).begin(crosscoder_of(TopK(4)))


def test_a_partition_needs_two_compared_sources():
    crosscoder = crosscoder_of(TopK(4))
    crosscoder.sources = sources_of(12)
    with pytest.raises(UserError, match="two compared sources"):
        Partition().begin(crosscoder)


def test_exclusive_latents_may_read_all_sources():
    crosscoder = crosscoder_of(TopK(4), widths=(5, 7), n_latents=20)
    before = crosscoder.W_enc.detach().clone()
    partition = Partition(0.25, reads="all")
    partition.begin(crosscoder)
    partition.project(crosscoder)
    assert torch.equal(crosscoder.W_enc, before)
    assert zero(crosscoder.decoder("chat")[:5])
    assert zero(crosscoder.decoder("base")[5:10])


def test_an_unknown_choice_of_read_sources_is_refused(unchecked):
    with pytest.raises(UserError, match=r"partition\.reads is own or all, not 'some'"):
        Partition(reads="some")
