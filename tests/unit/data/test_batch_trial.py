"""The trial picks the fastest batch, and activations do not depend on the batch."""

import pytest
import torch

from crosscoder.data import Harvest, batch_trial
from crosscoder.data.batch_trial import choose_batch_tokens, list_candidates
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, load_pair
from crosscoder.lm.hooks import read

SEQ_LEN = 256
MANY = 10**9


class Machine:
    """A machine on which a pass takes a fixed time and a time per sequence."""

    def __init__(self, monkeypatch, fixed: float, per_sequence: list[float]) -> None:
        self.seconds = 0.0
        self.fixed = fixed
        self.per_sequence = per_sequence
        self.passes: list[int] = []
        monkeypatch.setattr(batch_trial.time, "perf_counter", lambda: self.seconds)

    def run(self, n_sequences: int) -> None:
        self.passes.append(n_sequences)
        is_large = n_sequences * SEQ_LEN > 1024
        self.seconds += self.fixed + n_sequences * self.per_sequence[is_large]


@pytest.mark.parametrize(
    ("fixed", "per_sequence", "expected"),
    [(0.0, [1.0, 2.0], 1024), (5.0, [1.0, 1.0], 4096), (0.0, [2.0, 1.0], 2048)],
)
def test_the_fastest_candidate_is_chosen(monkeypatch, fixed, per_sequence, expected):
    machine = Machine(monkeypatch, fixed, per_sequence)
    assert choose_batch_tokens(machine.run, "cpu", MANY, SEQ_LEN) == expected
    assert machine.passes == [4, 4, 4, 4, 4, 8, 8, 16]


def test_few_tokens_are_read_without_a_trial(monkeypatch):
    machine = Machine(monkeypatch, 0.0, [1.0, 1.0])
    assert choose_batch_tokens(machine.run, "cpu", 100_000, SEQ_LEN) == list_candidates("cpu")[0]
    assert not machine.passes


def test_batches_that_do_not_fit_into_memory_are_not_chosen(monkeypatch):
    machine = Machine(monkeypatch, 5.0, [1.0, 1.0])

    def run(n_sequences: int) -> None:
        if n_sequences > 8:
            raise torch.OutOfMemoryError
        machine.run(n_sequences)

    assert choose_batch_tokens(run, "cpu", MANY, SEQ_LEN) == 2048


@pytest.mark.parametrize("value", [0, -1, True])
def test_other_batches_are_refused(value):
    with pytest.raises(
        UserError, match=r"harvest\.batch_tokens \(or auto\) is a whole number from 1"
    ):
        Harvest("stores", batch_tokens=value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_do_not_depend_on_the_batch(dtype):
    model = load_pair("tiny", dtype=dtype, device="cpu")["chat"]
    ids = torch.randint(6, 200, (16, 64), generator=torch.Generator().manual_seed(0))
    positions = (torch.arange(64) % 48).expand_as(ids)  # two documents in every row
    hookpoint = Hookpoint(1, "resid_post")

    def read_in_batches(size: int) -> torch.Tensor:
        found = []
        for start in range(0, len(ids), size):
            rows = slice(start, start + size)
            acts = read(model, [hookpoint], ids[rows], positions[rows], packing="positions")
            found.append(acts[hookpoint])
        return torch.cat(found)

    assert torch.equal(read_in_batches(4), read_in_batches(8))
    assert torch.equal(read_in_batches(4), read_in_batches(16))
