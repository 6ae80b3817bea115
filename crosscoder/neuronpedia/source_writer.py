"""Write the batches of one source: features, matches, activations and explanations."""

from dataclasses import dataclass, field
from pathlib import Path

from crosscoder.errors import NotApplicable
from crosscoder.neuronpedia.content import Content
from crosscoder.neuronpedia.features import build_features, build_matches
from crosscoder.neuronpedia.files import list_batches, write_batch
from crosscoder.neuronpedia.logits import TokenLogits, Unembedding
from crosscoder.neuronpedia.naming import Naming, SourceName
from crosscoder.neuronpedia.schema import Activation, Explanation, Feature, Match
from crosscoder.neuronpedia.texts import build_activations, build_explanations, decode_contexts
from crosscoder.runtime.progress import progress


@dataclass(frozen=True)
class SourceWriter:
    """Writer of the batches of one source.

    Args:
        place: Folder of the source.
        content: Content of the run.
        name: Names of the source.
        naming: Names of the export.
        target: The other source of the compared pair, if there is one.
        left_out: Reasons for what is missing; filled while it writes.
    """

    place: Path
    content: Content
    name: SourceName
    naming: Naming
    target: SourceName | None
    left_out: dict[str, str] = field(default_factory=dict)

    def write(self) -> dict[str, int]:
        """Write all batches and return the number of rows by kind."""
        unembedding = self._open_unembedding()
        contexts = self.content.contexts
        texts = {} if contexts is None else decode_contexts(contexts)
        counts = dict.fromkeys(("features", "activations", "explanations", "matches"), 0)
        with progress("latents") as bar:
            n_latents = self.content.crosscoder.n_latents
            task = bar.add_task(f"export {self.name.source.name}", total=n_latents, note="")
            for number, latents in enumerate(list_batches(n_latents)):
                counts["features"] += self._write_features(number, latents, unembedding)
                counts["matches"] += self._write_matches(number, latents)
                counts["activations"] += self._write_activations(number, latents, texts)
                counts["explanations"] += self._write_explanations(number, latents)
                bar.advance(task, len(latents))
        if self.content.pair is not None:
            self.content.pair.release()
        return {kind: n for kind, n in counts.items() if n}

    def _open_unembedding(self) -> Unembedding | None:
        if self.content.pair is None:
            self.left_out["logits"] = "the crosscoder was trained without language models"
            return None
        try:
            return Unembedding(self.content.pair, self.name.source)
        except NotApplicable as error:
            self.left_out[f"logits of {self.name.source.name}"] = str(error)
            return None

    def _write_features(self, number: int, latents: range, unembedding: Unembedding | None) -> int:
        decoder = self.content.crosscoder.decoder(self.name.source.name).detach()
        logits = [TokenLogits()] * len(latents)
        if unembedding is not None:
            logits = unembedding.read(decoder[latents.start : latents.stop])
        table = self.content.table
        rows = build_features(self.name, self.naming, table, decoder, latents, logits)
        return write_batch(self.place / "features", number, rows, Feature)

    def _write_matches(self, number: int, latents: range) -> int:
        if self.target is None:
            return 0
        crosscoder = self.content.crosscoder
        decoder = crosscoder.decoder(self.name.source.name).detach()
        other = crosscoder.decoder(self.target.source.name).detach()
        rows = build_matches(self.name, self.target, decoder, other, latents)
        return write_batch(self.place / "matches", number, rows, Match)

    def _write_activations(self, number: int, latents: range, texts: dict[str, str]) -> int:
        contexts = self.content.contexts
        if contexts is None:
            return 0
        chosen = contexts.loc[contexts["latent"].isin(latents)]
        rows = build_activations(self.name, self.naming, chosen, texts)
        return write_batch(self.place / "activations", number, rows, Activation)

    def _write_explanations(self, number: int, latents: range) -> int:
        labels = self.content.labels
        if labels is None:
            return 0
        chosen = labels.loc[labels.index.isin(latents)]
        rows = build_explanations(self.name, self.naming, self.content.table, chosen)
        return write_batch(self.place / "explanations", number, rows, Explanation)
