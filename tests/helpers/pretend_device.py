"""A pretend device on the CPU, which refuses what CUDA refuses: to mix devices.

`.to("pretend")` and `device="pretend"` give tensors that compute on the CPU, but say that they are
elsewhere. An operation on tensors of both kinds raises, so a forgotten `.to(device)` is found on a
machine without a GPU. The rules are CUDA's: copies may cross, a tensor of the CPU without
dimensions counts as a number, and indices may be on the CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "pretend"
MESSAGE = "Expected all tensors to be on the same device"
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
)
# torch makes all others of these
FACTORIES = (
    "empty.memory_format",
    "empty_strided",
    "arange",
    "arange.start",
    "arange.start_step",
    "eye",
    "linspace",
    "randperm",
    "randperm.generator",
)


class PretendTensor(Tensor):
    """A tensor on the pretend device; `inner` is the one on the CPU that holds its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        with torch.inference_mode(inner.is_inference()):
            new = Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=torch.device(NAME, 0),
            )
        new.inner = inner
        return new

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # in inference mode torch asks for operations that are made of others
        return op.decompose(*args, **kwargs) if op._can_decompose() else compute(op, args, kwargs)

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # a file holds a tensor of the CPU

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"{self.inner!r} on {NAME}"


def compute(op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Return the result of an operation, on the device where CUDA would have it."""
    require_one_device(op, args, kwargs)
    there = [x for x in tree_leaves((args, kwargs)) if isinstance(x, PretendTensor)]
    is_there = isinstance(args[0], PretendTensor) if op in COPIES else bool(there)
    inner_args, inner_kwargs = tree_map_only(PretendTensor, lambda x: x.inner, (args, kwargs))
    if kwargs.get("device") is not None:
        is_there = torch.device(kwargs["device"]).type == NAME
        inner_kwargs["device"] = "cpu"
    out = op(*inner_args, **inner_kwargs)
    if not is_there:
        return out
    if torch.Tag.inplace_view in op.tags:
        return return_and_correct_aliasing(op, args, kwargs, out)
    known = {id(x.inner): x for x in there}  # what is changed in place is returned itself
    return tree_map_only(
        Tensor, lambda x: known[id(x)] if id(x) in known else PretendTensor(x), out
    )


def require_one_device(op: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise the error that CUDA would raise if tensors are on both devices."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    on_cpu = [x for x in tensors if not isinstance(x, PretendTensor)]
    if op in COPIES or len(on_cpu) == len(tensors):
        return
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu' ({op})")
    allowed = [x for x in on_cpu if not x.dim()]
    if op in INDEXING:
        allowed += [x for x in tree_leaves(args[1]) if x is not None]
    if op._schema.is_mutable or op in INDEXING:
        allowed = [x for x in allowed if x is not args[0]]
    allowed_ids = {id(x) for x in allowed}
    if any(id(x) not in allowed_ids for x in on_cpu):
        found = ", ".join(f"{x.device}{list(x.shape)}" for x in tensors)
        raise RuntimeError(f"{MESSAGE}, but found {found} ({op})")


def _make(name: str) -> Any:
    packet, _, overload = name.partition(".")
    op = getattr(getattr(aten, packet), overload or "default")
    return lambda *args, **kwargs: compute(op, args, kwargs)


def _copy_from(source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
    for_inner = tree_map_only(PretendTensor, lambda x: x.inner, (to, source))
    aten.copy_.default(*for_inner)
    return to


class _Unasked(backend_registration._DummyBackendModule):
    """Nothing that asks for an accelerator is given this device: it has to be named."""

    def is_available(self) -> bool:
        return False


def _register() -> torch.library.Library:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Unasked())
    library = torch.library.Library("aten", "IMPL")
    for name in FACTORIES:
        library.impl(name, _make(name), "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    return library


LIBRARY = _register()  # kernels are registered while this object lives
