"""The difference between the sources: the LatentTable, examples of every latent, a summary."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from crosscoder.analysis.columns.lens import compute_lens
from crosscoder.analysis.columns.norms import PUBLISHED
from crosscoder.analysis.columns.prompts import PromptContrast
from crosscoder.analysis.columns.verdict import count_verdicts
from crosscoder.analysis.contexts import Contexts
from crosscoder.analysis.spans import PROMPT_SPANS, list_spans
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Result, Saveable
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.benchmark import make_contrast
from crosscoder.evals.support.common_ids import find_common_ids
from crosscoder.evals.support.optional import OptionalPart, OptionalSteps
from crosscoder.evals.support.rankings import framing_weight
from crosscoder.lm import Pair
from crosscoder.lm.lens_contexts import LensContexts, draw_contexts
from crosscoder.values import require_types, require_whole

# columns of the table of latents that is printed
PRINTED = (
    "latent",
    "verdict",
    "difference_share",
    "delta_norm",
    "cosine",
    "density",
    "template_share",
)


@dataclass(frozen=True)
class DiffEval:
    """Save the LatentTable (`latents.parquet`) and examples of every latent (`contexts.parquet`).

    Scalars: `count/<verdict>`, and how the explained difference divides.

    Args:
        contexts: Number of examples per latent: from plain text, from chats, and drawn from all its
            activity for the quantiles.
        promoted: Number of tokens that each latent promotes, by each lens.
        least_count: Occurrences in the activations at hand (training, validation and held-out
            tokens) from which a lens may name a token. 0: it may name every token.
        jacobian_contexts: Number of held-out contexts over which the Jacobian lens is averaged;
            0: there is no Jacobian lens.
        jacobian_all_sources: Whether every source has the Jacobian lens, which needs a mean
            Jacobian of every model. False: of two compared sources the first one alone, and the
            difference.
        n_pairs: Number of pairs of the behaviour's held-out prompts that are compared.
        contrasts: Other pairs of prompts; the difference of each becomes a column, as that of the
            behaviour does.
        top: Number of rows of the tables that are printed.
    """

    contexts: int = 10
    promoted: int = 10
    least_count: int = 5
    jacobian_contexts: int = 200
    jacobian_all_sources: bool = False
    n_pairs: int = 64
    contrasts: Sequence[PromptContrast] = ()
    top: int = 12

    def __post_init__(self) -> None:
        for name in ("contexts", "promoted", "n_pairs", "top"):
            require_whole(f"eval.diff.{name}", getattr(self, name))
        for name in ("least_count", "jacobian_contexts"):
            require_whole(f"eval.diff.{name}", getattr(self, name), least=0)
        require_types("eval.diff", self)

    def needs_models(self, context: EvalContext) -> bool:
        """Return whether there are models, for the lenses and the prompts."""
        return context.pair is not None

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder."""
        steps = OptionalSteps()
        table, examples = self._analyse(context, steps)
        table = self._add_model_columns(table, context, steps)
        meta = dict(table.meta)
        if steps.reasons:
            meta["left_out"] = steps.reasons
        files: dict[str, Saveable | None] = {"latents.parquet": table, "contexts.parquet": examples}
        return Result("diff", summarise(table), self._tables(table), meta, files, steps.errors)

    def _analyse(
        self, context: EvalContext, steps: OptionalSteps
    ) -> tuple[LatentTable, LatentTable | None]:
        """Make the table and the examples in one pass over the tokens."""
        contexts = Contexts(context.crosscoder.n_latents, self.contexts, seed=context.seed)
        part = OptionalPart(contexts)
        table = context.make_latent_table([part])
        if part.error is not None:
            steps.leave_out("contexts", part.error)
            return table, None
        strings = context.pair.name_tokens if context.pair else None
        make_frame = partial(contexts.frame, context.crosscoder, context.heldout, strings)
        frame = steps.attempt("contexts", make_frame)
        return table, None if frame is None else LatentTable(frame, table.meta)

    def _add_model_columns(
        self, table: LatentTable, context: EvalContext, steps: OptionalSteps
    ) -> LatentTable:
        """Add the columns for which the language models are needed, if there are any."""
        crosscoder = context.crosscoder
        pair = context.pair
        if pair is None:
            return table
        if unreadable := context.find_unreadable_sources():
            reason = f"none of the language models has the source {', '.join(unreadable)}"
            steps.leave_out("models", NotApplicable(reason))
            return table
        # prompts are compared where a chat template asks for the answer, which models with two
        # tokenizers do not share
        has_template = steps.attempt(
            "contrasts", lambda: not pair.is_aligned and bool(pair.tokenizer.chat_template)
        )
        contrasts = None
        if has_template:
            contrasts = steps.attempt("contrasts", partial(self._make_contrasts, context))
        for contrast in contrasts or ():
            compare = partial(_compare_prompts, table, contrast, crosscoder, pair)
            compared = steps.attempt(contrast.name, compare)
            if compared is not None:
                table = compared
        return self._add_lenses(table, context, steps)

    def _add_lenses(
        self, table: LatentTable, context: EvalContext, steps: OptionalSteps
    ) -> LatentTable:
        """Add the tokens that each latent promotes, and say which ones could be named."""
        assert context.pair is not None
        is_common, meta = find_common_ids(context, self.least_count)
        compute = partial(compute_lens, context.crosscoder, context.pair, self.promoted, is_common)
        found = {"lens": steps.attempt("lens", compute)}
        if self.jacobian_contexts:
            contexts = steps.attempt("Jacobian lens", partial(self._draw_contexts, context))
            if contexts is not None:
                meta["jacobian_contexts"] = len(contexts)
                names = self._choose_jacobian_sources(context.crosscoder)
                compute = partial(compute, contexts=contexts, names=names)
                found["Jacobian lens"] = steps.attempt("Jacobian lens", compute)
        for columns in found.values():
            if columns is not None:
                table = table.with_columns(columns)
        return replace(table, meta={**table.meta, "lens": meta})

    def _choose_jacobian_sources(self, crosscoder: Crosscoder) -> Sequence[str]:
        """Return the sources that the Jacobian lens reads."""
        sources = crosscoder.sources
        if self.jacobian_all_sources or sources.diff_pair is None:
            return list(sources.names)
        return [sources.diff_pair[0]]

    def _draw_contexts(self, context: EvalContext) -> LensContexts:
        tokens = TokenSet.from_store(context.heldout).tokens
        return draw_contexts(tokens, self.jacobian_contexts)

    def _make_contrasts(self, context: EvalContext) -> list[PromptContrast]:
        """Return the contrast of the behaviour, if there is one, and the others."""
        contrasts = list(self.contrasts)
        if context.behaviour is not None:
            contrasts.insert(0, make_contrast(context.behaviour, "heldout", self.n_pairs))
        return contrasts

    # --- printed tables ---

    def _tables(self, table: LatentTable) -> dict[str, list[dict[str, Any]]]:
        if "verdict" not in table.columns:
            return {}
        printed = [column for column in PRINTED if column in table.columns]
        largest = []
        for row in table.top("difference_share", self.top).rows():
            largest.append({column: row[column] for column in printed})
        tables = {
            "by difference energy": largest,
            "published": count_by_published_rules(table),
        }
        if "prompt_spans" in table.meta:
            tables[PROMPT_SPANS] = list_spans(table.meta["prompt_spans"])
        for name in table.prompt_contrasts:
            tables[name] = self._rank_by_contrast(table, name)
        return tables

    def _rank_by_contrast(self, table: LatentTable, name: str) -> list[dict[str, Any]]:
        """Return the latents through which the models treat two kinds of prompts most differently.

        They are sorted by |contrast| · ‖d_chat − d_base‖; beside it stand their ranks by columns
        that need no labels.
        """
        first = table.meta["contrast"][0]
        ranks = {
            "by energy": table.rank("difference_energy"),
            "by cosine": table.rank("cosine", ascending=True),
            "by Δ": table.rank("delta_norm"),
            "by ν^ε": table.rank(f"nu/error/{first}", ascending=True),
        }
        weighted = table.frame.assign(weight=framing_weight(table, name))
        rows = []
        for latent in weighted.nlargest(self.top, "weight").to_dict("records"):
            row = {
                "latent": latent["latent"],
                name: latent[name],
                "Holm": latent[f"{name}/holm"],
                "verdict": latent["verdict"],
                "delta_norm": latent["delta_norm"],
                "cosine": latent["cosine"],
            }
            row |= {order: rank[latent["latent"]] for order, rank in ranks.items()}
            rows.append(row)
        return rows


