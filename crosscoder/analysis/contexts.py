"""Examples of every latent: its largest activations, on plain text and in chats, and typical ones.

One pass keeps, per latent, the entries of the sparse code that rank highest: by activation for the
top examples, and by a random number for a sample of all entries. From that sample, the examples at
five quantiles of the activation are taken. A second pass (`Contexts.frame`) reads the text around
each example, with the latent's activation on every token.

Examples of one group come from different documents, because a phrase that recurs in one text would
otherwise fill all places.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosscoder.analysis.base import Batch
from crosscoder.analysis.topn import TopN, is_group_start
from crosscoder.analysis.windows import find_windows, ragged_arange, read_activations, read_tokens
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Kind
from crosscoder.data import Store

TOP = ("top plain", "top chat")
QUANTILES = (0.9, 0.7, 0.5, 0.3, 0.1)
GROUPS = (*TOP, *(f"quantile {q}" for q in QUANTILES))


class Contexts:
    """State of the table's pass that collects examples; it adds no columns to the table.

    Args:
        n_latents: Number of latents.
        n: Examples per latent with the largest activations on plain text, and as many in chats.
        window: Largest number of tokens shown before and after the peak.
        n_sampled: Entries per latent drawn at random, from which the quantiles are taken.
        seed: Random seed of that draw.
    """

    def __init__(
        self,
        n_latents: int,
        n: int = 10,
        window: tuple[int, int] = (24, 15),
        n_sampled: int = 16,
        seed: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.window = window
        self.top = [TopN(n, n_latents) for _ in TOP]
        self.sample = TopN(n_sampled, n_latents)
        self.random = np.random.default_rng(seed)

    def update(self, batch: Batch) -> None:
        rows = batch.code.index.rows.cpu()
        value = batch.code.values.detach().float().cpu().numpy()
        entries = {
            "latent": batch.code.index.latents.cpu().numpy(),
            "document": batch.tokens.document[rows].numpy(),
            "row": batch.rows[rows].numpy(),
            "value": value,
        }
        is_plain = (batch.tokens.kind[rows] == Kind.PLAIN).numpy()
        for top, is_chosen in zip(self.top, (is_plain, ~is_plain), strict=True):
            top.update(np.where(is_chosen, value, -np.inf), **entries)
        self.sample.update(self.random.random(len(value)), **entries)

    def columns(self) -> Mapping[str, Any]:
        return {}

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ENTRY records and their groups (places in GROUPS).

        They are sorted by latent, group and descending activation.
        """
        groups = [top.merge() for top in self.top]
        groups += self._take_quantiles()
        examples = np.concatenate(groups)
        lengths = [len(entries) for entries in groups]
        group = np.repeat(np.arange(len(GROUPS)), lengths)
        order = np.lexsort((examples["row"], -examples["value"], group, examples["latent"]))
        return examples[order], group[order]

    def _take_quantiles(self) -> list[np.ndarray]:
        """Return the sampled entries at each quantile of a latent's activation."""
        sample = self.sample.merge()
        sample = sample[np.lexsort((sample["row"], sample["value"], sample["latent"]))]
        starts = np.flatnonzero(is_group_start(sample["latent"]))
        counts = np.diff(starts, append=len(sample))
        groups = []
        taken = np.full(len(starts), -1)
        for q in QUANTILES:
            place = starts + np.rint(q * (counts - 1)).astype(int)
            # the quantiles of a few entries coincide: each entry is shown once
            groups.append(sample[place[place != taken]])
            taken = place
        return groups

    def frame(
        self,
        crosscoder: Crosscoder,
        store: Store,
        strings: Callable[[list[int]], Sequence[str]] | None,
        latents: Sequence[int] | None = None,
        batch_size: int = 2048,
    ) -> pd.DataFrame:
        """Return one row per example, in a second pass over the same store.

        Args:
            crosscoder: The crosscoder whose batches `update` has seen.
            store: The store of these batches.
            strings: Turns token ids into strings; None shows the ids.
            latents: Only examples of these latents (a large dictionary has millions of tokens in
                its examples); None means all.
            batch_size: Tokens encoded together.

        Returns:
            Columns `latent`, `group` (see GROUPS), `kind` ("plain" or "chat"), `document`,
            `position` (of the peak, in its piece of text), `peak` (its place in `tokens`),
            `tokens`, `activations` (3 significant digits); by latent, group, and descending
            activation. A window ends where its piece of text or its shard does, and shows a special
            token such as BOS with activation 0.
        """
        examples, group = self.examples()
        if latents is not None:
            is_chosen = np.isin(examples["latent"], latents)
            examples = examples[is_chosen]
            group = group[is_chosen]
        peak_rows = examples["row"]
        tokens, piece_starts = read_tokens(store, int(peak_rows.max(initial=-1)))
        starts, ends = find_windows(piece_starts, len(tokens), peak_rows, *self.window)
        lengths = ends - starts
        window_rows = ragged_arange(starts, lengths)
        window_latents = np.repeat(examples["latent"], lengths)
        activations = read_activations(crosscoder, store, window_rows, window_latents, batch_size)
        # the peak keeps the first pass's value: at a threshold, batches of another size may round
        # to the other side
        window_starts = np.cumsum(lengths) - lengths
        peak = peak_rows - starts
        activations[window_starts + peak] = examples["value"]
        words = _name_tokens(tokens.ids.numpy()[window_rows], strings)
        is_plain = tokens.kind.numpy()[peak_rows] == Kind.PLAIN
        columns = {
            "latent": examples["latent"].astype(np.int64),
            "group": np.array(GROUPS, dtype=object)[group],
            "kind": np.where(is_plain, "plain", "chat").astype(object),
            "document": examples["document"].astype(np.int64),
            "position": tokens.position.numpy()[peak_rows],
            "peak": peak,
            "tokens": _split(words, lengths),
            "activations": _split(_round_to_three_digits(activations).tolist(), lengths),
        }
        return pd.DataFrame(columns)


def _name_tokens(
    ids: np.ndarray, strings: Callable[[list[int]], Sequence[str]] | None
) -> list[str]:
    """Return the string of every token id; `strings` sees each id once."""
    used, inverse = np.unique(ids, return_inverse=True)
    names = strings(used.tolist()) if strings else used
    words = np.array([str(name) for name in names], dtype=object)
    return words[inverse].tolist()


def _round_to_three_digits(values: np.ndarray) -> np.ndarray:
    """Round to 3 significant digits.

    It divides whole numbers by whole powers of ten, which leaves no trailing digits.
    """
    magnitude = np.where(values == 0, 1, np.abs(values))
    digits = 2 - np.floor(np.log10(magnitude))
    power = 10.0 ** np.abs(digits)
    return np.where(digits >= 0, np.rint(values * power) / power, np.rint(values / power) * power)


def _split(flat: list, lengths: np.ndarray) -> list[list]:
    """Split a list into lists of these lengths."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    ranges = zip(starts.tolist(), ends.tolist(), strict=True)
    return [flat[start:end] for start, end in ranges]
