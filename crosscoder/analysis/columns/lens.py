"""Tokens that a latent promotes, read through the unembedding in two ways.

    logit lens      logits_j = W_U norm(d_j)
    Jacobian lens   logits_j = W_U norm(J̄ d_j)

    d_j    decoder of latent j in raw units
    J̄      mean Jacobian from the hookpoint to the output of the last layer (crosscoder/lm/jacobian)
    norm   the model's final norm with its weights
    W_U    the unembedding

The logit lens takes what a latent writes as if no layer came after it (nostalgebraist 2020,
"interpreting GPT: the logit lens"). The Jacobian lens also counts what the later layers make of it,
on average over texts (Gurnee et al. 2026, "Verbalizable Representations Form a Global Workspace in
Language Models"). The final norm divides by the size of its input, so the decoder's length does not
matter. A later soft cap on logits would not change their order.

Most of a large vocabulary hardly occurs in a corpus, and the embeddings of such tokens were hardly
trained. Both lenses would name them often, so they may be restricted to tokens that do occur.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Decoder
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.head import apply_head, get_final_norm, get_head
from crosscoder.lm.jacobian import Jacobian
from crosscoder.lm.jacobian_cache import load_jacobian
from crosscoder.lm.lens_contexts import LensContexts
from crosscoder.lm.loading.checks import require_lens
from crosscoder.runtime.progress import progress

# hookpoints that write into the residual stream in its own basis
RESIDUAL_SITES = ("resid_post", "mlp_out", "attn_out")
# latents whose logits are in memory together: 134 MB with 262,144 tokens in bfloat16
LATENTS_PER_CHUNK = 256


@dataclass(frozen=True)
class _Job:
    """One column: directions [n_latents, d_source], and the model to read them through.

    Args:
        column: Name of the column.
        lm: Name of the model.
        hookpoint: Where the directions are written.
        directions: The directions, in raw units.
    """

    column: str
    lm: str
    hookpoint: str
    directions: Decoder


@torch.no_grad()
def compute_lens(
    crosscoder: Crosscoder,
    pair: Pair,
    n: int = 10,
    is_common: Bool[Tensor, "vocabulary"] | None = None,
    contexts: LensContexts | None = None,
    names: Collection[str] | None = None,
) -> dict[str, list[list[str]]]:
    """Return columns of the LatentTable: each latent's `n` top tokens, the first one first.

    `tokens/<source>` reads a source's decoder through its own model, for every source on the
    residual stream. With a compared pair, `tokens/difference` reads d_first − d_second through the
    first one's (chat's) model. `suppressed_tokens/…` are the `n` tokens with the lowest logits, the
    lowest first. A latent that writes nothing has no tokens. The columns of the Jacobian lens are
    `jacobian_tokens/…`; it has no suppressed ones.

    Args:
        crosscoder: A folded crosscoder.
        pair: The language models.
        n: Number of tokens; fewer if `is_common` has fewer.
        is_common: The tokens that may be named, by id; ids beyond its end may not. None: all.
        contexts: Texts over which the Jacobian is averaged; None: the logit lens.
        names: Sources that are read; None: all. The difference needs the first one of the pair.

    Raises:
        UserError: The crosscoder is not folded, so its decoder is not in the models' units.
        NotApplicable: A model's head does not read the final norm of the residual stream, no token
            may be named, or the model has no Jacobian (lm/jacobian.py).
    """
    if not crosscoder.folded:
        raise UserError(
            "a lens needs a saved (folded) crosscoder: its decoder in the models' own units"
        )
    if is_common is not None and not is_common.any():
        raise NotApplicable("no token is common enough to be named: lower least_count")
    metric = "tokens" if contexts is None else "jacobian_tokens"
    jobs = _list_jobs(crosscoder, metric, crosscoder.sources.names if names is None else names)
    columns: dict[str, list[list[str]]] = {}
    # stable sort by model: one model is in memory at a time
    lms = list(dict.fromkeys(job.lm for job in jobs))
    for job in sorted(jobs, key=lambda job: lms.index(job.lm)):
        require_lens(pair[job.lm])
        jacobian = None
        if contexts is not None:
            jacobian = load_jacobian(pair, job.lm, Hookpoint.parse(job.hookpoint), contexts)
        top, bottom = _read_column(job, pair, jacobian, n, is_common)
        columns[job.column] = top
        if contexts is None:
            columns[f"suppressed_{job.column}"] = bottom
    pair.release()
    names = [job.column for job in jobs]
    names += [f"suppressed_{name}" for name in names if contexts is None]
    return {name: columns[name] for name in names}


def _list_jobs(crosscoder: Crosscoder, metric: str, names: Collection[str]) -> list[_Job]:
    """Return the columns of the sources with these names, and of the difference."""
    sources = crosscoder.sources
    residual = [s for s in sources if s.hookpoint.partition(".")[0] in RESIDUAL_SITES]
    jobs = []
    for source in residual:
        if source.name not in names:
            continue
        directions = crosscoder.decoder(source.name)
        jobs.append(_Job(f"{metric}/{source.name}", source.lm, source.hookpoint, directions))
    if sources.comparable:
        first, second = (sources[name] for name in sources.comparable)
        if first in residual and second in residual and first.name in names:
            difference = crosscoder.decoder(first.name) - crosscoder.decoder(second.name)
            jobs.append(_Job(f"{metric}/difference", first.lm, first.hookpoint, difference))
    return jobs


def _read_column(
    job: _Job, pair: Pair, jacobian: Jacobian | None, n: int, is_common: Tensor | None
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the tokens with the highest logits of every latent, and those with the lowest."""
    model = pair[job.lm]
    ids = None if is_common is None else is_common.nonzero()[:, 0]
    top: list[list[str]] = []
    bottom: list[list[str]] = []
    with progress("latents") as bar:
        task = bar.add_task(f"lens {job.column}", total=len(job.directions), note="")
        for directions in job.directions.split(LATENTS_PER_CHUNK):
            logits = compute_logits(model, directions, jacobian, ids)
            n_named = min(n, logits.shape[1])
            writes = directions.any(-1).tolist()
            for tokens, is_top in ((top, True), (bottom, False)):
                chosen = logits.topk(n_named, dim=-1, largest=is_top).indices.cpu()
                if ids is not None:
                    chosen = ids[chosen]
                for row, writes_something in zip(chosen.tolist(), writes, strict=True):
                    tokens.append(pair.name_tokens(row, job.lm) if writes_something else [])
            bar.advance(task, len(directions))
    return top, bottom


def compute_logits(
    model: Any,
    directions: Decoder,
    jacobian: Jacobian | None = None,
    ids: Int[Tensor, "chosen"] | None = None,
) -> Tensor:
    """Return the logits [n_latents, vocabulary] of directions, in the model's own dtype.

    Args:
        model: The language model.
        directions: Directions in its units.
        jacobian: What they are multiplied by; None for the logit lens.
        ids: Tokens whose logits are returned, [n_latents, chosen]; None for all.
    """
    if jacobian is not None:
        directions = directions.float() @ jacobian.T.to(directions.device)
    # the module knows whether its weight is around 0 (Gemma) or around 1 (Llama)
    hidden = get_final_norm(model)(directions.to(model.device, model.dtype))
    return apply_head(get_head(model), hidden, ids)
