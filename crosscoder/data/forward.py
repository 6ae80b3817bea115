"""Forward passes of language models that read the activations of sources."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from crosscoder.core.sources import Source
from crosscoder.core.types import Tokens
from crosscoder.data.storage.finite import find_not_finite
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.hooks import read
from crosscoder.lm.layout import Packing


def read_streams(
    pair: Pair, lm: str, sources: Iterable[Source], tokens: Tokens, seq_len: int, packing: Packing
) -> Mapping[Source, Tensor]:
    """Run one model on whole sequences and read all of its sources in one pass.

    Args:
        pair: The models.
        lm: Name of the model.
        sources: Sources of this model.
        tokens: Tokens of whole sequences.
        seq_len: Tokens per sequence.
        packing: Method of keeping documents apart (see crosscoder/lm/layout.py).

    Returns:
        Activations [n, d_source] by source.
    """
    hookpoints = {Hookpoint.parse(source.hookpoint): source for source in sources}
    ids = tokens.ids.view(-1, seq_len).to(pair.device)
    positions = tokens.position.view(-1, seq_len).to(pair.device)
    found = read(pair[lm], list(hookpoints), ids, positions, packing=packing)
    streams = {}
    for hookpoint, acts in found.items():
        # some models (Mamba) keep the residual stream in float32, whatever the dtype of weights
        streams[hookpoints[hookpoint]] = acts.flatten(0, 1).to(pair.dtype)
    return streams


def move_finite(acts: Tensor, tokens: Tokens, source: Source, first: int = 0) -> Tensor:
    """Move activations to the CPU, and refuse NaN and infinity in them.

    Args:
        acts: Activations [n, d_source].
        tokens: The tokens on which they were read.
        source: Their source.
        first: Number of the first token, for the message.

    Raises:
        UserError: With the token.
    """
    row = find_not_finite(acts)
    if row is not None:
        raise UserError(
            f"{source.lm} gives NaN or infinity at {source.hookpoint}, token {first + row} "
            f"(id {int(tokens.ids[row])}, document {int(tokens.document[row])}); "
            "this shard is not kept"
        )
    return acts.cpu()
