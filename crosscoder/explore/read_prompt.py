"""Read a prompt with both models: acts, latents, and where the models disagree.

Of each token x, with δ = x_chat − x_base and its reconstruction δ̂:

    kl           KL(chat ‖ base) of the next token, in nats
    difference   ‖δ‖
    explained    1 − ‖δ − δ̂‖² / ‖δ‖²
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import SparseCode
from crosscoder.core.types import Acts, Kind, PerLatent
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.session import Session
from crosscoder.lm.hooks import Hookpoint, run_decoder
from crosscoder.lm.log_probs import compute_kls_in_chunks
from crosscoder.lm.types import PreTrainedModel

MAX_LATENTS = 256  # of a token that are sent to the page
MAX_SUMMARY = 60  # latents of a prompt
NO_TEXT = (Kind.SPECIAL, Kind.TEMPLATE)


@dataclass(frozen=True)
class PromptReading:
    """A prompt as both models read it.

    Args:
        ids: Token ids.
        kinds: Kind of each token.
        acts: Activations of all sources, [tokens, d_total].
        code: Code of every token.
        kl: KL(chat ‖ base) of the next token, [tokens].
    """

    ids: list[int]
    kinds: list[int]
    acts: Acts
    code: SparseCode
    kl: Float[Tensor, "tokens"]

    @property
    def is_text(self) -> Tensor:
        """True for tokens of the user's text, [tokens]; for all tokens if there are no such."""
        found = torch.tensor([kind not in NO_TEXT for kind in self.kinds])
        return found if found.any() else torch.ones_like(found)


def read_prompt(
    session: Session, prompt: Prompt, check: Callable[[], None] = lambda: None
) -> PromptReading:
    """Run every model once over a prompt.

    Args:
        session: The run.
        prompt: The prompt.
        check: Called between two models; it may raise an exception to stop the work.
    """
    ids, kinds = prompt.tokenize(session.pair)
    sources = session.crosscoder.sources
    acts: dict[str, Tensor] = {}
    hiddens: dict[str, Tensor] = {}
    for name in session.pair.lms:
        check()
        names = {item.name: Hookpoint.parse(item.hookpoint) for item in sources if item.lm == name}
        model = session.pair[name]
        found, hiddens[name] = run_with_hooks(model, list(dict.fromkeys(names.values())), ids)
        acts |= {source: found[hookpoint] for source, hookpoint in names.items()}
    check()
    columns = torch.cat([acts[name] for name in sources.names], dim=-1).float()
    columns = columns.to(session.crosscoder.W_enc.device)
    chat, base = session.models
    models = (session.pair[chat], session.pair[base])
    kl = compute_kls_in_chunks(models[0], hiddens[chat], models[1], [hiddens[base]])[0]
    return PromptReading(ids, kinds, columns, session.crosscoder.encode(columns).to_sparse(), kl)


@torch.no_grad()
def run_with_hooks(
    model: PreTrainedModel, hookpoints: Sequence[Hookpoint], ids: Sequence[int]
) -> tuple[dict[Hookpoint, Tensor], Float[Tensor, "tokens d_model"]]:
    """Run a model up to its head; return activations at hookpoints and final hidden states.

    Args:
        model: The language model.
        hookpoints: Where activations are read.
        ids: The tokens of one prompt.

    Returns:
        Activations by hookpoint, each [tokens, width], and final hidden states.
    """
    found: dict[Hookpoint, Tensor] = {}

    def keep(hookpoint: Hookpoint, acts: Tensor) -> None:
        found[hookpoint] = acts[0].clone()  # some models change it in place afterwards

    with ExitStack() as stack:
        for hookpoint in hookpoints:
            stack.enter_context(hookpoint.attach(model, lambda acts, h=hookpoint: keep(h, acts)))
        hidden = run_decoder(model, torch.tensor([ids], device=model.device))
    return found, hidden[0]


@torch.no_grad()
def measure_difference(crosscoder: Crosscoder, reading: PromptReading) -> tuple[Tensor, Tensor]:
    """Return the norm of the difference, and the part of it that is explained, [tokens] each."""
    first, second = crosscoder.sources.require_comparable("the difference of two models")
    columns = (crosscoder.sources.slice(first), crosscoder.sources.slice(second))
    decoded = crosscoder.decode(reading.code)
    difference = reading.acts[:, columns[0]] - reading.acts[:, columns[1]]
    explained = decoded[:, columns[0]] - decoded[:, columns[1]]
    energy = difference.square().sum(-1)
    error = (difference - explained).square().sum(-1)
    return energy.sqrt(), 1 - error / energy.clamp(min=torch.finfo(energy.dtype).tiny)


def describe_reading(session: Session, reading: PromptReading) -> dict[str, Any]:
    """Return what the page shows of a reading, as plain JSON.

    The latents of a token come in the order of what they write: f times the norm of the larger
    decoder.
    """
    difference, explained = measure_difference(session.crosscoder, reading)
    tokens = []
    for token, kind, is_text in zip(
        reading.ids, reading.kinds, reading.is_text.tolist(), strict=True
    ):
        text = session.get_text(token)
        tokens.append({"id": token, "text": text, "kind": Kind.NAMES[kind], "is_text": is_text})
    return {
        "tokens": tokens,
        "values": {
            "kl": reading.kl.tolist(),
            "difference": difference.tolist(),
            "explained": explained.tolist(),
        },
        "latents": list_latents(session.crosscoder, reading.code),
        "summary": summarise_latents(session.crosscoder, reading),
    }


def summarise_latents(crosscoder: Crosscoder, reading: PromptReading) -> list[dict[str, Any]]:
    """Return a row for each latent that writes most of the models' difference on the user's text.

    `writes` is the mean over tokens of f_j · ‖d_j^chat − d_j^base‖.
    """
    mean = compute_mean(reading)
    writes = mean * measure_writing(crosscoder)
    rows = []
    for latent in writes.topk(min(MAX_SUMMARY, len(writes))).indices.tolist():
        if mean[latent] > 0:
            row = {"latent": latent, "mean": float(mean[latent]), "writes": float(writes[latent])}
            rows.append(row)
    return rows


def compute_mean(reading: PromptReading) -> PerLatent:
    """Return the mean f of each latent over the tokens of the user's text."""
    weights = reading.is_text.to(reading.code.values)
    weights = weights / weights.sum()
    index = reading.code.index
    terms = reading.code.values * weights[index.rows]
    return terms.new_zeros(index.n_latents).index_add(0, index.latents, terms)


@torch.no_grad()
def measure_writing(crosscoder: Crosscoder) -> PerLatent:
    """Return ‖d_j^chat − d_j^base‖ of each latent."""
    first, second = crosscoder.sources.require_comparable("the difference of two models")
    return torch.linalg.vector_norm(crosscoder.decoder(first) - crosscoder.decoder(second), dim=-1)


@torch.no_grad()
def list_latents(crosscoder: Crosscoder, code: SparseCode) -> list[list[tuple[int, float]]]:
    """Return the active latents of each token with their f, those that write most first."""
    norms = [crosscoder.decoder(source).norm(dim=-1) for source in crosscoder.sources.names]
    largest = torch.stack(norms).amax(0)
    found: list[list[tuple[int, float]]] = []
    for row in range(len(code)):
        is_here = code.index.rows == row
        latents = code.index.latents[is_here]
        values = code.values[is_here]
        order = (values * largest[latents]).argsort(descending=True)[:MAX_LATENTS]
        found.append(list(zip(latents[order].tolist(), values[order].tolist(), strict=True)))
    return found
