"""Read how dfc_learning partitions a dictionary between two models. arXiv 2602.11729.

    _partition_config   {"dict_size": F, "model_a_exclusive_pct": a, "model_b_exclusive_pct": b}

dfc_learning is a fork of dictionary_learning; the configuration is stored with the weights. The
first a · F latents belong to model 0, the next b · F to model 1, the others to both. Training holds
at zero what the other model would read and write. Inference applies no mask, so the weights alone
define the function.
"""

from crosscoder.errors import UserError
from crosscoder.formats.settings import format_value
from crosscoder.formats.tensors import Tensors

PARTITION = "_partition_config"
FRACTION_KEYS = {"base": "model_a_exclusive_pct", "chat": "model_b_exclusive_pct"}


def take_partition(file: Tensors, M: int, n_latents: int) -> dict[str, int] | None:
    """Take the number of exclusive latents by source; None if the file has no partition.

    Raises:
        UserError: It is not a partition of these latents between two models.
    """
    config = file.take_plain(PARTITION)
    if config is None:
        return None
    fractions = [config.get(key, -1) for key in FRACTION_KEYS.values()]
    are_fractions = all(0 <= fraction <= 1 for fraction in fractions) and sum(fractions) <= 1
    if M != 2 or not are_fractions or config.get("dict_size", n_latents) != n_latents:
        raise UserError(
            f"{file.file}: {PARTITION} must partition {n_latents} latents between two models, "
            f"found {format_value(config)}"
        )
    pairs = zip(FRACTION_KEYS, fractions, strict=True)
    return {name: int(n_latents * fraction) for name, fraction in pairs}
