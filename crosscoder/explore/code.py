"""Python code that reproduces a request of the page with the package's own functions."""

from collections.abc import Mapping
from pathlib import Path

from crosscoder.explore.generate import EDITED, Request
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.session import Session

HEAD = """\
from crosscoder import Crosscoder, Pair, make_chat
from crosscoder.interventions.ablate import scale_each
from crosscoder.lm.sampling import Sampling, sample_answer

crosscoder = Crosscoder.from_pretrained({folder!r})
pair = Pair.from_spec(crosscoder.provenance["pair"]{device})
prompt = {prompt}
sampling = Sampling({sampling})
answers = {{}}
"""
CLEAN = """\
answers[{column!r}] = sample_answer(pair[{model!r}], pair.tokenizer, prompt, sampling)
"""
EDIT = """\
change = scale_each(crosscoder, {factors})  # factor by latent: 0 ablates
with pair.edit({model!r}, change, positions={positions!r}) as model:
    answers[{column!r}] = sample_answer(model, pair.tokenizer, prompt, sampling)
"""
END = """\
for name, answer in answers.items():
    print(f"{name}: {answer}")
"""


def write_code(session: Session, request: Request) -> str:
    """Return a program that prints the same answers, up to rounding."""
    device = "" if session.device == "auto" else f", device={session.device!r}"
    lines = HEAD.format(
        folder=str(Path(session.run.folder).absolute()),
        device=device,
        prompt=_write_prompt(request.prompt),
        sampling=_write_settings(vars(request.sampling)),
    )
    for name in session.models:
        lines += CLEAN.format(column=name, model=name)
    for name in session.models:
        factors = request.edits.get_factors(name)
        if factors:
            lines += EDIT.format(
                factors=factors,
                model=name,
                positions=request.edits.positions,
                column=EDITED.format(name),
            )
    return lines + END


def _write_prompt(prompt: Prompt) -> str:
    """Return a prompt as an expression; text is a literal, in which nothing is executed."""
    if prompt.kind == "text":
        return repr("".join(prompt.turns))
    turns = ", ".join(repr(turn) for turn in prompt.turns)
    system = f", system={prompt.system.strip()!r}" if prompt.system.strip() else ""
    return f"make_chat({turns}{system})"


def _write_settings(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())
