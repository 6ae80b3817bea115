"""Splice reconstructions into the language models: the final test of a dictionary.

    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)        Bricken et al. 2023
    delta CE       = CE_spliced − CE_clean                                 nats per token
    KL             = KL(clean ‖ spliced) of next-token distributions       nats per token

Zero ablation is a weak baseline, so the same is measured against the mean activation. The code is
read from a clean pass of all sources. BOS and other tokens that the crosscoder was not trained on
keep their activation and are not scored.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from crosscoder.core.sources import Source
from crosscoder.core.types import Acts, Tokens
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.errors import UserError
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.heldout import find_predicting_tokens, read_batches
from crosscoder.interventions.splice import reconstruct, replace_at
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.hooks import apply_edits
from crosscoder.lm.next_token_losses import compare_predictions, compute_cross_entropies
from crosscoder.lm.packing import get_final_layout, run_isolated
from crosscoder.lm.resume import count_shared_layers, record_layers, skip_layers
from crosscoder.runtime.progress import progress
from crosscoder.values import require_whole

METRICS = (
    "loss_recovered",
    "loss_recovered_mean",
    "delta_ce",
    "kl",
    "ce_clean",
    "ce_spliced",
    "ce_zero",
    "ce_mean",
)


class Batch(NamedTuple):
    """Tokens of whole sequences, their activations, and which of them are not excluded."""

    tokens: Tokens
    acts: Acts
    known: Bool[Tensor, "batch"]


@dataclass(frozen=True)
class SpliceEval:
    """Cross-entropy and KL of each language model with a reconstruction in the activation's place.

    Scalars: `loss_recovered/<source>`, `delta_ce/<source>`, `kl/<source>` and the cross-entropies.

    Args:
        n_tokens: Number of held-out tokens, in sequences that are spread evenly over the store.
        batch_tokens: Tokens per forward pass.
    """

    n_tokens: int = 4096
    batch_tokens: int = 1024

    def __post_init__(self) -> None:
        require_whole("eval.splice.n_tokens", self.n_tokens)
        require_whole("eval.splice.batch_tokens", self.batch_tokens)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: reconstructions replace activations of the models."""
        return True

    @torch.no_grad()
    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        pair = context.require_models("splice")
        sources = context.crosscoder.sources
        batches = self._read_batches(context)
        figures = {}
        for source in sorted(sources, key=lambda source: source.lm):  # each model is loaded once
            figures[source.name] = _measure_source(context, pair, source, batches)
        pair.release()
        scalars = {}
        for metric in METRICS:
            for name in sources.names:
                scalars[f"{metric}/{name}"] = figures[name][metric]
        meta = {
            "n_tokens": sum(len(tokens) for tokens, _, _ in batches),
            "excluded": sum(int((~known).sum()) for _, _, known in batches),
        }
        return Result("splice", scalars, {}, meta)

    def _read_batches(self, context: EvalContext) -> list[Batch]:
        """Read tokens, activations, and which tokens the crosscoder was trained on.

        Raises:
            UserError: No token is scored.
        """
        store = context.heldout
        read = read_batches(
            store,
            context.crosscoder.sources.names,
            self.n_tokens,
            self.batch_tokens,
            exclude=read_figure_exclude(context.crosscoder.provenance),
        )
        batches = [Batch(tokens, acts, known) for tokens, acts, known in read]
        if not _count_scored(batches, store.seq_len):
            raise UserError(
                f"none of {self.n_tokens:,} tokens of {store.folder} predicts a next one: "
                "there is nothing to splice"
            )
        return batches


def _measure_source(
    context: EvalContext, pair: Pair, source: Source, batches: list[Batch]
) -> dict[str, float]:
    """Return the figures of one source by metric."""
    crosscoder = context.crosscoder
    seq_len = context.heldout.seq_len
    mean_acts = crosscoder.sources.split(crosscoder.mean)[source.name].to(pair.device)
    sums = torch.zeros(5, dtype=torch.float64)
    n_tokens = sum(len(batch.tokens) for batch in batches)
    with progress() as bar:
        task = bar.add_task(f"splice {source.name}", total=n_tokens, note="")
        for tokens, acts, known in batches:
            recon = reconstruct(crosscoder, acts.float())[source.name].to(pair.device)
            sums += _sum_losses(pair, source, tokens, known, recon, mean_acts, seq_len)
            bar.advance(task, len(tokens))
    clean, spliced, zero, mean, kl = (sums / _count_scored(batches, seq_len)).tolist()
    return {
        "loss_recovered": _recovered_fraction(zero, spliced, clean),
        "loss_recovered_mean": _recovered_fraction(mean, spliced, clean),
        "delta_ce": spliced - clean,
        "kl": kl,
        "ce_clean": clean,
        "ce_spliced": spliced,
        "ce_zero": zero,
        "ce_mean": mean,
    }


def _recovered_fraction(ablated: float, spliced: float, clean: float) -> float:
    """Return the fraction of ablation's cost that the reconstruction saves; NaN without cost."""
    if ablated == clean:
        return float("nan")
    return (ablated - spliced) / (ablated - clean)


def _count_scored(batches: list[Batch], seq_len: int) -> int:
    return sum(int(_find_scored(tokens, known, seq_len).sum()) for tokens, _, known in batches)


def _find_scored(
    tokens: Tokens, known: Bool[Tensor, "batch"], seq_len: int
) -> Bool[Tensor, "sequences seq_len"]:
    """Return which tokens predict the next one and have an activation that is not excluded."""
    return find_predicting_tokens(tokens, seq_len) & known.view(-1, seq_len)


def _sum_losses(
    pair: Pair,
    source: Source,
    tokens: Tokens,
    known: Bool[Tensor, "batch"],
    recon: Tensor,
    mean: Tensor,
    seq_len: int,
) -> Tensor:
    """Return sums over scored tokens: CE clean, spliced, zero, mean, and KL(clean ‖ spliced)."""
    model = pair[source.lm]
    hookpoint = Hookpoint.parse(source.hookpoint)
    ids = tokens.ids.view(-1, seq_len).to(pair.device)
    positions = tokens.position.view(-1, seq_len).to(pair.device)
    scored = _find_scored(tokens, known, seq_len).to(pair.device)
    targets = ids.roll(-1, dims=1)[scored]
    layout = get_final_layout(model, positions)
    where = layout.arrange(known.view(-1, seq_len).to(pair.device))
    n_shared = count_shared_layers(model, hookpoint)
    with record_layers(model, n_shared) as output:
        clean = run_isolated(model, ids, layout)[scored]

    shape = (*ids.shape, source.width)
    finals = []
    for new in (recon.view(shape), torch.zeros_like(mean).expand(shape), mean.expand(shape)):
        edits = {hookpoint: replace_at(layout.arrange(new), where)}
        with skip_layers(model, n_shared, output), apply_edits(model, edits):
            finals.append(run_isolated(model, ids, layout)[scored])
    spliced, *ablated = finals
    compared = compare_predictions(model, clean, spliced, targets)
    losses = compute_cross_entropies(model, torch.cat(ablated), targets.repeat(2))
    zero, mean_ablated = losses.chunk(2)
    columns = (compared.clean, compared.edited, zero, mean_ablated, compared.kl)
    return torch.stack([column.sum() for column in columns])
