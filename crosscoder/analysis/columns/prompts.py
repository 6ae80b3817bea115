"""Latents that differ between two kinds of prompts, e.g. with and without the asker's opinion.

Prompts come in pairs:

    d_ij = mean activation of latent j on pair i's first prompt − on its second
    column_j = mean_i d_ij

Averaged over whole prompts, this mostly finds the words that the two prompts do not share. By
default it is therefore averaged over the *opening* only: the chat template's tokens from the end of
the user's message to the start of the assistant's answer. They are the same tokens in both prompts,
so a latent can differ there only by what the models inferred from the words before.

Pairs whose two prompts are about equally long are preferred, and as many tokens are read of the
first prompt of a pair as of the second (spans.py).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscoder.analysis.permutation import adjust_holm, sign_flip_test
from crosscoder.analysis.reading import (
    Positions,
    average_by_prompt,
    encode_rows,
    mask_known_tokens,
    select_rows,
)
from crosscoder.analysis.spans import (
    PairedReading,
    SpanReport,
    choose_equal_lengths,
    take_common_tail,
)
from crosscoder.analysis.table import LatentTable
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.sampling import take_evenly
from crosscoder.core.types import PerLatent
from crosscoder.data.corpora.rows import show_names
from crosscoder.errors import UserError
from crosscoder.io.jsonl import read_json_lines
from crosscoder.lm import Pair
from crosscoder.lm.chat.document import Document, Unusable
from crosscoder.lm.chat.messages import as_document, make_chat
from crosscoder.lm.reading import tokenize_prompts
from crosscoder.values import (
    require_choice,
    require_flag,
    require_number,
    require_types,
    require_whole,
)

log = logging.getLogger(__name__)

OFFERED = 8  # pairs whose lengths are compared, for each pair that is used


@dataclass(frozen=True)
class PromptContrast:
    """Columns `<name>` (first minus second prompt), `<name>/p` (sign-flip test) and `<name>/holm`.

    Only latents that are active on some prompt are tested and corrected for; the others have p = 1.

    Args:
        pairs: Pairs of prompts, each (a, b) or {"a": …, "b": …}; a prompt is a text, which is read
            as it is, or a chat, e.g. `make_chat("Why?")`. A PromptFile reads them from a file.
        name: Name of the columns.
        n_pairs: Number of pairs used: those that differ least in length, evenly spaced among them.
            None means all.
        positions: "opening" (see above; prompts are chats then), or "prompt", the last ordinary
            tokens of the prompt including the opening, as many as the shorter prompt has.
        permutations: Number of permutations of the test.
        seed: Random seed of the permutations.
    """

    pairs: Iterable[Any]
    name: str = "prompts"
    n_pairs: int | None = 128
    positions: Positions = "opening"
    permutations: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_choice("positions", self.positions, ("opening", "prompt"))
        if self.n_pairs is not None:  # None: all pairs
            require_whole("n_pairs", self.n_pairs)
        require_whole("permutations", self.permutations)
        require_types("prompts", self)

    @torch.no_grad()
    def __call__(self, crosscoder: Crosscoder, pair: Pair) -> dict[str, np.ndarray]:
        """Return the columns of a folded crosscoder; `pair` are the models it was trained on."""
        return self.columns(crosscoder, self.read(crosscoder, pair))

    @torch.no_grad()
    def columns(self, crosscoder: Crosscoder, prompts: PairedReading) -> dict[str, np.ndarray]:
        """Return the columns from the return value of `read`."""
        n_pairs = prompts.n_pairs
        latents, means = average_by_prompt(crosscoder, prompts.reading, prompts.rows, 2 * n_pairs)
        differences = means[:n_pairs] - means[n_pairs:]
        p = sign_flip_test(differences, self.permutations, self.seed)

        def fill(values: Tensor, default: float) -> np.ndarray:
            """Return a column that holds a default for latents that are never active."""
            column = torch.full((crosscoder.n_latents,), default).double()
            return column.index_copy(0, latents, values).numpy()

        return {
            self.name: fill(differences.mean(0), 0.0),
            f"{self.name}/p": fill(p, 1.0),
            f"{self.name}/holm": fill(adjust_holm(p), 1.0),
        }

    def read(self, crosscoder: Crosscoder, pair: Pair) -> PairedReading:
        """Read pairs of prompts of about equal length with the language models."""
        offered = self._list_pairs()
        lengths = self._count_tokens(offered, pair)
        chosen = choose_equal_lengths(lengths, self.n_pairs or len(offered))
        n_pairs = len(chosen)
        first_prompts = [offered[place][0] for place in chosen]
        second_prompts = [offered[place][1] for place in chosen]
        hookpoints = list(dict.fromkeys(source.hookpoint for source in crosscoder.sources))
        reading = pair.read(first_prompts + second_prompts, hookpoints, opening=True)
        rows = select_rows(reading.tokens, self.positions, n_pairs)
        if self.positions == "prompt":
            rows = rows[mask_known_tokens(crosscoder, reading)[rows]]
        self._require_rows(reading, rows, 2 * n_pairs)
        rows = take_common_tail(reading.tokens.document[rows], rows, n_pairs)
        used = [lengths[place] for place in chosen]
        n_read = torch.bincount(reading.tokens.document[rows]).view(2, n_pairs)
        spans = SpanReport(
            positions=self.positions,
            n_pairs=n_pairs,
            n_offered=len(offered),
            offered=_average(lengths),
            used=_average(used),
            largest_difference=max(abs(first - second) for first, second in used),
            read=_average(n_read.T.tolist()),
        )
        return PairedReading(reading, rows, n_pairs, spans)

    def _list_pairs(self) -> list[tuple[Document, Document]]:
        """Return the pairs from which those of equal length are chosen, as they are read."""
        pairs = [_unpack(row, number) for number, row in enumerate(self.pairs, 1)]
        if not pairs:
            raise UserError(f"'{self.name}' has no pairs of prompts")
        if self.n_pairs:
            pairs = take_evenly(pairs, OFFERED * self.n_pairs)
        if self.positions == "prompt":
            return pairs
        prompts = [first for first, _ in pairs] + [second for _, second in pairs]
        chats = self._as_chats(prompts)
        return list(zip(chats[: len(pairs)], chats[len(pairs) :], strict=True))

    def _count_tokens(
        self, pairs: Sequence[tuple[Document, Document]], pair: Pair
    ) -> list[tuple[int, int]]:
        """Return the number of tokens of the two prompts of each pair."""
        counts = []
        for side in (0, 1):
            prompts = [one[side] for one in pairs]
            texts = tokenize_prompts(pair, prompts, opening=True)[pair.leader]
            counts.append([len(text.read_positions) for text in texts])
        return list(zip(*counts, strict=True))

    def _as_chats(self, prompts: Sequence[Document]) -> list[Document]:
        """Make chats of texts, with a warning: only a chat has the opening of an answer."""
        if any(isinstance(prompt, str) for prompt in prompts):
            log.warning(
                "'%s' compares the openings of answers, which only chats have: write "
                "make_chat(text) or PromptFile(…, chat=True); a text is still read as a user's "
                "message, but will be refused in version 0.3",
                self.name,
            )
        return [make_chat(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]

    def _require_rows(self, reading: Reading, rows: Tensor, n_prompts: int) -> None:
        """Check that every prompt has a row."""
        present = set(reading.tokens.document[rows].tolist())
        missing = sorted(set(range(n_prompts)) - present)
        if missing:
            raise UserError(
                f"prompt {missing[0] + 1} of '{self.name}' has no tokens but special ones "
                "and outliers"
            )


def _average(counts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return the mean count of the first and of the second prompts of pairs."""
    first, second = np.mean(counts, axis=0).tolist()
    return first, second


