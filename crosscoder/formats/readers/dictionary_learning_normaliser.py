"""Read the normaliser of dictionary_learning's newer files: N(x) = (x − mean) · s.

    activation_mean, activation_std   [M, d], of one model [d]; NaN: no normaliser
    activation_global_scale           s, [] for all models or [M]

Files of June 2025 that divide by the standard deviation of each dimension have no
activation_global_scale. They are refused, because the library's own classes have since read them
differently.
"""

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.formats.tensors import Tensors

EPSILON = 1e-8  # added to s where reconstructions are divided by it


def take_normaliser(
    file: Tensors, axes: str, M: int, d: int
) -> tuple[Tensor | None, Tensor | None]:
    """Take the mean and 1 / s, [M · d] each; None twice if there is no normaliser.

    Args:
        file: Weights.
        axes: Axes of the mean in the file.
        M: Number of models.
        d: Width of each model's activations.

    Raises:
        UserError: The normaliser is incomplete, or s is not positive.
    """
    if "activation_mean" not in file:
        return None, None
    mean = file.take("activation_mean", axes, finite=False)
    std = file.take("activation_std", axes, missing=float("nan"), finite=False)
    global_scale = file.left.get("activation_global_scale")
    if global_scale is None or mean.isnan().any() or std.isnan().any():
        file.drop(["activation_global_scale"])
        if not (mean.isnan().all() and std.isnan().all()):
            raise UserError(
                f"{file.file}: its normaliser (activation_mean, activation_std, …) is incomplete"
            )
        return None, None
    s = file.take("activation_global_scale", "M" if global_scale.ndim else "").expand(M)
    if not (s > 0).all():
        raise UserError(f"{file.file}: activation_global_scale is not positive")
    return mean.flatten(), (1 / s).repeat_interleave(d)


def fold_normaliser(
    W_enc: Tensor, b_enc: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weights whose code of N(x) is the code of these weights for N(N(x)).

    Args:
        W_enc: Encoder, [n_latents, d_total].
        b_enc: Encoder bias, [n_latents].
        mean: Mean of the normaliser, [d_total].
        scale: 1 / s, [d_total].
    """
    scaled = W_enc.double() / scale.double()
    return scaled.float(), (b_enc.double() - scaled @ mean.double()).float()
