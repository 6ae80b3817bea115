"""Write a run in Neuronpedia's bulk layout, one of its sources for each source of the crosscoder.

    FOLDER/MODEL_ID/SOURCE_ID/model.jsonl  release.jsonl  sourceset.jsonl  source.jsonl
        features/batch-N.jsonl.gz          1,024 latents a batch
        activations/batch-N.jsonl.gz       the contexts of these latents
        explanations/batch-N.jsonl.gz      the labels of these latents
        matches/batch-N.jsonl.gz           the nearest latents of the other source

https://docs.neuronpedia.org/api-and-data/exports. The sources share one code, so the activations
and the labels of a latent are the same for all of them; its decoder and its logits are not.
"""

from dataclasses import dataclass, field
from pathlib import Path

from crosscoder.errors import NotApplicable
from crosscoder.io.scratch import atomic_folder, require_new_folder
from crosscoder.neuronpedia.content import Content, read_content
from crosscoder.neuronpedia.features import build_features, build_matches
from crosscoder.neuronpedia.files import list_batches, write_batch, write_row
from crosscoder.neuronpedia.logits import TokenLogits, Unembedding
from crosscoder.neuronpedia.metadata import (
    build_model,
    build_release,
    build_source,
    build_source_set,
)
from crosscoder.neuronpedia.naming import Naming, SourceName, name_sources
from crosscoder.neuronpedia.schema import (
    Activation,
    Explanation,
    Feature,
    Match,
    Model,
    Source,
    SourceRelease,
    SourceSet,
)
from crosscoder.neuronpedia.texts import build_activations, build_explanations, decode_contexts
from crosscoder.runtime.progress import progress


@dataclass
class Summary:
    """What an export wrote.

    Args:
        counts: Number of rows by kind, for each folder of a source.
        left_out: Reasons for what the export lacks.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def export_run(
    run: str | Path, folder: str | Path, naming: Naming, is_trusted: bool = False
) -> Summary:
    """Write a run's latents for Neuronpedia, completely or not at all.

    Args:
        run: Run folder.
        folder: A new folder, or an empty one.
        naming: Names of the export.
        is_trusted: Whether language models are loaded that this user has not used before.

    Raises:
        UserError: The folder exists already, or the run has no table of latents.
    """
    folder = Path(folder)
    require_new_folder(folder)
    content = read_content(Path(run), is_trusted)
    names = name_sources(content.crosscoder, naming)
    summary = Summary()
    if content.contexts is None:
        summary.left_out["activations"] = "the run has no contexts (eval=[diff] writes them)"
    if content.labels is None:
        summary.left_out["explanations"] = "the run has no labels (eval=[explain] writes them)"
    with atomic_folder(folder) as scratch:
        for name in names.values():
            place = scratch / name.model / name.id
            place.mkdir(parents=True)
            target = _find_target(content, names, name)
            _write_metadata(place, content, name, naming, target)
            counts = _SourceWriter(place, content, name, naming, target, summary.left_out).write()
            summary.counts[f"{name.model}/{name.id}"] = counts
    return summary


def _find_target(
    content: Content, names: dict[str, SourceName], name: SourceName
) -> SourceName | None:
    """Return the other source of the compared pair; None for a source that is not compared."""
    pair = content.crosscoder.sources.comparable or ()
    if name.source.name not in pair:
        return None
    other = next(one for one in pair if one != name.source.name)
    return names.get(other)


def _write_metadata(
    place: Path, content: Content, name: SourceName, naming: Naming, target: SourceName | None
) -> None:
    crosscoder = content.crosscoder
    model = build_model(name, naming, content.pair)
    source_set = build_source_set(crosscoder, name, naming)
    source = build_source(crosscoder, name, naming, target)
    write_row(place / "model.jsonl", model, Model)
    write_row(place / "release.jsonl", build_release(crosscoder, naming), SourceRelease)
    write_row(place / "sourceset.jsonl", source_set, SourceSet)
    write_row(place / "source.jsonl", source, Source)


@dataclass(frozen=True)
class _SourceWriter:
    """Writer of the batches of one source.

    Args:
        place: Folder of the source.
        content: Content of the run.
        name: Names of the source.
        naming: Names of the export.
        target: The other source of the compared pair, if there is one.
        left_out: Reasons for what is missing; a reason is added to it.
    """

    place: Path
    content: Content
    name: SourceName
    naming: Naming
    target: SourceName | None
    left_out: dict[str, str]

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
        chosen = contexts[contexts["latent"].isin(latents)]
        rows = build_activations(self.name, self.naming, chosen, texts)
        return write_batch(self.place / "activations", number, rows, Activation)

    def _write_explanations(self, number: int, latents: range) -> int:
        labels = self.content.labels
        if labels is None:
            return 0
        chosen = labels[labels.index.isin(latents)]
        rows = build_explanations(self.name, self.naming, self.content.table, chosen)
        return write_batch(self.place / "explanations", number, rows, Explanation)
