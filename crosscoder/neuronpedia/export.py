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

from crosscoder.io.scratch import atomic_folder, require_new_folder
from crosscoder.neuronpedia.content import Content, read_content
from crosscoder.neuronpedia.files import write_row
from crosscoder.neuronpedia.metadata import (
    build_model,
    build_release,
    build_source,
    build_source_set,
)
from crosscoder.neuronpedia.naming import Naming, SourceName, name_sources
from crosscoder.neuronpedia.schema import Model, Source, SourceRelease, SourceSet
from crosscoder.neuronpedia.source_writer import SourceWriter


@dataclass
class Summary:
    """Numbers of rows of an export, and what it lacks.

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
            writer = SourceWriter(place, content, name, naming, target)
            summary.counts[f"{name.model}/{name.id}"] = writer.write()
            summary.left_out |= writer.left_out
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
