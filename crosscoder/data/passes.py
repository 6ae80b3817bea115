"""The forward passes of a harvest: how many tokens each takes, and whether models are compiled."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from crosscoder.core.sources import Source
from crosscoder.data.batch_trial import choose_batch_tokens
from crosscoder.data.tokens import TokenSet
from crosscoder.lm.layout import Packing

if TYPE_CHECKING:
    import crosscoder.lm

# On two cores, compilation takes half a minute the first time on a machine, ten seconds afterwards,
# and saves a quarter of the passes. This many operations take such cores about 75 seconds. The
# decision depends on the data and not on a clock, so that a harvest that is killed and continued
# has the activations of one that was not.
LEAST_OPERATIONS = 2e13


class Passes:
    """Runs the models of a pair on token sets; at exit, models are as they were.

    Args:
        pair: The models.
        batch_tokens: Tokens per forward pass; "auto" chooses them by a trial.
        compile: Whether decoder layers are compiled; "auto" does so on a CPU if it pays.
        n_tokens: Tokens that each model is going to read in all.
    """

    def __init__(
        self,
        pair: "crosscoder.lm.Pair",
        batch_tokens: int | Literal["auto"],
        compile: bool | Literal["auto"],
        n_tokens: int,
    ) -> None:
        self.pair = pair
        self.batch_tokens: int | Literal["auto"] = batch_tokens
        self.compile: bool | Literal["auto"] = compile
        self.n_tokens = n_tokens
        self._stack = ExitStack()
        self._prepared: tuple | None = None  # what the last pass was prepared for

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(
        self,
        lm: str,
        sources: Sequence[Source],
        token_set: TokenSet,
        packing: Packing,
        first: int,
        last: int,
    ) -> Iterator[dict[str, Tensor]]:
        """Yield activations [n, d_source] by source, one forward pass at a time.

        Args:
            lm: Name of the model.
            sources: Sources of this model.
            token_set: The tokens.
            packing: How documents in one row are isolated.
            first: Number of the first sequence.
            last: Number of the sequence after the last one.
        """
        # imported here because it imports transformers, which planted data do not need
        from crosscoder.data.forward import move_finite, read_streams

        batch = self._prepare(lm, sources, token_set, packing)
        for start, stop in _divide(first, last, batch):
            tokens, rows = token_set.get_model_input(lm, start, stop)
            streams = read_streams(self.pair, lm, sources, tokens, token_set.seq_len, packing)
            first_row = int(token_set.starts[start])
            acts = {}
            for source, stream in streams.items():
                acts[source.name] = move_finite(stream[rows], tokens[rows], source, first_row)
            yield acts

    def _prepare(
        self, lm: str, sources: Sequence[Source], token_set: TokenSet, packing: Packing
    ) -> int:
        """Choose the batch, and compile the model if it is another than that of the last call.

        Returns:
            Sequences per forward pass.
        """
        if self.batch_tokens == "auto":
            chosen = self._try_batches(lm, sources, token_set, packing)
            self.batch_tokens = max(chosen, 2 * token_set.seq_len)
        batch = max(1, self.batch_tokens // token_set.seq_len)
        hookpoints = [source.hookpoint for source in sources]
        wanted = (lm, hookpoints, token_set.seq_len, packing)
        if wanted != self._prepared:
            self._stack.close()
            self._compile_model(lm, hookpoints, token_set, packing, batch)
            self._prepared = wanted
        return batch

    def _try_batches(
        self, lm: str, sources: Sequence[Source], token_set: TokenSet, packing: Packing
    ) -> int:
        """Return the tokens per forward pass that are fastest on the first sequences."""
        run = partial(self._run_first, lm, sources, token_set, packing)
        device = self.pair.device.type
        return choose_batch_tokens(run, device, self.n_tokens, token_set.seq_len)

    def _run_first(
        self,
        lm: str,
        sources: Sequence[Source],
        token_set: TokenSet,
        packing: Packing,
        n_sequences: int,
    ) -> None:
        """Run a forward pass on the first sequences, and wait for its end."""
        from crosscoder.data.forward import read_streams

        tokens, _ = token_set.get_model_input(lm, 0, min(n_sequences, token_set.n_sequences))
        streams = read_streams(self.pair, lm, sources, tokens, token_set.seq_len, packing)
        for acts in streams.values():
            acts.cpu()  # waits for a GPU

    def _compile_model(
        self, lm: str, names: Sequence[str], token_set: TokenSet, packing: Packing, batch: int
    ) -> None:
        """Compile the layers of a model up to the last hookpoint, if that is asked for or pays."""
        from crosscoder.lm.compiling import compile_layers
        from crosscoder.lm.hooks import Hookpoint

        hookpoints = [Hookpoint.parse(name) for name in names]
        is_compiled = self.compile
        if is_compiled == "auto":
            is_compiled = self._is_compilation_worthwhile(lm, hookpoints, packing)
        if not is_compiled:
            return
        tokens, _ = token_set.get_model_input(lm, 0, min(batch, token_set.n_sequences))
        ids = tokens.ids.view(-1, token_set.seq_len).to(self.pair.device)
        positions = tokens.position.view(-1, token_set.seq_len).to(self.pair.device)
        compiled = compile_layers(self.pair[lm], hookpoints, ids, positions, packing)
        self._stack.enter_context(compiled)

    def _is_compilation_worthwhile(
        self, lm: str, hookpoints: Sequence["crosscoder.lm.Hookpoint"], packing: Packing
    ) -> bool:
        # rows of a packing by rows have another length in every batch
        if self.pair.device.type != "cpu" or packing == "rows":
            return False
        from crosscoder.lm.architectures import get_layers

        last = max(hookpoint.layer for hookpoint in hookpoints)
        layers = get_layers(self.pair[lm])[: last + 1]
        n_weights = sum(parameter.numel() for parameter in layers.parameters())
        return 2 * n_weights * self.n_tokens >= LEAST_OPERATIONS


def _divide(first: int, last: int, batch: int) -> Iterator[tuple[int, int]]:
    """Yield the first sequence of each pass and the one after its last.

    A single sequence at the end joins the pass before. The compiler treats a batch of one as a case
    of its own, which would round differently.
    """
    start = first
    while start < last:
        n_left = last - start
        stop = last if batch > 1 and n_left == batch + 1 else min(start + batch, last)
        yield start, stop
        start = stop
