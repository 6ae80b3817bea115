"""Compare a crosscoder with another dictionary, e.g. of the base model alone, on the same tokens.

Each is judged as it is, and at the lower of their two L0s (the smallest entries of the denser one
are left out, see support/l0_matching.py). A reference of one source is also applied to each of our
models by itself: the way in which an SAE alone would compare the models.

Relations of our latents to the reference's: the nearest decoder (matching/decoders.py), partners
that fire together (matching/cofiring.py), and how much of a latent's activity the reference's code
explains (matching/regression.py), beside how much a linear map of the activations explains that the
reference reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from crosscoder.core.metrics import Variance
from crosscoder.core.model import Crosscoder
from crosscoder.data import Mixing, Store
from crosscoder.data.exclude import read_figure_exclude
from crosscoder.data.storage.common_tokens import restrict_to_common_tokens
from crosscoder.evals.base import Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.splice import SpliceEval
from crosscoder.evals.support.l0_matching import truncate_to_l0
from crosscoder.evals.support.reference import Reference, open_reference_stores
from crosscoder.evals.support.relations import Relations

METRICS = ("fve", "fve_standardised", "kl", "delta_ce", "loss_recovered")
L0_TOLERANCE = 0.01  # L0s whose ratio is below 1 + this count as equal
PROVENANCE_KEYS = ("layout", "repo", "revision", "norm", "bos_excluded")
Figures = dict[str, float]


@dataclass(frozen=True)
class CompareEval:
    """Quality of two dictionaries, and relations of their latents. Saves `compare.parquet`.

    Scalars: `fve/ours`, `fve/reference` and so on for `l0`, `delta_ce`, `loss_recovered`, as they
    are and `…_matched` in L0: means over the streams that both read. `cosine/<class>`,
    `one_to_one/<class>`, `explained/<class>`: medians by verdict.

    Args:
        reference: The other dictionary.
        relations: Settings of the relations of latents.
        splice: Splices both, if there are language models with one tokenizer.
    """

    reference: Reference
    relations: Relations
    splice: SpliceEval

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> list[int]:
        """Return the training tokens of a reference that is trained here."""
        if not self.reference.must_train(context):
            return []
        return [self.reference.train_tokens or own_tokens]

    def needs_models(self, context: EvalContext) -> bool:
        """Return whether the dictionaries are spliced into the language models."""
        return _can_splice(context)

    def __call__(self, context: EvalContext) -> Result:
        """Evaluate the crosscoder beside the reference."""
        ours = context.crosscoder
        reference = self.reference.load(context)
        context, heldout = _narrow_heldout(context, reference)
        judged, matched = self._judge_both(context, reference, heldout)
        judged |= self._judge_on_each(context, reference, judged)
        judged["crosscoder"] |= _costs(ours, ours.metrics.get("train_seconds"))
        judged["reference"] |= _costs(reference, reference.provenance.get("seconds"))

        table = context.latent_table
        relations = self.relations.measure(context, reference, heldout, table)
        common = [source.name for source in reference.sources if source in ours.sources.items]
        scalars = _average(judged, common) | _average(matched, common, "_matched")
        meta = {
            **table.meta,
            **relations.meta,
            "reference": self.reference.spec
            or f"trained here on {', '.join(reference.sources.names)} alone",
            "reads": {
                source.name: f"{source.lm} {source.hookpoint}" for source in reference.sources
            },
            "provenance": {key: reference.provenance.get(key) for key in PROVENANCE_KEYS},
            "seed": context.seed,  # the table's is that of its analysis
        }
        return Result(
            "compare",
            scalars | relations.scalars,
            {"dictionaries": _transpose(judged), **relations.tables},
            meta,
            relations.files,
        )

    def _judge_both(
        self, context: EvalContext, reference: Crosscoder, heldout: Store
    ) -> tuple[dict[str, Figures], dict[str, Figures]]:
        """Judge both dictionaries as they are, and the denser one at the other's L0.

        Returns:
            Figures of all dictionaries by title, and those of the two at equal L0.
        """
        dictionaries = {
            "crosscoder": (context.crosscoder, context.heldout),
            "reference": (reference, heldout),
        }
        judged = {}
        for name, (dictionary, store) in dictionaries.items():
            judged[name] = self._judge(context, dictionary, store)
        matched = dict(judged)
        l0 = min(figures["l0"] for figures in judged.values())
        for name, (dictionary, store) in dictionaries.items():
            if matched[name]["l0"] > (1 + L0_TOLERANCE) * l0:
                sparser = truncate_to_l0(dictionary, l0, store)
                matched[name] = self._judge(context, sparser, store)
                judged[f"{name}, sparser"] = matched[name]
        return judged, matched

    def _judge(self, context: EvalContext, dictionary: Crosscoder, store: Store) -> Figures:
        """Return the figures of one dictionary on one store."""
        of_dictionary = replace(context, crosscoder=dictionary, heldout=store)
        scalars = dict(ReconstructionEval()(of_dictionary).scalars)
        if _can_splice(of_dictionary):
            scalars |= self.splice(of_dictionary).scalars
        figures = {
            "latents": dictionary.n_latents,
            "l0": scalars["l0"],
            "dead_fraction": scalars["dead_fraction"],
        }
        for key, value in scalars.items():
            if key.partition("/")[0] in METRICS:
                figures[key] = value
        return figures

    def _judge_on_each(
        self, context: EvalContext, reference: Crosscoder, judged: Mapping[str, Figures]
    ) -> dict[str, Figures]:
        """Judge a reference of one source on each of the two models by itself.

        It is judged as it is, and with as many latents active in both together as ours has.
        """
        ours = context.crosscoder.sources
        diff_pair = ours.comparable
        if (
            diff_pair is None
            or len(reference.sources) > 1
            or reference.sources.d_total != ours[diff_pair[0]].width
        ):
            return {}
        home = reference.sources.items[0]
        l0 = judged["crosscoder"]["l0"]
        on_each = {}
        sparser = {}
        known = {}
        for name in reversed(diff_pair):
            on_each[name] = reference.replace(sources=ours.subset([name]))
            sparser[name] = truncate_to_l0(on_each[name], l0 / 2, context.heldout)
            if on_each[name].sources[name] == home:
                known[name] = judged["reference"]
        return {
            "reference on each": self._judge_together(context, on_each, known),
            "reference on each, sparser": self._judge_together(context, sparser, {}),
        }

    def _judge_together(
        self,
        context: EvalContext,
        dictionaries: Mapping[str, Crosscoder],
        known: Mapping[str, Figures],
    ) -> Figures:
        """Judge two dictionaries of one source each, and how well they reconstruct the difference.

        Args:
            context: Context of the eval.
            dictionaries: The dictionary of each source.
            known: Figures of those that have been judged before.
        """
        diff_pair = context.crosscoder.sources.comparable
        assert diff_pair is not None
        figures: Figures = {}
        l0 = 0.0
        for name, dictionary in dictionaries.items():
            one = known.get(name) or self._judge(context, dictionary, context.heldout)
            figures |= one
            l0 += one["l0"]
        figures["l0"] = l0
        figures["dead_fraction"] = float("nan")  # not defined for two dictionaries
        figures["fve/difference"] = fve_of_difference(dictionaries, context.heldout, diff_pair)
        return figures


def _narrow_heldout(context: EvalContext, reference: Crosscoder) -> tuple[EvalContext, Store]:
    """Narrow the held-out tokens to those that neither dictionary leaves out.

    Returns:
        The context on these tokens, and the store of the reference.
    """
    ours = context.crosscoder
    needed = {"heldout": (context.heldout, len(context.heldout))}
    heldout = open_reference_stores(context, reference, needed)["heldout"]
    exclude = read_figure_exclude(ours.provenance, reference.provenance)
    own, heldout = restrict_to_common_tokens(
        (context.heldout, ours.sources), (heldout, reference.sources), exclude
    )
    return replace(context, heldout=own), heldout


def _can_splice(context: EvalContext) -> bool:
    if context.pair is None or context.pair.is_aligned:
        return False
    return not context.find_unreadable_sources()


@torch.no_grad()
def fve_of_difference(
    dictionaries: Mapping[str, Crosscoder], store: Store, diff_pair: tuple[str, str]
) -> float:
    """Return the FVE of x_chat − x_base if each is reconstructed by a dictionary of its own.

    Args:
        dictionaries: The dictionary of each source.
        store: Activations of both sources.
        diff_pair: Names of the two sources.
    """
    variance = Variance()
    first, second = (dictionaries[name] for name in diff_pair)
    device = first.W_enc.device
    streams = [
        Mixing(store, one.sources, ["special"]).iter_in_order(2048) for one in (first, second)
    ]
    for raw_chat, raw_base in zip(*streams, strict=True):
        chat = raw_chat.to(device).float()
        base = raw_base.to(device).float()
        chat_hat = first.decode(first.encode(chat))
        base_hat = second.decode(second.encode(base))
        variance.update(chat - base, chat_hat - base_hat)
    return variance.fve()


def _costs(dictionary: Crosscoder, seconds: float | None) -> Figures:
    """Return the size of a dictionary, and the time of its training, if it is known."""
    costs: Figures = {
        "activations read": dictionary.sources.d_total,
        "weights": dictionary.W_enc.numel() + dictionary.W_dec.numel(),
    }
    if seconds is not None:
        costs["seconds of training"] = seconds
    return costs


def _average(judged: Mapping[str, Figures], common: list[str], suffix: str = "") -> Figures:
    """Return `fve/ours`, `fve/reference` and so on: means over the streams that both read."""
    scalars = {}
    for metric in ("l0", *METRICS):
        keys = ["l0"] if metric == "l0" else [f"{metric}/{source}" for source in common]
        for name, dictionary in {"ours": "crosscoder", "reference": "reference"}.items():
            figures = judged[dictionary]
            if set(keys) <= set(figures):
                average = sum(figures[key] for key in keys) / len(keys)
                scalars[f"{metric}{suffix}/{name}"] = average
    return scalars


def _transpose(judged: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Return a row for each figure, with a column for each dictionary."""
    keys: dict[str, None] = {}
    for figures in judged.values():
        keys |= dict.fromkeys(figures)
    rows = []
    for key in keys:
        row: dict[str, Any] = {"": key}
        row |= {name: figures.get(key, "") for name, figures in judged.items()}
        rows.append(row)
    return rows
