"""What the language models lose when an activation is replaced by its reconstruction: the judge of a dictionary.

    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)        Bricken et al. 2023
    delta CE       = CE_spliced − CE_clean                                 nats per token
    KL             = KL(clean ‖ spliced) of next-token distributions       nats per token

Zero ablation is a weak baseline, so the same is said of the mean activation. The code is read from a clean pass of all
sources; BOS and other tokens the crosscoder was not trained on keep their activation, and are not scored.
"""

import time
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor

from crosscoder.evals import heldout
from crosscoder.evals.base import Result, Subject
from crosscoder.interventions.splice import reconstruction, replace
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.hooks import Edit, edited
from crosscoder.lm.scoring import AT_A_TIME, divergence, log_probs, picked
from crosscoder.sources import Source
from crosscoder.types import Tokens


@dataclass(frozen=True)
class SpliceEval:
    """See the module's docstring.

    Args:
        n_tokens: on how many held-out tokens, spread evenly over the sequences.
        batch_tokens: tokens per forward pass.
    """

    n_tokens: int = 4096
    batch_tokens: int = 1024

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Result:
        start = time.perf_counter()
        crosscoder, pair = subject.crosscoder, subject.models("splice needs")
        means = crosscoder.sources.split(crosscoder.mean)
        batches = list(heldout.batches(subject.heldout, crosscoder.sources.names, self.n_tokens, self.batch_tokens))
        n_scored = sum(int(heldout.predicts(tokens, subject.heldout.seq_len).sum()) for tokens, _ in batches)
        scalars: dict[str, float] = {}
        for source in sorted(crosscoder.sources, key=lambda source: source.lm):  # each model is loaded once
            sums = torch.zeros(5, dtype=torch.float64)
            for tokens, acts in track(batches, description=f"splice {source.name}"):
                recon = reconstruction(crosscoder, acts.float())[source.name]
                sums += _losses(pair, source, tokens, recon, means[source.name], subject.heldout.seq_len)
            clean, spliced, zero, mean, kl = (sums / n_scored).tolist()
            scalars |= {
                f"loss_recovered/{source.name}": (zero - spliced) / (zero - clean),
                f"loss_recovered_mean/{source.name}": (mean - spliced) / (mean - clean),
                f"delta_ce/{source.name}": spliced - clean,
                f"kl/{source.name}": kl,
                f"ce_clean/{source.name}": clean,
                f"ce_spliced/{source.name}": spliced,
                f"ce_zero/{source.name}": zero,
                f"ce_mean/{source.name}": mean,
            }
        pair.release()
        order = list(dict.fromkeys(key.partition("/")[0] for key in scalars))
        ordered = {
            f"{metric}/{name}": scalars[f"{metric}/{name}"] for metric in order for name in crosscoder.sources.names
        }
        n = sum(len(tokens) for tokens, _ in batches)
        meta = {
            "n_tokens": n,
            "store": str(subject.heldout.folder),
            "seconds": time.perf_counter() - start,
            "seed": subject.seed,
        }
        return Result("splice", ordered, {}, meta)


def _losses(pair: Pair, source: Source, tokens: Tokens, recon: Tensor, mean: Tensor, seq_len: int) -> Tensor:
    """Sums over scored tokens of CE clean, spliced, zero, mean, and of KL(clean ‖ spliced)."""
    model, hookpoint = pair[source.lm], Hookpoint.parse(source.hookpoint)
    ids, positions = (column.view(-1, seq_len).to(pair.device) for column in (tokens.ids, tokens.position))
    where = tokens.ordinary.view(-1, seq_len).to(pair.device)
    scored = heldout.predicts(tokens, seq_len).to(pair.device)
    targets = ids.roll(-1, dims=1)[scored]

    def final(edit: Edit | None) -> Tensor:
        with edited(model, {hookpoint: edit} if edit else {}):
            hidden = model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        return hidden[scored]

    shape = (*ids.shape, source.width)
    replacements = (recon.view(shape), torch.zeros_like(mean).expand(shape), mean.expand(shape))
    finals = [final(None), *(final(replace(new, where)) for new in replacements)]
    sums = torch.zeros(5, dtype=torch.float64)
    # [tokens, vocabulary] is large: a few tokens at a time
    for *parts, target in zip(*(hidden.split(AT_A_TIME) for hidden in finals), targets.split(AT_A_TIME), strict=True):
        clean, spliced, *ablated = (log_probs(model, part) for part in parts)
        ces = [-picked(table, target).sum() for table in (clean, spliced, *ablated)]
        sums += torch.stack([*ces, divergence(clean, spliced).sum()]).double().cpu()
    return sums
