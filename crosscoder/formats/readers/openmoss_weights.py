"""Take the weights of OpenMOSS's SAEs under the names of either generation."""

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.formats.tensors import Tensors


def take_weights(
    file: Tensors, has_b_dec: bool, file_name: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take W_enc [F, d], b_enc, W_dec [F, d] and b_dec (zeros if there is none).

    Args:
        file: Weights.
        has_b_dec: True if the settings say that there is a decoder bias.
        file_name: File of the settings, for messages.

    Raises:
        UserError: The file holds a decoder bias that the settings deny.
    """
    is_older = any(name.startswith(("encoder.", "decoder.")) for name in file.left)
    bias = "decoder.bias" if is_older else "b_D"
    if bias in file and not has_b_dec:
        raise UserError(f"{file_name}: use_decoder_bias is false, but {file.file} holds '{bias}'")
    if is_older:
        W_enc = file.take("encoder.weight", "F d")
        b_enc = file.take("encoder.bias", "F")
        W_dec = file.take("decoder.weight", "d F").T.contiguous()
    else:
        W_enc = file.take("W_E", "d F").T.contiguous()
        b_enc = file.take("b_E", "F")
        W_dec = file.take("W_D", "F d")
    b_dec = file.take(bias, "d", missing=None if has_b_dec else 0.0)
    return W_enc, b_enc, W_dec, b_dec
