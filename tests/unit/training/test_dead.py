import torch

from crosscoder.core.sparse import DenseCode
from crosscoder.training.dead import DeadLatents


def test_tokens_are_counted_since_each_latent_last_fired():
    dead = DeadLatents(3)
    for fired in ([1, 1, 0], [0, 1, 0], [1, 0, 0]):
        code = torch.zeros(4, 3)
        code[2] = torch.tensor(fired)  # on one token of the batch
        dead.update(DenseCode(code))
    assert dead.tokens_since_fired.tolist() == [0, 4, 12]
    assert dead.mask(after=4).tolist() == [False, True, True]
    assert dead.mask(after=5).tolist() == [False, False, True]


def test_the_count_is_part_of_the_checkpoint():
    dead = DeadLatents(3)
    dead.update(DenseCode(torch.zeros(4, 3)))
    other = DeadLatents(3)
    other.load_state_dict(dead.state_dict())
    assert other.tokens_since_fired.tolist() == [4, 4, 4]
