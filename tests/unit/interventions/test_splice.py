import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.interventions.splice import reconstruct, replace_at
from tests.helpers.small import crosscoder_of, random_acts


def test_reconstruction_splits_the_decoded_code_by_source():
    crosscoder = crosscoder_of(TopK(4), widths=(5, 7)).fold()
    acts = random_acts(9, 12)
    parts = reconstruct(crosscoder, acts)
    whole = crosscoder.decode(crosscoder.encode(acts))
    assert torch.equal(torch.cat([parts["base"], parts["chat"]], dim=1), whole)
    assert not parts["chat"].requires_grad


def test_replace_at_changes_only_the_chosen_positions():
    acts = torch.zeros(2, 3, 4, dtype=torch.bfloat16)
    new = torch.ones(2, 3, 4)
    where = torch.tensor([[True, False, True], [False, False, True]])
    edited = replace_at(new, where)(acts)
    assert edited.dtype == torch.bfloat16
    assert torch.equal(edited[..., 0] == 1, where)
    assert acts.eq(0).all()
