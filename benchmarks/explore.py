"""How fast crosscoder-explore reads a prompt, and generates with an edit beside plain `generate`.

python -m benchmarks.explore --run RUN

The page generates four columns: both models, unedited and edited. `edited_over_plain` compares the
tokens per second of the two edited columns with those of two plain `generate` calls, one for each
model, although the page generates the unedited columns in the same time. Both take turns.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any, cast

import torch

from benchmarks.measure import arguments
from crosscoder.explore.edits import Edits, LatentEdit
from crosscoder.explore.generate import Request, generate
from crosscoder.explore.jobs import Job
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.read_prompt import describe_reading, read_prompt
from crosscoder.explore.session import Session, open_session
from crosscoder.io.files import write_text
from crosscoder.lm.sampling import Sampling
from crosscoder.report.terminal.tables import console

QUESTION = "I'm new to programming, and I wonder whether this code is correct. values = 12/0. "


def time_it(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def make_prompt(session: Session, n_tokens: int) -> Prompt:
    """Return a chat of at least `n_tokens` tokens, as short as whole words allow."""
    words = (QUESTION * n_tokens).split(" ")
    for n_words in range(1, len(words)):
        prompt = Prompt("chat", [" ".join(words[:n_words])])
        if len(prompt.tokenize(session.pair)[0]) >= n_tokens:
            return prompt
    raise ValueError(f"no prompt of {n_tokens} tokens")


def generate_plainly(session: Session, prompt: Prompt, n_tokens: int) -> None:
    """Generate `n_tokens` tokens with each model, one after the other."""
    ids = torch.tensor([prompt.tokenize(session.pair)[0]], device=session.pair.device)
    for name in session.models:
        model = cast(Any, session.pair[name])
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            do_sample=False,
        )


def generate_edited(session: Session, request: Request) -> int:
    """Generate all columns, and return the number of tokens in the edited ones."""
    job = Job(lambda job: None)
    generate(session, request, job)
    return sum(event.get("column", "").startswith("edited") for event in job.events)


def measure(session: Session, n_read: int, n_generated: int, turns: int) -> dict[str, float]:
    """Return seconds and tokens per second, medians over turns."""
    prompt = make_prompt(session, n_read)
    first = read_prompt(session, prompt)
    latents = first.code.index.latents.unique()[:3].tolist()
    # a high temperature keeps answers from ending
    sampling = Sampling(max_new_tokens=n_generated, temperature=2.0)
    request = Request(prompt, Edits([LatentEdit(latent, 0.0) for latent in latents]), sampling)
    read: list[float] = []
    plain: list[float] = []
    edited: list[float] = []
    for _ in range(turns):
        read.append(time_it(lambda: describe_reading(session, read_prompt(session, prompt))))
        seconds = time_it(lambda: generate_plainly(session, prompt, n_generated))
        plain.append(2 * n_generated / seconds)
        counts: list[int] = []
        seconds = time_it(lambda counts=counts: counts.append(generate_edited(session, request)))
        edited.append(counts[0] / seconds)
    return {
        "n_read": len(first.ids),
        "read_seconds": median(read),
        "plain_tokens_per_second": median(plain),
        "edited_tokens_per_second": median(edited),
        "edited_over_plain": median(edited) / median(plain),
    }


def main() -> None:
    """Measure a run."""
    options = arguments(
        __doc__ or "",
        run={"help": "folder of a finished run", "default": "outputs/RUN"},
        n_read={"help": "tokens of the prompt", "type": int, "default": 60},
        n_generated={"help": "tokens of an answer", "type": int, "default": 48},
        turns={"help": "measurements", "type": int, "default": 3},
    )
    session = open_session(options.run, options.device)
    session.load_models(console.print)
    row = measure(session, options.n_read, options.n_generated, options.turns)
    console.print(row)
    if options.json:
        write_text(options.json, json.dumps([row], indent=1) + "\n")


if __name__ == "__main__":
    main()