def _compare_prompts(
    table: LatentTable, contrast: PromptContrast, crosscoder: Crosscoder, pair: Pair
) -> LatentTable:
    """Add the columns of a contrast to the table, and to its metadata what was matched."""
    prompts = contrast.read(crosscoder, pair)
    added = table.with_columns(contrast.columns(crosscoder, prompts))
    spans = table.meta.get("prompt_spans", {}) | {contrast.name: prompts.spans.describe()}
    return replace(added, meta=table.meta | {"prompt_spans": spans})


def summarise(table: LatentTable) -> dict[str, float]:
    """Return `count/<verdict>`, and how the explained difference divides."""
    scalars: dict[str, float] = {}
    if "verdict" in table.columns:
        for name, number in count_verdicts(table["verdict"], table.meta["contrast"]).items():
            scalars[f"count/{name.replace('-', '_')}"] = number
    scalars["dead_fraction"] = float(table["dead"].mean())
    if "verdict" in table.columns:
        scalars |= table.meta["difference"]
    return scalars


def count_by_published_rules(table: LatentTable) -> list[dict[str, Any]]:
    """Count the live latents in the classes of each published rule."""
    alive = table.query("not dead")
    first, second = table.meta["contrast"]
    rows = []
    for paper, rule in PUBLISHED.items():
        row: dict[str, Any] = {"rule": rule.describe()}
        for name in (f"{first}-only", f"{second}-only", "shared"):
            row[name] = int((alive[f"category/{paper}"] == name).sum())
        rows.append(row)
    return rows
