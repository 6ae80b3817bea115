"""Replies of a language model, kept in a file so that no request is sent twice.

A run that was interrupted, or whose budget was used up, continues where it ended. The file holds
the hash of each request and the reply, never the key.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crosscoder.behaviours.chat_endpoint import ChatEndpoint
from crosscoder.errors import UserError
from crosscoder.io.run_dir import write_json
from crosscoder.io.schema import read_json

Ask = Callable[[str], str]


class OutOfBudget(UserError):
    """No further request may be sent."""


@dataclass
class Budget:
    """Number of requests that may still be sent.

    Args:
        n_left: Requests that are left.
        n_sent: Requests that were sent.
    """

    n_left: int
    n_sent: int = 0

    def spend(self) -> None:
        """Count a request.

        Raises:
            OutOfBudget: None is left.
        """
        if self.n_left < 1:
            raise OutOfBudget(f"the budget of {self.n_sent} requests is used up")
        self.n_left -= 1
        self.n_sent += 1


@dataclass
class KeptReplies:
    """An endpoint whose replies about one latent are kept in a file.

    Args:
        endpoint: The language model.
        path: File of the replies; None keeps them in memory only.
        budget: Requests that may be sent.
    """

    endpoint: ChatEndpoint
    path: Path | None
    budget: Budget
    _replies: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            self._replies = read_json(self.path, dict[str, str])

    def ask(self, text: str) -> str:
        """Return the reply to a message: the one that is kept, or that of the endpoint.

        Raises:
            OutOfBudget: No reply is kept, and no request may be sent.
            UserError: The endpoint cannot be used.
        """
        name = self._hash(text)
        if name not in self._replies:
            self.budget.spend()
            reply = self.endpoint.ask(text)
            self._replies[name] = self.endpoint.hide_key(reply)
            if self.path is not None:
                write_json(self.path, self._replies)
        return self._replies[name]

    def _hash(self, text: str) -> str:
        content = f"{self.endpoint.url}\n{self.endpoint.model}\n{text}"
        return hashlib.sha256(content.encode()).hexdigest()
