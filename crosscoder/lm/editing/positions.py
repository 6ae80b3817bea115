"""Positions at which an edit acts: all, prompt, response, last, first-N.

    … <start_of_turn>model\n   The  answer  is
                        last   └ response ───
    └ prompt ──────────────┘   └ first-2 ┘

The answer begins after the last *opening*: the tokens with which the chat template asks the
assistant to answer. If the tokens contain no opening, it begins after the prompt of `generate`, or
after the first forward pass. Special tokens (BOS, padding) are never edited, because crosscoders
are not trained on them. If all tokens selected by prompt, last or first-N are special, the edit is
refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.lm.text import Tokenizer, get_opening, get_stop_id


@dataclass(frozen=True)
class TokenHistory:
    """All tokens of a conversation so far.

    If `generate` splits its prompt into chunks, they include the whole prompt.

    Args:
        ids: All tokens so far, [batch, time].
        prompt_length: Number of tokens in the first forward pass, or in the prompt of `generate`.
        n_provided: Number of tokens that were provided, not generated; None means all. An opening
            that the model generates itself does not begin another answer.
    """

    ids: Int[Tensor, "batch time"]
    prompt_length: int
    n_provided: int | None = None


PositionRule = Callable[[TokenHistory], Bool[Tensor, "batch time"]]
# from positions [time] and the starts of the answers [batch, 1] to selected tokens [batch, time]
Selector = Callable[[Tensor, Tensor], Tensor]
SELECTORS: dict[str, Selector] = {
    "all": lambda time, start: (time >= 0).expand(len(start), -1),
    "prompt": lambda time, start: time < start,
    "response": lambda time, start: time >= start,
    "last": lambda time, start: time == start - 1,
}


def parse_positions(positions: str, tokenizer: Tokenizer) -> PositionRule:
    """Return the rule with this name, which selects the tokens to edit.

    Raises:
        UserError: There is no such rule.
    """
    return NamedPositions(positions, tokenizer)


class NamedPositions:
    """Rule for positions that have a name (see above).

    Args:
        positions: The name.
        tokenizer: Tokenizer of the conversation.
    """

    def __init__(self, positions: str, tokenizer: Tokenizer) -> None:
        self.positions = positions
        self.tokenizer = tokenizer
        self.n_first = _parse_n_first(positions)
        self.select = _get_selector(positions, self.n_first)
        self.get_opening = [] if positions == "all" else get_opening(tokenizer)
        self.special = torch.tensor(sorted(tokenizer.all_special_ids))
        self.must_select = positions in ("prompt", "last") or self.n_first is not None

    def __call__(self, history: TokenHistory) -> Bool[Tensor, "batch time"]:
        ids = history.ids
        time = torch.arange(ids.shape[1], device=ids.device)
        start = _find_answer_start(history, self.get_opening)
        selected = self.select(time, start)
        is_content = ~torch.isin(ids, self.special.to(ids.device))
        chosen = selected & is_content
        if self.must_select:
            is_special_only = selected.any(1) & ~chosen.any(1)
            is_refused = is_special_only & self._is_final(ids, selected, start)
            if is_refused.any():
                row = int(is_refused.int().argmax())
                raise UserError(self._describe_special_tokens(ids[row][selected[row]], row))
        return chosen

    def _is_final(
        self, ids: Int[Tensor, "batch time"], selected: Tensor, start: Int[Tensor, "batch 1"]
    ) -> Bool[Tensor, "batch"]:
        """Return in which rows later passes cannot add tokens that may be edited."""
        if self.positions == "prompt":
            # a row that is all padding so far has its prompt still to come
            pad = self.tokenizer.pad_token_id
            is_padding = torch.zeros_like(selected) if pad is None else ids == pad
            return (selected & ~is_padding).any(1)
        if self.n_first is not None:
            # a shorter answer may go on, and one that has ended has nothing to edit
            end_tokens = torch.tensor(_list_end_tokens(self.tokenizer), device=ids.device)
            has_ended = (selected & torch.isin(ids, end_tokens)).any(1)
            is_long_enough = start[:, 0] + self.n_first <= ids.shape[1]
            return is_long_enough & ~has_ended
        return selected.new_ones(len(ids))

    def _describe_special_tokens(self, ids: Tensor, row: int) -> str:
        """Write an error that names the selected special tokens of a row."""
        distinct = list(dict.fromkeys(ids.tolist()))
        names = self.tokenizer.convert_ids_to_tokens(distinct)
        tokens = " ".join(str(name) for name in names)
        return (
            f"positions='{self.positions}' selects only {tokens} in row {row}, and special tokens "
            "are not edited, because crosscoders are not trained on them: choose other positions, "
            "or pass a rule of your own to edit them, e.g. positions=lambda history: "
            "torch.arange(history.ids.shape[1]).expand(history.ids.shape) "
            "== history.prompt_length - 1"
        )


def _get_selector(positions: str, n_first: int | None) -> Selector:
    """Return the function that selects tokens by the start of the answer."""
    if n_first is not None:
        return lambda time, start: (time >= start) & (time < start + n_first)
    if not isinstance(positions, str) or positions not in SELECTORS:
        raise UserError(
            f"positions are {', '.join(SELECTORS)} or first-N (e.g. first-9), or a rule, "
            f"not {positions!r:.80}"
        )
    return SELECTORS[positions]


def _parse_n_first(positions: str) -> int | None:
    """Return 9 for `first-9`."""
    match = re.fullmatch(r"first-([1-9]\d*)", str(positions))
    return int(match[1]) if match else None


def _find_answer_start(history: TokenHistory, opening: list[int]) -> Int[Tensor, "batch 1"]:
    """Return the position at which each row's answer starts."""
    ids = history.ids
    after_prompt = ids.new_full((len(ids), 1), history.prompt_length)
    provided = ids if history.n_provided is None else ids[:, : history.n_provided]
    if not opening or provided.shape[1] < len(opening):
        return after_prompt
    target = torch.tensor(opening, device=ids.device)
    is_opening = (provided.unfold(1, len(opening), 1) == target).all(-1)
    ends = torch.arange(is_opening.shape[1], device=ids.device) + len(opening)
    last_end = torch.where(is_opening, ends, 0).amax(1, keepdim=True)
    return torch.where(last_end > 0, last_end, after_prompt)


def _list_end_tokens(tokenizer: Tokenizer) -> list[int]:
    """List the tokens that end an answer or fill its row afterwards."""
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    if tokenizer.chat_template:
        ends.append(get_stop_id(tokenizer))
    return [int(token) for token in ends if token is not None]  # type: ignore[arg-type]
