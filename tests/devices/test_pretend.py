"""The pretend device refuses what CUDA refuses, and allows what CUDA allows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], object]  # of a tensor there and an equal one on the CPU

MIXED: dict[str, Operation] = {
    "a sum": lambda there, here: there + here,
    "a number there and a tensor here": lambda there, here: there.sum() * here,
    "an assignment": lambda there, here: here.add_(there),
    "a number here that is changed": lambda there, here: here.sum().add_(there.sum()),
    "a product": lambda there, here: there @ here.T,
    "a concatenation": lambda there, here: torch.cat([there, here]),
    "a mask": lambda there, here: there.masked_fill(here > 0, 0.0),
    "a choice": lambda there, here: there.where(here > 0, 0.0),
    "an index there": lambda there, here: here[there[:, 0] > 0],
    "an assigned tensor": lambda there, here: there.index_put_((there > 0,), here[here > 0]),
    "rows by number": lambda there, here: there.index_select(0, torch.tensor([0])),
    "an embedding": lambda there, here: torch.embedding(there, torch.tensor([0])),
    "an output": lambda there, here: torch.mul(there, there, out=here),
    "a generator of the CPU": lambda there, here: there.normal_(generator=torch.Generator()),
}
ALLOWED: dict[str, Operation] = {
    "a number": lambda there, here: there + 1.5,
    "a number of the CPU": lambda there, here: there * here.sum(),
    "an index of the CPU": lambda there, here: there[torch.tensor([2, 0])],
    "a mask of the CPU": lambda there, here: there[here[:, 0] > 0],
    "a copy to the CPU": lambda there, here: here.clone().copy_(there),
    "a copy from the CPU": lambda there, here: there.clone().copy_(here + 1),
    "a new tensor": lambda there, here: torch.arange(3, device=there.device) + there[:, 0],
    "a view": lambda there, here: there.clone()[:, 1:].mul_(2),
}


def operands(device: str) -> tuple[Tensor, Tensor]:
    here = torch.arange(12.0).reshape(3, 4) - 5
    return here.to(device), here.clone()


@pytest.mark.parametrize("name", MIXED)
def test_devices_are_not_mixed(device, name):
    there, here = operands(device)
    with pytest.raises(RuntimeError, match="device"):
        MIXED[name](there, here)


def test_numpy_does_not_read_it(device):
    with pytest.raises((RuntimeError, TypeError), match="numpy"):
        operands(device)[0].numpy()


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_gives_what_the_cpu_gives(device, name):
    there, here = operands(device)
    expected = ALLOWED[name](here, here)
    torch.testing.assert_close(ALLOWED[name](there, here).cpu(), expected)


def test_gradients_stay_on_the_device(device):
    here = torch.nn.Linear(4, 2)
    there = torch.nn.Linear(4, 2)
    there.load_state_dict(here.state_dict())
    there.to(device)
    for layer in (here, there):
        layer(operands("cpu")[1].to(layer.weight.device)).square().sum().backward()
        torch.optim.Adam(layer.parameters(), fused=True).step()
    assert there.weight.grad.device == there.weight.device != here.weight.device
    torch.testing.assert_close(there.weight.cpu(), here.weight)
