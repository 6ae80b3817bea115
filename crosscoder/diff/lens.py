"""The logit lens: which tokens a latent would make the model say, if what it writes went straight to the unembedding.

    logits_j = W_U norm(d_j)        d_j in raw units, norm the model's last one with its learnt weights

nostalgebraist 2020, "interpreting GPT: the logit lens". The last norm divides by its input's size, so the decoder's length does
not matter, and a later soft cap on logits would not change their order.
"""

from typing import Any

import torch
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.progress import progress
from crosscoder.types import Decoder

RESIDUAL = ("resid_post", "mlp_out", "attn_out")  # sites that write into the residual stream in its own basis
AT_A_TIME = 256  # latents whose logits are in memory together: 134 MB with a vocabulary of 262,144 in bfloat16


@torch.no_grad()
def lens(crosscoder: Crosscoder, pair: Pair, n: int = 10) -> dict[str, list[list[str]]]:
    """Columns of the LatentTable: each latent's `n` top tokens, the first one first.

    `tokens/<source>` reads a source's decoder through its own model, for every source on the residual stream; with a contrast,
    `tokens/difference` reads d_first − d_second through the first one's (chat's) model. A latent that writes nothing has none.

    Raises:
        UserError: the crosscoder is not folded, i.e. its decoder is not in the models' units.
    """
    if not crosscoder.folded:
        raise UserError("the logit lens needs a saved (folded) crosscoder: its decoder in the models' own units")
    jobs = _directions(crosscoder)
    columns: dict[str, list[list[str]]] = {}
    with progress("latents") as bar:
        task = bar.add_task("logit lens", total=len(jobs) * crosscoder.n_latents, note="")
        for lm in dict.fromkeys(lm for lm, _ in jobs.values()):  # one model in memory after the other
            for name, directions in ((name, d) for name, (of, d) in jobs.items() if of == lm):
                bar.update(task, note=name)
                columns[name] = []
                for part in directions.split(AT_A_TIME):
                    columns[name] += _top_tokens(pair, lm, part, n)
                    bar.advance(task, len(part))
    pair.release()
    return {name: columns[name] for name in jobs}


def _directions(crosscoder: Crosscoder) -> dict[str, tuple[str, Decoder]]:
    """Column → (the model to read through, directions [n_latents, d_source])."""
    sources = crosscoder.sources
    residual = [source for source in sources if source.hookpoint.partition(".")[0] in RESIDUAL]
    jobs = {f"tokens/{source.name}": (source.lm, crosscoder.decoder(source.name)) for source in residual}
    if sources.contrast:
        first, second = (sources[name] for name in sources.contrast)
        if first in residual and second in residual and first.width == second.width:
            difference = crosscoder.decoder(first.name) - crosscoder.decoder(second.name)
            jobs["tokens/difference"] = (first.lm, difference)
    return jobs


def _top_tokens(pair: Pair, lm: str, directions: Decoder, n: int) -> list[list[str]]:
    model = pair[lm]
    top = logits(model, directions).topk(n, dim=-1).indices.cpu()
    strings = pair.tokenizers[lm].convert_ids_to_tokens
    writes = directions.any(-1).tolist()
    return [list(strings(ids)) if some else [] for ids, some in zip(top.tolist(), writes, strict=True)]


def logits(model: Any, directions: Decoder) -> Tensor:
    """[n_latents, vocabulary] in the model's own dtype."""
    # the module knows whether its weight is around 0 (Gemma) or around 1 (Llama)
    return model.get_output_embeddings()(model.get_decoder().norm(directions.to(model.device, model.dtype)))
