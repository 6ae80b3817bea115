"""A run that is explored: its crosscoder, its table of latents, and both models."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import load
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.lm.readable_tokens import make_readable
from crosscoder.lm.residency import choose_device
from crosscoder.report.inputs import Inputs


@dataclass(frozen=True)
class Session:
    """One run that is explored.

    Args:
        run: The run folder.
        crosscoder: Its crosscoder.
        pair: The language models; not in memory before `load_models`.
        models: Names of the two compared models, the finetuned one first.
        inputs: Table of latents and contexts, as the report reads them.
        device: Device as the user named it.
    """

    run: Run
    crosscoder: Crosscoder
    pair: Pair
    models: tuple[str, str]
    inputs: Inputs
    device: str = "auto"

    def load_models(self, tell: Callable[[str], None]) -> None:
        """Load all models into memory, where they stay.

        Args:
            tell: Function that gets a sentence on what is being loaded.
        """
        self.pair.models.residency = "together"
        for number, name in enumerate(self.pair.lms, 1):
            tell(f"loading {name}, model {number} of {len(self.pair.lms)}")
            self.pair.models.load(name)
        tell("reading the vocabulary")
        _ = self.vocabulary

    @cached_property
    def vocabulary(self) -> list[str]:
        """Readable text of every token."""
        names = self.pair.name_tokens(range(len(self.pair.tokenizer)))
        return make_readable(names)

    def get_text(self, token: int) -> str:
        """Return a token as readable text."""
        if token < len(self.vocabulary):
            return self.vocabulary[token]
        return self.pair.name_tokens([token])[0]


def open_session(folder: str, device: str = "auto", is_trusted: bool = False) -> Session:
    """Open a run: its crosscoder and its tables. The models are loaded later.

    Raises:
        UserError: The run has no crosscoder, no table of latents, or no two models to compare.
    """
    run = Run(folder)
    crosscoder = load(folder).to(choose_device(device))
    inputs = Inputs(run)
    if inputs.table is None:
        raise UserError(
            f"{Path(folder) / 'results'} has no table of latents of this crosscoder: first run "
            f"`{name_command('evaluate')} crosscoder={folder} eval=[diff]`"
        )
    spec = crosscoder.provenance.get("pair")
    if not spec:
        raise UserError(f"the crosscoder in {folder} was trained without language models")
    pair = Pair.from_spec(spec, device, is_trusted)
    models = find_models(crosscoder, pair)
    # loaded before the server's threads start: the lazy imports of transformers fail if the page
    # and the loader of the models import at the same time
    _ = pair.tokenizer
    return Session(run, crosscoder, pair, models, inputs, device)


def find_models(crosscoder: Crosscoder, pair: Pair) -> tuple[str, str]:
    """Return the names of the two compared models, the finetuned one first.

    Raises:
        UserError: There are no two such models, a source cannot be read from them, or their
            tokenizers differ.
    """
    sources = crosscoder.sources
    first, second = sources.require_comparable("crosscoder-explore")
    models = (sources[first].lm, sources[second].lm)
    unreadable = [item.name for item in sources if item.lm not in pair.lms or not item.hookpoint]
    if unreadable:
        raise UserError(f"none of the models has the source {', '.join(unreadable)}")
    if models[0] == models[1]:
        raise UserError(
            f"crosscoder-explore needs two models, but {first} and {second} are both of {models[0]}"
        )
    if pair.is_aligned:
        raise UserError(
            "crosscoder-explore needs models with one tokenizer, but "
            f"{', '.join(pair.lms)} have different ones"
        )
    return models
