"""Generate answers of both models, unedited and edited, token by token at the same time.

The unedited and the edited answer of a model are two rows of one batch, so each model runs once per
token. All columns draw with the same noise: they differ only where the models do.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from crosscoder.errors import UserError
from crosscoder.explore.edits import Edits, edit_last_row
from crosscoder.explore.jobs import Job
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.session import Session
from crosscoder.lm.editing.positions import parse_positions
from crosscoder.lm.hooks import run_decoder
from crosscoder.lm.log_probs import compute_log_probs
from crosscoder.lm.sampling import Sampling, list_stop_ids, make_cache, stream_tokens
from crosscoder.lm.types import PreTrainedModel

# by name: each model, and the columns that its rows are
Opened = dict[str, tuple[PreTrainedModel, list[str]]]

EDITED = "edited {}"
MAX_NEW_TOKENS = 1024
N_TOKENS = 12  # in the table of next tokens
UNFINISHED = "�"  # the tokens so far end within a character


@dataclass(frozen=True)
class Request:
    """Prompt, edits and settings of one generation.

    Args:
        prompt: The prompt.
        edits: The edits.
        sampling: How tokens are chosen.
    """

    prompt: Prompt
    edits: Edits = field(default_factory=Edits)
    sampling: Sampling = field(default_factory=Sampling)


def open_models(session: Session, edits: Edits, n_prompt: int, stack: ExitStack) -> Opened:
    """Open the edits, and return each model with the columns that its rows are.

    Args:
        session: The run.
        edits: The edits; a model without one has a single row.
        n_prompt: Number of tokens in the prompt.
        stack: The edits stay open as long as it does.
    """
    pair = session.pair
    opened: Opened = {}
    for name in session.models:
        model = pair[name]
        columns = [name]
        intervention = edits.build(session.crosscoder, name)
        if intervention is not None:
            rule = edit_last_row(parse_positions(edits.positions, pair.tokenizer), n_prompt)
            model = stack.enter_context(pair.edit(name, intervention, positions=rule))
            columns.append(EDITED.format(name))
        opened[name] = (model, columns)
    return opened


def list_columns(opened: Opened) -> list[str]:
    """List the columns of all models."""
    columns = []
    for _, names in opened.values():
        columns += names
    return columns


def generate(session: Session, request: Request, job: Job) -> None:
    """Generate all columns and emit their tokens; `columns` names them, `token` adds to one."""
    if request.sampling.max_new_tokens > MAX_NEW_TOKENS:
        raise UserError(f"an answer has at most {MAX_NEW_TOKENS:,} tokens")
    request.prompt.require_open()
    ids, _ = request.prompt.tokenize(session.pair)
    stop_ids = list_stop_ids(session.pair.tokenizer)
    with ExitStack() as stack:
        opened = open_models(session, request.edits, len(ids), stack)
        writers: dict[str, list[Writer]] = {}
        streams: dict[str, Iterator[list[int | None]]] = {}
        for name, (model, columns) in opened.items():
            rows = torch.tensor([ids] * len(columns))
            writers[name] = [Writer(session, column, stop_ids) for column in columns]
            streams[name] = stream_tokens(model, rows, request.sampling, stop_ids)
        job.emit("columns", columns=list_columns(opened))
        while streams:
            for name in list(streams):
                job.check()
                step = next(streams[name], None)
                if step is None:
                    del streams[name]
                    continue
                for writer, token in zip(writers[name], step, strict=True):
                    writer.write(token, job)


class Writer:
    """Text of one column, which grows by tokens.

    A character may consist of several tokens. It appears with the last of them.
    """

    def __init__(self, session: Session, column: str, stop_ids: frozenset[int]) -> None:
        self.session = session
        self.column = column
        self.stop_ids = stop_ids
        self.ids: list[int] = []
        self.text = ""

    def write(self, token: int | None, job: Job) -> None:
        """Emit what a token adds."""
        if token is None:
            return
        self.ids.append(token)
        is_end = token in self.stop_ids
        text = str(self.session.pair.tokenizer.decode(self.ids, skip_special_tokens=True))
        added = ""
        if not text.endswith(UNFINISHED):
            added = text[len(self.text) :]
            self.text = text
        job.emit("token", column=self.column, id=token, text=added, is_end=is_end)


@torch.no_grad()
def tabulate_next_tokens(
    session: Session,
    request: Request,
    answer: Sequence[int],
    position: int,
    job: Job,
    written: int | None = None,
) -> list[dict[str, Any]]:
    """Return the most probable next tokens of all columns at one token.

    Args:
        session: The run.
        request: Prompt and edits.
        answer: Tokens after the prompt.
        position: Number of the token, counted from the prompt's first, after which to look.
        job: The job, which may be stopped.
        written: Token that follows in the answer; it has a row even if it is improbable.

    Returns:
        A row for each token that is among the most probable ones of any column: its text and its
        probability `p` in every column.
    """
    prompt, _ = request.prompt.tokenize(session.pair)
    if not 0 <= position < len(prompt) + len(answer):
        raise UserError(f"there is no token {position}: there are {len(prompt) + len(answer)}")
    n_answer = max(0, position + 1 - len(prompt))
    pieces = [piece for piece in (prompt, list(answer[:n_answer])) if piece]
    tables: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        opened = open_models(session, request.edits, len(prompt), stack)
        for model, columns in opened.values():
            job.check()
            found = _compute_next(model, pieces, len(columns), position)
            tables |= dict(zip(columns, found, strict=True))
    return _list_rows(session, tables, written)


def _compute_next(
    model: PreTrainedModel, pieces: Sequence[list[int]], n_rows: int, position: int
) -> torch.Tensor:
    """Return next-token log-probabilities after a token, [rows, vocabulary].

    Args:
        model: The language model.
        pieces: The prompt, and what follows. The first pass of a conversation is its prompt.
        n_rows: Number of equal rows, of which the last may be edited.
        position: Number of the token.
    """
    cache = make_cache(model)
    hiddens = []
    for piece in pieces:
        ids = torch.tensor([piece] * n_rows, device=model.device)
        hiddens.append(run_decoder(model, ids, cache=cache))
    hidden = torch.cat(hiddens, dim=1)[:, position].contiguous()
    return compute_log_probs(model, hidden)


def _list_rows(
    session: Session, tables: dict[str, torch.Tensor], written: int | None
) -> list[dict[str, Any]]:
    """Return the rows of the table, most probable tokens first."""
    largest = torch.stack(list(tables.values())).amax(0)
    tokens = largest.topk(min(N_TOKENS, len(largest))).indices.tolist()
    if written is not None and written not in tokens:
        tokens.append(written)
    rows = []
    for token in tokens:
        p = {column: float(table[token].exp()) for column, table in tables.items()}
        rows.append({"id": token, "text": session.get_text(token), "p": p})
    return rows