def _unpack(row: Any, number: int) -> tuple[Document, Document]:
    """Return the two prompts of a pair."""
    try:
        first, second = (row["a"], row["b"]) if isinstance(row, Mapping) else row
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"pair {number} of the prompts is neither (a, b) nor {{'a': …, 'b': …}}"
        ) from error
    return first, second


@dataclass(frozen=True)
class PromptFile:
    """Pairs of prompts from a .jsonl file, one pair a line (docs/prompts.md).

    Args:
        path: The file.
        a: Column of the first prompts; they are text or a chat (a list of messages).
        b: Column of the second prompts.
        chat: Whether a text in the file is a user's message instead of raw text.
    """

    path: str | Path
    a: str = "a"
    b: str = "b"
    chat: bool = False

    def __post_init__(self) -> None:
        require_flag("chat", self.chat)

    def __iter__(self) -> Iterator[tuple[Document, Document]]:
        if not Path(self.path).is_file():
            raise UserError(f"no file at {self.path}")
        for where, row in read_json_lines(Path(self.path)):
            if not isinstance(row, Mapping):
                raise UserError(f"{where}: expected an object with columns, found {row!r:.50}")
            for column in (self.a, self.b):
                if column not in row:
                    raise UserError(f"{where} has no column '{column}'; it has {show_names(row)}")
            try:
                yield self._read(row[self.a]), self._read(row[self.b])
            except Unusable as error:
                raise UserError(f"{where}: {error}") from error

    def _read(self, value: Any) -> Document:
        document = as_document(value)
        return make_chat(document) if self.chat and isinstance(document, str) else document


