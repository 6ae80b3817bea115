import torch

from crosscoder.activations.topk import TopK
from crosscoder.interventions.splice import reconstruction, replace
from tests.small import crosscoder_of, random_acts


def test_reconstruction_is_each_sources_part_of_the_decoded_code():
    crosscoder, acts = crosscoder_of(TopK(4), widths=(5, 7)).fold(), random_acts(9, 12)
    parts = reconstruction(crosscoder, acts)
    whole = crosscoder.decode(crosscoder.encode(acts))
    assert torch.equal(torch.cat([parts["base"], parts["chat"]], dim=1), whole)
    assert not parts["chat"].requires_grad


def test_replace_changes_only_where_it_is_told_to():
    acts, new = torch.zeros(2, 3, 4, dtype=torch.bfloat16), torch.ones(2, 3, 4)
    where = torch.tensor([[True, False, True], [False, False, True]])
    edited = replace(new, where)(acts)
    assert edited.dtype == torch.bfloat16
    assert torch.equal(edited[..., 0] == 1, where)
    assert acts.eq(0).all()
