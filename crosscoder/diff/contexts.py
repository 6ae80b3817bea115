"""Examples of every latent: where it is most active, on plain text and in chats, and how it looks at ordinary strengths.

One pass keeps, per latent, the entries of the sparse code that rank highest: by activation for the top examples, by a random
number for a sample of all its firings, of whose activations the examples at three quantiles are taken. A second pass
(`Contexts.frame`) reads the text around each, with the latent's activation on every token of it.

Examples of one group come from different documents: a phrase that recurs in a text would otherwise fill all places.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosscoder.data import Store
from crosscoder.diff.base import Batch
from crosscoder.diff.topn import TopN, begins
from crosscoder.diff.windows import activations, tokens_until, windows
from crosscoder.model import Crosscoder
from crosscoder.types import Kind

TOP = ("top plain", "top chat")
QUANTILES = (0.75, 0.5, 0.25)
GROUPS = (*TOP, *(f"quantile {q}" for q in QUANTILES))


class Contexts:
    """A part of the LatentTable's pass that adds no columns; its examples are a frame of their own.

    Args:
        n_latents: of the crosscoder.
        n: examples per latent with the largest activations on plain text, and as many in chats.
        window: tokens shown before and after the peak.
        n_sampled: firings per latent drawn at random, of which the quantiles are taken.
        seed: of that draw.
    """

    def __init__(
        self, n_latents: int, n: int = 8, window: tuple[int, int] = (12, 8), n_sampled: int = 16, seed: int = 0
    ) -> None:
        self.window, self.n_latents = window, n_latents
        self.top = [TopN(n, n_latents) for _ in TOP]
        self.sample = TopN(n_sampled, n_latents)
        self.random = np.random.default_rng(seed)

    def update(self, batch: Batch) -> None:
        index, kind = batch.code.index, batch.tokens.kind
        rows, value = index.rows.cpu(), batch.code.values.detach().float().cpu().numpy()
        entries = {
            "latent": index.latents.cpu().numpy(),
            "document": batch.tokens.document[rows].numpy(),
            "row": batch.rows[rows].numpy(),
            "value": value,
        }
        plain = (kind[rows] == Kind.PLAIN).numpy()
        for top, chosen in zip(self.top, (plain, ~plain), strict=True):
            top.update(np.where(chosen, value, -np.inf), **entries)
        self.sample.update(self.random.random(len(value)), **entries)

    def columns(self) -> Mapping[str, Any]:
        return {}

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """ENTRY records and their groups (places in GROUPS), by latent, group and descending activation."""
        groups = [top.entries() for top in self.top]
        sample = self.sample.entries()
        sample = sample[np.lexsort((sample["row"], sample["value"], sample["latent"]))]
        firsts = np.flatnonzero(begins(sample["latent"]))
        counts = np.diff(firsts, append=len(sample))
        taken = np.full(len(firsts), -1)
        for q in QUANTILES:
            at = firsts + np.rint(q * (counts - 1)).astype(int)
            groups.append(sample[at[at != taken]])  # with one firing or two, quantiles coincide: shown once
            taken = at
        examples = np.concatenate(groups)
        group = np.repeat(np.arange(len(GROUPS)), [len(part) for part in groups])
        order = np.lexsort((examples["row"], -examples["value"], group, examples["latent"]))
        return examples[order], group[order]

    def frame(
        self,
        crosscoder: Crosscoder,
        store: Store,
        strings: Callable[[list[int]], Sequence[str]] | None,
        latents: Sequence[int] | None = None,
        batch_size: int = 2048,
    ) -> pd.DataFrame:
        """One row per example, in a second pass over the same store.

        Args:
            crosscoder: the one whose batches this part was shown.
            store: the one they came from.
            strings: token ids to strings; None shows the ids.
            latents: only examples of these (a large dictionary's are millions of tokens); None means all.
            batch_size: tokens at a time.

        Returns:
            Columns `latent`, `group` (see GROUPS), `kind` ("plain" or "chat"), `document`, `position` (of the peak, in its
            piece of text), `peak` (its place in `tokens`), `tokens`, `activations` (3 significant digits); by latent, group,
            and descending activation. A window ends where its piece of text or its shard does, and shows a special token
            such as BOS with activation 0.
        """
        examples, group = self.examples()
        if latents is not None:
            chosen = np.isin(examples["latent"], latents)
            examples, group = examples[chosen], group[chosen]
        rows = examples["row"]
        tokens, pieces = tokens_until(store, int(rows.max(initial=-1)))
        start, end = windows(pieces, len(tokens), rows, *self.window)
        ends = np.cumsum(end - start)
        where = np.arange(ends[-1] if len(ends) else 0) + np.repeat(end - ends, end - start)  # every window's rows
        found = activations(crosscoder, store, where, np.repeat(examples["latent"], end - start), batch_size)
        # the other pass's value: at a threshold, batches of another size may round to the other side
        found[ends - end + rows] = examples["value"]
        used, inverse = np.unique(tokens.ids.numpy()[where], return_inverse=True)
        words = np.array([str(word) for word in (strings(used.tolist()) if strings else used)], dtype=object)
        columns = {
            "latent": examples["latent"].astype(np.int64),
            "group": np.array(GROUPS, dtype=object)[group],
            "kind": np.where(tokens.kind.numpy()[rows] == Kind.PLAIN, "plain", "chat").astype(object),
            "document": examples["document"].astype(np.int64),
            "position": tokens.position.numpy()[rows],
            "peak": rows - start,
            "tokens": _cut(words[inverse].tolist(), ends),
            "activations": _cut(_three_digits(found).tolist(), ends),
        }
        return pd.DataFrame(columns)


def _three_digits(values: np.ndarray) -> np.ndarray:
    """Rounded to 3 significant digits; dividing whole numbers by whole powers of ten leaves no trailing digits."""
    digits = 2 - np.floor(np.log10(np.where(values == 0, 1, np.abs(values))))
    power = 10.0 ** np.abs(digits)
    return np.where(digits >= 0, np.rint(values * power) / power, np.rint(values / power) * power)


def _cut(flat: list, ends: np.ndarray) -> list[list]:
    """One list per window."""
    stops = ends.tolist()
    return [flat[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
