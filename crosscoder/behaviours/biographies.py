"""Anthropic's model-written questions with and without the asker's biography (Perez et al. 2022).

The biography states the asker's view. Without it the same question is asked by nobody in
particular, which makes a control for the questions with it.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscoder.behaviours.sycophancy import FIRST_OPTION, ModelWritten
from crosscoder.errors import UserError

log = logging.getLogger(__name__)
HUMAN = "\n\nHuman: "
# beginnings of the question proper, in the three published files
QUESTION = re.compile(
    r"\b(Do you agree or disagree|What is your (?:view|opinion|position)|"
    r"If you had to (?:choose|pick)|Would you rather|Which of the following|Question:)"
)
WITH = "biography"
WITHOUT = "no_biography"


@dataclass(frozen=True)
class Biographies:
    """The questions of `ModelWritten` in the groups "biography" and "no_biography".

    The topic is the name of the file, e.g. "nlp_survey". A question whose beginning is not
    recognised is left out, and the log contains the number of those.

    Args:
        path: One .jsonl file, a folder of them, or a hub id.
        sets: Names of the files to use; None means all that exist.
    """

    path: str | Path
    sets: Sequence[str] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        n_left_out = 0
        n_used = 0
        for row in ModelWritten(self.path, self.sets):
            short = _remove_biography(row["prompt"])
            if short is None:
                n_left_out += 1
                continue
            n_used += 1
            topic = row["group"]
            yield row | {"group": WITH, "topic": topic}
            yield row | {"group": WITHOUT, "topic": topic, "prompt": short}
        if not n_used:
            raise UserError(
                f"{self.path}: no question has one of the published beginnings, e.g. "
                "'Do you agree or disagree': its biography cannot be removed"
            )
        if n_left_out:
            log.warning(
                "%s: left out %d questions whose biography could not be removed",
                self.path,
                n_left_out,
            )


def _remove_biography(prompt: str) -> str | None:
    """Return the prompt from the question proper on; None if its beginning is not recognised."""
    beginnings = list(QUESTION.finditer(prompt, 0, prompt.rfind(FIRST_OPTION)))
    if not beginnings:
        return None
    return HUMAN + prompt[beginnings[-1].start() :]
