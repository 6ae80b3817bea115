"""Judge behind an OpenAI-compatible endpoint."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from crosscoder.behaviours.chat_endpoint import ChatEndpoint
from crosscoder.behaviours.rubric import build_judge_prompts
from crosscoder.errors import UserError
from crosscoder.lm.text import Document

QUESTION = (
    "How much is it so? Reply with one number from 0 (not at all) to 10 (fully), and nothing else."
)
NUMBER = re.compile(r"([0-9]{1,2}(?:\.[0-9]+)?)(?: ?/ ?10)?\.?")
SCORES_OF_WORDS = {"yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class EndpointJudge:
    """Judge that is asked by `POST url` for a number from 0 to 10, or yes or no.

    Answers are judged one after the other. A reply that is neither a number nor yes or no raises a
    UserError, as does whatever stops a `ChatEndpoint`.

    Args:
        url: Address of the endpoint, including /chat/completions.
        model: Name of the model at the endpoint.
        rubric: Description of the behaviour.
        key_env: Environment variable that holds the key; None sends none.
        timeout: Seconds for each request, from the first byte sent to the last byte received.
        retries: Number of further tries of a request.
        pause: Seconds before the first of them.
    """

    url: str
    model: str
    rubric: str
    key_env: str | None = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        self._endpoint  # noqa: B018 (it checks the settings)

    def __call__(self, prompts: Sequence[Document], answers: Sequence[str]) -> list[float]:
        self._endpoint.read_key()
        texts = build_judge_prompts(self.rubric, prompts, answers)
        return [self._score(f"{text}\n\n{QUESTION}") for text in texts]

    @cached_property
    def _endpoint(self) -> ChatEndpoint:
        return ChatEndpoint(
            self.url, self.model, self.key_env, self.timeout, self.retries, self.pause, "judge"
        )

    def _score(self, text: str) -> float:
        reply = self._endpoint.ask(text)
        score = _parse_score(reply)
        if score is None or score > 1:
            shown = self._endpoint.hide_key(reply)[:80]
            raise UserError(
                f"the judge's reply is neither a number from 0 to 10 nor yes or no: {shown!r}"
            )
        return score


def _parse_score(reply: str) -> float | None:
    """Return the score of yes, no or a number from 0 to 99 that is divided by 10."""
    word = reply.lower().removesuffix(".")
    if word in SCORES_OF_WORDS:
        return SCORES_OF_WORDS[word]
    number = NUMBER.fullmatch(reply)
    return float(number[1]) / 10 if number else None
