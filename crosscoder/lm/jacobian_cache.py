"""Mean Jacobians that were computed once are kept in the cache folder."""

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import torch

from crosscoder.errors import UserError
from crosscoder.io.files import make_folders
from crosscoder.io.known import cache_dir
from crosscoder.io.tensors import read_tensors, require_tensor, write_tensors
from crosscoder.lm.architectures import get_hidden_size
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.jacobian import Jacobian, compute_jacobian
from crosscoder.lm.lens_contexts import N_TAIL, LensContexts
from crosscoder.lm.pair import Pair

log = logging.getLogger(__name__)

TENSOR = "jacobian"


def load_jacobian(pair: Pair, lm: str, hookpoint: Hookpoint, contexts: LensContexts) -> Jacobian:
    """Return the mean Jacobian of a model of a pair, from the cache folder or newly computed.

    It is cached by the model's weights, dtype and device, by hookpoint and contexts.

    Raises:
        NotApplicable: As compute_jacobian.
    """
    path = _find_file(pair, lm, hookpoint, contexts)
    if path.exists():
        try:
            return _read(path, get_hidden_size(pair[lm]))
        except UserError as error:
            log.warning("the Jacobian is computed again: %s", error)
    jacobian = compute_jacobian(pair[lm], hookpoint, contexts)
    make_folders(path.parent)
    about = {"model": pair.lms[lm].describe(), "hookpoint": str(hookpoint)}
    write_tensors(path, {TENSOR: jacobian}, about)
    return jacobian


def _find_file(pair: Pair, lm: str, hookpoint: Hookpoint, contexts: LensContexts) -> Path:
    parts = [
        pair.lms[lm].fingerprint(),
        str(pair.compute_dtype),
        pair.device.type,
        version("transformers"),
        str(hookpoint),
        str(N_TAIL),
        contexts.sha256,
    ]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
    return cache_dir() / "jacobians" / f"{key}.safetensors"


def _read(path: Path, d_model: int) -> Jacobian:
    """Read a Jacobian that write_tensors saved.

    Raises:
        UserError: The file is damaged, or holds something else.
    """
    tensors = read_tensors(path)
    width = tensors[TENSOR].shape[-1] if TENSOR in tensors else 0
    jacobian = require_tensor(path, tensors, TENSOR, (d_model, width), (torch.float32,))
    if not jacobian.isfinite().all():
        raise UserError(f"{path}: '{TENSOR}' has NaN or infinity")
    return jacobian
