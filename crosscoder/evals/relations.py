"""What one dictionary's latents are to another: decoders, activity, and how far the other explains them. See compare.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crosscoder.data import Store
from crosscoder.diff.cofiring import Cofiring, matrix
from crosscoder.diff.explained import Matrix, explained
from crosscoder.diff.match import best, one_to_one
from crosscoder.diff.table import LatentTable
from crosscoder.errors import NotApplicable
from crosscoder.evals.base import Subject
from crosscoder.evals.reference import streams
from crosscoder.model import Crosscoder
from crosscoder.sources import Sources
from crosscoder.sparse import Code

MOST = "top difference"
MEASURES = {
    "one to one": "one_to_one",
    "correlation": "correlation",
    "Jaccard": "jaccard",
    "R²": "r2",
    "R² of activations": "r2/activations",
}
KEPT = {"verdict": "verdict", "dead": "dead", "density": "density", "difference_share": "difference_share"}
KEPT |= {"delta_norm": "delta_norm", "decoder_cosine": "cosine"}  # of the diff eval's table
HIDDEN = ("nearest", "partner", "firing_with", "correlation/nearest", "jaccard/nearest")


@dataclass(frozen=True)
class Related:
    """Summaries by class, a file with a row per latent of ours, and how they were made."""

    scalars: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]
    meta: dict[str, Any]
    files: dict[str, LatentTable]


@dataclass(frozen=True)
class Relations:
    """Relations of our latents to a reference's.

    Args:
        n_fit: of the tokens ours was trained on, those that the regression is fitted on.
        n_regressors: of the reference's latents, those that correlate most with any of ours.
        found: decoder cosine from which a latent counts as found in the other dictionary.
        n_most: latents that write most of the difference, a class of its own.
        top: rows of the table that is printed.
    """

    n_fit: int = 131_072
    n_regressors: int = 4096
    found: float = 0.7
    n_most: int = 64
    top: int = 12

    @torch.no_grad()
    def __call__(self, subject: Subject, reference: Crosscoder, heldout: Store, table: LatentTable) -> Related:
        ours = subject.crosscoder
        columns: dict[str, Any] = {}
        home = next(source for source in reference.sources if source in ours.sources.items)
        theirs = reference.decoder(home.name)
        for source in ours.sources:
            if source.width == home.width:
                columns[f"cosine/{source.name}"], near = best(ours.decoder(source.name), theirs)
                if source == home:
                    columns["nearest"] = near.copy()
        columns["one_to_one"], columns["partner"] = one_to_one(ours.decoder(home.name), theirs)

        codes = [matrix(codes_on(one, store)) for one, store in ((ours, subject.heldout), (reference, heldout))]
        together = Cofiring.of(codes[0], codes[1])
        columns["correlation"], columns["firing_with"] = together.best()
        columns["jaccard"] = together.at(np.maximum(columns["firing_with"], 0))[1]
        columns["correlation/nearest"], columns["jaccard/nearest"] = together.at(columns["nearest"])
        r2, meta = self._explained(subject, reference, heldout)
        known = {title: table[column] for title, column in KEPT.items() if column in table.columns}
        found = LatentTable.of(known | columns | r2, table.meta)
        classes = {name: self._summary(rows) for name, rows in self._classes(found).items()}
        scalars = {
            f"{key}/{name.replace('-', '_').replace(' ', '_')}": summary[measure]
            for key, measure in {"cosine": f"cosine {home.name}", "one_to_one": "one to one", "explained": "R²"}.items()
            for name, summary in classes.items()
            if summary["latents"]
        }
        measures = [{"median of": key} | {name: one[key] for name, one in classes.items()} for key in classes["all"]]
        by = "difference_share" if "difference_share" in known else "density"
        shown = [c for c in ("latent", "verdict", by, *columns, *r2) if c in found.columns and c not in HIDDEN]
        first = LatentTable(found.frame[shown]).top(by, self.top).frame  # type: ignore[arg-type]
        first = first.rename(columns={column: name for name, column in MEASURES.items()})
        tables = {"classes": measures, "latents": first.to_dict("records")}
        return Related(scalars, tables, meta, {"compare.parquet": found})

    def _explained(
        self, subject: Subject, reference: Crosscoder, heldout: Store
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """R² by the reference's code and by the activations that it reads."""
        ours = subject.crosscoder
        try:
            train, validation, _ = subject.stores()
            n = min(self.n_fit, len(train))
            mine = {"fit": (train, n), "choose": (validation, min(len(validation), len(subject.heldout)))}
            where = streams(subject, reference, mine)
            pieces = {name: (store, where[name], 0, size) for name, (store, size) in mine.items()}
            pieces["score"] = (subject.heldout, heldout, 0, len(subject.heldout))
        except NotApplicable:  # nothing but held-out tokens: some of them to fit on, the last third to score on
            n, size = len(subject.heldout), subject.heldout.seq_len
            cuts = [0, *(int(share * n) // size * size for share in (0.55, 0.67)), n]
            pieces = {
                name: (subject.heldout, heldout, low, high)
                for name, low, high in zip(("fit", "choose", "score"), cuts[:-1], cuts[1:], strict=True)
            }
        targets = [matrix(codes_on(ours, store, low, high)) for store, _, low, high in pieces.values()]
        codes = [matrix(codes_on(reference, store, low, high)) for _, store, low, high in pieces.values()]
        if reference.n_latents > self.n_regressors:
            related = Cofiring.of(targets[0], codes[0]).correlation
            strongest = np.argsort(-np.asarray(related.max(axis=0).todense()).ravel(), kind="stable")[
                : self.n_regressors
            ]
            codes = [code[:, np.sort(strongest)] for code in codes]
        acts = [_acts(store, reference.sources, low, high) for _, store, low, high in pieces.values()]
        found, penalties = {}, {}
        for name, regressors in {"r2": codes, "r2/activations": acts}.items():
            parts: list[tuple[Matrix, Matrix]] = list(zip(regressors, targets, strict=True))
            found[name], penalties[name] = explained(parts[0], parts[1], parts[2])
        n_tokens, n_regressors = codes[0].shape  # type: ignore[misc]
        fitted = {"fitted_on": n_tokens, "regressors": n_regressors, "penalty": penalties}
        return found, fitted

    def _classes(self, table: LatentTable) -> dict[str, LatentTable]:
        """Live latents by verdict; the exclusive ones of the contrast's first source also where there are none."""
        classes = {"all": (alive := table.query("not dead"))}
        if "verdict" in table.columns:
            specific = f"{table.meta['contrast'][0]}-specific"
            names = [specific, *sorted(set(alive["verdict"]) - {specific})]
            classes |= {name: alive.where("verdict", name) for name in names}
            classes[MOST] = alive.top("difference_share", self.n_most)
        return classes

    def _summary(self, rows: LatentTable) -> dict[str, Any]:
        cosines = {column.replace("/", " "): column for column in rows.columns if column.startswith("cosine/")}
        return {
            "latents": len(rows),
            **{name: _median(rows[column]) for name, column in (cosines | MEASURES).items()},
            f"share one to one > {self.found:g}": _share(rows["one_to_one"] > self.found),
            "share R² > ½": _share(rows["r2"] > 0.5),
        }


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else float("nan")


@torch.no_grad()
def codes_on(crosscoder: Crosscoder, store: Store, low: int = 0, high: int | None = None) -> Iterator[Code]:
    """Codes of a store's tokens from `low` to `high` that are not special, in its order."""
    for acts in acts_on(store, crosscoder.sources, low, high):
        yield crosscoder.encode(acts.to(crosscoder.W_enc.device))


def acts_on(store: Store, sources: Sources, low: int = 0, high: int | None = None) -> Iterator[torch.Tensor]:
    """The same tokens' activations."""
    start, high = 0, len(store) if high is None else high
    for shard, count in enumerate(store.counts):
        rows = torch.arange(start, start + count)
        kept = (rows >= low) & (rows < high) & store.tokens(shard).ordinary
        if kept.any():
            yield from store.acts(shard, sources.names)[kept].float().split(2048)
        start += count


def _acts(store: Store, sources: Sources, low: int, high: int) -> np.ndarray:
    return torch.cat(list(acts_on(store, sources, low, high))).double().numpy()
