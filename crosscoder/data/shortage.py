"""Errors about the number of tokens that corpora have."""

from crosscoder.data.corpora.corpus import Split
from crosscoder.data.corpora.tally import Tally
from crosscoder.data.storage.meta import is_size
from crosscoder.errors import UserError


def require_token_counts(split: Split, n_tokens: int, seq_len: int) -> None:
    """Refuse sizes that are not numbers of tokens, and sequences of a single token."""
    if not is_size(n_tokens) or not is_size(seq_len) or seq_len < 2:
        raise UserError(
            f"{split} needs at least 1 token in sequences of at least 2, "
            f"not {n_tokens} in {seq_len}"
        )


def make_shortage_error(
    split: Split,
    n: int,
    n_tokens: int,
    seq_len: int,
    kind: str = "",
    tally: Tally | None = None,
) -> UserError:
    """Return an error that says why there are too few tokens, and what to do.

    Args:
        split: The split that was read.
        n: Number of tokens found.
        n_tokens: Number of tokens asked for.
        seq_len: Tokens per sequence.
        kind: Kind of tokens, such as "paired "; empty for all.
        tally: Counts of the rows that were read.
    """
    advice = [_advise(split, n, n_tokens, seq_len, kind, tally)]
    if tally and tally.n_cut:
        advice.append(
            f"{tally.n_cut:,} of {tally.n_read:,} documents are longer than an eighth of the "
            "tokens asked for (or than 256), and the rest of them is not read: "
            "split them into several documents"
        )
    if tally and tally.n_unusable:
        advice.append(tally.describe())
    if tally and tally.n_empty:
        advice.append(f"{tally.n_empty:,} of {tally.n_read:,} rows are empty")
    return UserError(
        f"data has only {n:,} {kind}{split} tokens, {n_tokens:,} were asked for; "
        f"{'; '.join(advice)}"
    )


def _advise(
    split: Split, n: int, n_tokens: int, seq_len: int, kind: str, tally: Tally | None
) -> str:
    if n >= n_tokens:
        return f"they do not fill a sequence of data.seq_len={seq_len:,}: lower it, or add data"
    if kind and not n:
        return f"no pair of tokens fits into data.seq_len={seq_len:,}: raise it, or add data"
    if tally and not tally.n_read:
        return (
            "this split has no document: the first of every `heldout_every` documents of a corpus "
            "is held out, and every fourth of the held-out ones is for validation; "
            "add documents, or lower data.corpora.0.heldout_every"
        )
    if split == "train":
        return "lower n_tokens, n_validation or n_heldout, or add data"
    return f"lower n_{split}, or data.corpora.0.heldout_every, or add data"
