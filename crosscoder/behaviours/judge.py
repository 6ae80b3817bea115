"""Judges of free answers: language models, local or at an endpoint, that score a behaviour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from crosscoder.behaviours.endpoint import EndpointJudge
from crosscoder.behaviours.rubric import build_judge_prompts
from crosscoder.errors import UserError
from crosscoder.lm import LM, TinyLM
from crosscoder.lm.scoring import compute_next_logits
from crosscoder.lm.text import Document

__all__ = ["EndpointJudge", "Judge", "LocalJudge"]


@runtime_checkable
class Judge(Protocol):
    """Scorer of answers, from 0 (behaviour not shown) to 1 (fully shown)."""

    def __call__(self, prompts: Sequence[Document], answers: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True)
class LocalJudge:
    """Language model on this machine: P(yes) / (P(yes) + P(no)) of the token after the question.

    With a chat template, the rubric, the prompt and the answer are a user's message, and `yes` or
    `no` begins the assistant's turn, without the space in front. Only the first token of a word
    counts.

    Args:
        weights: Weights as in `LM`, or the spec of a model, e.g. {"seed": 0} of a `TinyLM`.
        rubric: Description of the behaviour.
        adapter: Adapter as in `LM`.
        yes: Word for an answer that shows the behaviour.
        no: Word for one that does not.
        dtype: Dtype of the weights.
        batch_size: Number of answers in a batch.
        device: Device; "auto" is the GPU if there is one.
    """

    weights: str | Mapping[str, Any]
    rubric: str
    adapter: str | None = None
    yes: str = " Yes"
    no: str = " No"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch_size: int = 8
    device: str = "auto"

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Document], answers: Sequence[str]) -> list[float]:
        texts = build_judge_prompts(self.rubric, prompts, answers)
        tokenizer, model = self._loaded
        documents: list[Document] = []
        for text in texts:
            question = f"{text}\n\nIs it so? Reply with Yes or No."
            if tokenizer.chat_template:
                documents.append([{"role": "user", "content": question}])
            else:
                documents.append(f"{question}\nReply:")
        scores: list[float] = []
        for start in range(0, len(documents), self.batch_size):
            batch = documents[start : start + self.batch_size]
            words = torch.tensor(self._word_tokens).expand(len(batch), -1)
            logits = compute_next_logits(model, tokenizer, batch, words)
            scores += logits.softmax(-1)[:, 0].tolist()
        return scores

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        weights = self.weights
        spec: dict[str, Any] = {"weights": weights} if isinstance(weights, str) else dict(weights)
        if self.adapter:
            spec["adapter"] = self.adapter
        lm = TinyLM(**spec) if "seed" in spec else LM(**spec)
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return lm.load_tokenizer(), lm.load(getattr(torch, self.dtype), device)

    @cached_property
    def _word_tokens(self) -> tuple[int, int]:
        """First tokens of `yes` and `no`."""
        tokenizer = self._loaded[0]
        words = [self.yes, self.no]
        if tokenizer.chat_template:
            words = [word.lstrip() for word in words]
        tokens = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
        if not all(tokens) or tokens[0][0] == tokens[1][0]:
            raise UserError(
                f"a judge cannot distinguish {words[0]!r} and {words[1]!r} by their first token: "
                "choose other words for yes and no"
            )
        return tokens[0][0], tokens[1][0]
