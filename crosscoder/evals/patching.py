"""Patch each model by latents, to see how much of the difference they carry.

*Into chat.* This is the published causality experiment (Minder, Dumas et al. 2025). The chat
model's activation is rebuilt from the base's and some latents,

    h_S = h_base + Σ_{j∈S} f_j (d_j^chat − d_j^base)

and the chat model continues from there. Patches: *none* is the base's activation, *all* is every
latent, *error* what no latent explains, *template* chat's own activation on the template's tokens
only.

*Into base.* The same h_S continues in the base model. The share of the models' divergence that it
closes,

    closed = 1 − KL(chat ‖ base patched) / KL(chat ‖ base),

has *true*, chat's own activation, as its ceiling: later layers of the two models may differ, too.
Random latents of the same number are the floor. A published SAE of activation differences closed
92 % on two finetuned models, where the true difference closed 96 and 99 %.

KL(chat ‖ patched) is measured on the tokens of chat's own answers. BOS and other special tokens are
not patched. The intervals are over answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.benchmark import require_chat_template
from crosscoder.evals.support.latent_sets import (
    draw_random_sets,
    group_by_verdict,
    halve_latents,
    take_first_latents,
)
from crosscoder.evals.support.own_answers import OwnAnswers, Patch
from crosscoder.evals.support.patch_tables import (
    INTO_BASE,
    INTO_CHAT,
    TEMPLATE,
    make_base_scalars,
    make_chat_scalars,
    name_draw,
    tabulate_base,
    tabulate_chat,
)
from crosscoder.interventions.patch import patch, patch_base
from crosscoder.values import require_types

TOP_SIZES = (20, 100)


@dataclass(frozen=True)
class PatchingEval:
    """KL between the chat model and each model with a patch, on chat's own answers.

    Scalars: `kl/<patch>` and `kl_first9/<patch>` in nats per token of patches into chat, and
    `closed/<patch>` and `closed_random/<patch>` of patches into base, where a patch is also a
    verdict class. Tables: `patches` has the halves of the latents by several rankings, `into base`
    the classes and the latents with the largest difference energy.

    Args:
        n_questions: Number of ids of the behaviour's held-out questions, each in every group. The
            chat model's own greedy answers to them are scored.
        n_random: Number of random halves, and of random sets for each set of latents.
        max_new_tokens: Longest answer.
    """

    n_questions: int = 16
    n_random: int = 2
    max_new_tokens: int = 48

    def __post_init__(self) -> None:
        require_types("eval.patching", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return True: patched activations continue through the model."""
        return True

    @torch.no_grad()
    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        crosscoder = context.crosscoder
        pair = context.pair
        if pair is None or crosscoder.sources.comparable is None:
            raise NotApplicable("patching needs two compared language models of equal width")
        questions = context.require_behaviour("patching").load("heldout", self.n_questions)
        require_chat_template(pair, questions)
        table = context.latent_table
        chat, base = (crosscoder.sources[name].lm for name in table.meta["contrast"])
        sets = self._choose_sets(table)
        draws = draw_random_sets(table, sets, self.n_random, context.seed)
        with pair.reuse_clean_passes():
            answers = OwnAnswers(pair, chat, questions, self.max_new_tokens)
            into_chat = answers.measure_kls(chat, self._patch_chat(crosscoder, table, context.seed))
            into_base = answers.measure_kls(base, self._patch_base(crosscoder, sets, draws))
        chat_rows = tabulate_chat(into_chat, context.seed)
        base_rows = tabulate_base(into_base, sets, list(draws), context.seed)
        meta = {
            "n_tokens": int(sum(len(kl) for kl in into_chat["none"])),
            "n_answers": len(questions),
            "live": int((~table["dead"]).sum()),
            "patched": [chat, base],
        }
        scalars = make_chat_scalars(chat_rows) | make_base_scalars(base_rows)
        tables = {"patches": chat_rows, "into base": base_rows}
        return Result("patching", scalars, tables, meta)

    def _choose_sets(self, table: LatentTable) -> dict[str, list[int]]:
        """Return the sets of latents that are patched into the base model, by name."""
        classes = group_by_verdict(table) if "verdict" in table.columns else {}
        return classes | take_first_latents(table, TOP_SIZES)

    def _patch_chat(self, crosscoder: Crosscoder, table: LatentTable, seed: int) -> list[Patch]:
        """Return the patches of the chat model."""
        patches = [Patch(name, patch(crosscoder, name)) for name in INTO_CHAT]
        patches.append(Patch(TEMPLATE, patch(crosscoder, "none"), spares_template=True))
        for name, latents in halve_latents(table, self.n_random, seed).items():
            patches.append(Patch(name, patch(crosscoder, latents)))
        return patches

    def _patch_base(
        self,
        crosscoder: Crosscoder,
        sets: Mapping[str, list[int]],
        draws: Mapping[tuple[str, int], list[int]],
    ) -> list[Patch]:
        """Return the patches of the base model."""
        patches = [Patch(name, patch_base(crosscoder, name)) for name in INTO_BASE]
        for name, latents in sets.items():
            patches.append(Patch(name, patch_base(crosscoder, latents)))
        for (name, draw), latents in draws.items():
            patches.append(Patch(name_draw(name, draw), patch_base(crosscoder, latents)))
        return patches