def find_sycophancy_features(
    crosscoder: Crosscoder,
    pair: Pair,
    first_prompts: Sequence[Document],
    second_prompts: Sequence[Document],
    top: int = 20,
    positions: Positions = "opening",
) -> LatentTable:
    """Find the latents that differ most, either way, between two kinds of prompts.

    Prompts are compared in pairs: the i-th of the first kind with the i-th of the second.

    Returns:
        Columns `latent`, `difference` (first − second), `p`, `holm` (see PromptContrast).
    """
    require_whole("top", top)
    for name, prompts in (("first_prompts", first_prompts), ("second_prompts", second_prompts)):
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise UserError(f"{name} are a list of prompts, not {prompts!r:.80}")
    n_first = len(first_prompts)
    n_second = len(second_prompts)
    if n_first != n_second:
        raise UserError(
            f"prompts are compared in pairs, but there are {n_first} of the first kind "
            f"and {n_second} of the second"
        )
    pairs = list(zip(first_prompts, second_prompts, strict=True))
    contrast = PromptContrast(pairs, "difference", None, positions)
    prompts = contrast.read(crosscoder, pair)
    columns = contrast.columns(crosscoder, prompts)
    renamed = {name.removeprefix("difference/"): column for name, column in columns.items()}
    table = LatentTable.from_columns(renamed, {})
    largest = np.argsort(-np.abs(table["difference"]), kind="stable")[:top]
    meta = {"n_pairs": len(pairs), "positions": positions, "prompt_spans": prompts.spans.describe()}
    return LatentTable(table.frame.iloc[largest], meta)


@torch.no_grad()
def solo_difference(crosscoder: Crosscoder, reading: Reading) -> PerLatent:
    """Return the mean over tokens of f(chat alone) − f(base alone).

    Special tokens and outliers are left out as in training. A crosscoder has *one* code for both
    models, so there are no "chat features" and "base features" to subtract. This is the closest
    substitute: each model's activations are encoded as if the other's were the same. The difference
    between the two codes is the effect of reading only one model; it is 0 where both models agree
    on a token. It is an approximation, because no training token looked like this: see
    `Crosscoder.encode`.
    """
    sources = crosscoder.sources
    if sources.diff_pair is None:
        raise UserError(
            f"a difference needs a compared pair of sources, found only {sources.describe()}"
        )
    rows = mask_known_tokens(crosscoder, reading).nonzero()[:, 0]
    total = torch.zeros(crosscoder.n_latents, dtype=torch.float64)
    for source, sign in zip(sources.diff_pair, (1, -1), strict=True):
        for _, code in encode_rows(crosscoder, reading, rows, mode="solo", source=source):
            total.index_add_(0, code.index.latents.cpu(), sign * code.values.cpu().double())
    return total / max(len(rows), 1)


def find_chat_specific_features(
    crosscoder: Crosscoder, reading: Reading, threshold: float = 0.1
) -> LatentTable:
    """Find latents whose `solo_difference` exceeds a threshold, largest first.

    A quick look at a few prompts; for calls that hold on the whole dictionary see
    `LatentTable.find_chat_specific_features`.

    Returns:
        Columns `latent`, `difference`.
    """
    require_number("threshold", threshold)
    difference = solo_difference(crosscoder, reading).numpy()
    table = LatentTable.from_columns({"difference": difference}, {"threshold": threshold})
    return table.query(f"difference > {threshold}").sort("difference")
