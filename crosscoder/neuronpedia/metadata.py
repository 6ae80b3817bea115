"""Rows of the four files that say what a source is: model, release, source set and source."""

from collections.abc import Mapping
from typing import Any

from crosscoder.core.model import Crosscoder
from crosscoder.lm import Pair
from crosscoder.neuronpedia.naming import Naming, SourceName
from crosscoder.neuronpedia.schema import Model, Source, SourceRelease, SourceSet

VISIBILITY = "PUBLIC"
MATCHES = (
    "matches/ names, for every latent, the latent of the other source whose decoder has the "
    "largest cosine with its own."
)


def build_model(name: SourceName, naming: Naming, pair: Pair | None) -> Model:
    """Describe a language model; numbers that are unknown without it are 0."""
    lm = None if pair is None else pair.lms.get(name.source.lm)
    weights = "" if lm is None else str(lm.spec().get("weights", ""))
    owner = weights.rpartition("/")[0].strip("/") or naming.creator
    size = {"dimension": name.source.width, "layers": 0, "neuronsPerLayer": 0}
    is_chat_model = False
    if lm is not None:
        config: Any = lm.build_skeleton().config.get_text_config(decoder=True)
        size["dimension"] = int(config.hidden_size)
        size["layers"] = int(config.num_hidden_layers)
        size["neuronsPerLayer"] = _read_whole(getattr(config, "intermediate_size", 0))
        is_chat_model = bool(lm.load_tokenizer().chat_template)
    return {
        "id": name.model,
        "displayNameShort": name.model,
        "displayName": name.model,
        "creatorId": naming.creator_id,
        "dimension": size["dimension"],
        "visibility": VISIBILITY,
        "inferenceEnabled": False,
        "instruct": is_chat_model,
        "layers": size["layers"],
        "neuronsPerLayer": size["neuronsPerLayer"],
        "owner": owner,
    }


def build_release(crosscoder: Crosscoder, naming: Naming) -> SourceRelease:
    """Describe the crosscoder, whose sources are one release."""
    names = ", ".join(crosscoder.sources.names)
    return {
        "name": naming.release,
        "description": f"Crosscoder of {crosscoder.n_latents:,} latents, which share one code in "
        f"the sources {names}",
        "descriptionShort": naming.release,
        "urls": _list_urls(crosscoder.provenance),
        "creatorName": naming.creator,
        "creatorId": naming.creator_id,
        "visibility": VISIBILITY,
    }


def build_source_set(crosscoder: Crosscoder, name: SourceName, naming: Naming) -> SourceSet:
    """Describe the sources of one model."""
    return {
        "modelId": name.model,
        "name": name.set,
        "description": f"Crosscoder, {crosscoder.n_latents:,} latents",
        "type": name.source.hookpoint.partition(".")[0],
        "creatorName": naming.creator,
        "creatorId": naming.creator_id,
        "urls": _list_urls(crosscoder.provenance),
        "releaseName": naming.release,
        "hasDashboards": True,
        "allowInferenceSearch": False,
        "visibility": VISIBILITY,
    }


def build_source(
    crosscoder: Crosscoder, name: SourceName, naming: Naming, target: SourceName | None
) -> Source:
    """Describe one source.

    Args:
        crosscoder: The crosscoder.
        name: Names of the source.
        naming: Names of the export.
        target: The other source of the compared pair; None if nothing is compared.
    """
    # the import refuses a source that names another one before that exists, so only the second
    # source of the pair names the first
    first = (crosscoder.sources.comparable or (None,))[0]
    named = target if target is not None and target.source.name == first else None
    return {
        "id": name.id,
        "modelId": name.model,
        "setName": name.set,
        "creatorId": naming.creator_id,
        "hasDashboards": True,
        "inferenceEnabled": False,
        "hfRepoId": crosscoder.provenance.get("repo"),
        "dataset": None,
        "notes": None if target is None else MATCHES,
        "cosSimMatchModelId": None if named is None else named.model,
        "cosSimMatchSourceId": None if named is None else named.id,
        "visibility": VISIBILITY,
    }


def _read_whole(value: Any) -> int:
    """Return a size of a configuration; 0 where layers differ."""
    return value if isinstance(value, int) else 0


def _list_urls(provenance: Mapping[str, Any]) -> list[str]:
    repo = provenance.get("repo")
    return [f"https://huggingface.co/{repo}"] if repo else []
