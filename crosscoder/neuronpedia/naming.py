"""Names of models and sources on Neuronpedia, and who is named as their creator.

A source is named LAYER-SET, e.g. `9-my-crosscoder-resid-post`. Its set has the name of the release
and of the site, so a crosscoder of several layers has one set per model. A hook is named as
TransformerLens names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source
from crosscoder.errors import UserError

HOOKS = {
    "resid_post": "hook_resid_post",
    "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "attn_z": "attn.hook_z",
}
# the user who owns the published exports, and everything in a new Neuronpedia of one's own
DEFAULT_CREATOR_ID = "clkht01d40000jv08hvalcvly"


@dataclass(frozen=True)
class Naming:
    """Names of an export that its user chooses.

    Args:
        release: Name of the release; it is part of the names of all sources.
        creator: Name that is shown as the creator's.
        creator_id: Id of the user of Neuronpedia to whom the rows belong.
    """

    release: str
    creator: str = "crosscoder"
    creator_id: str = DEFAULT_CREATOR_ID

    def __post_init__(self) -> None:
        for name in ("creator", "creator_id"):
            if not getattr(self, name).strip():
                raise UserError(f"the export needs a {name.replace('_', ' ')}, found an empty text")


@dataclass(frozen=True)
class SourceName:
    """Names of one source of a crosscoder.

    Args:
        source: The source.
        model: Id of its model.
        set: Name of its source set.
        layer: Layer of its hookpoint; 0 if the hookpoint is unknown.
        hook: Name of the hook in TransformerLens; None if the hookpoint is unknown.
    """

    source: Source
    model: str
    set: str
    layer: int
    hook: str | None

    @property
    def id(self) -> str:
        """Id of the source, which is also the `layer` of every latent."""
        return f"{self.layer}-{self.set}"


def make_slug(text: str) -> str:
    """Return a text in small letters, digits and single dashes, as names on Neuronpedia are.

    Raises:
        UserError: Nothing is left of it.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not slug:
        raise UserError(f"no name for Neuronpedia can be made of {text!r:.80}: use letters a to z")
    return slug


def name_sources(crosscoder: Crosscoder, naming: Naming) -> dict[str, SourceName]:
    """Name the sources of a crosscoder, by their own names."""
    models = _name_models(crosscoder)
    named = {}
    for source in crosscoder.sources:
        site, _, layer = source.hookpoint.partition(".")
        is_known = site in HOOKS and layer.isdecimal()
        parts = [naming.release, site] if is_known else [naming.release]
        named[source.name] = SourceName(
            source,
            models[source.lm or source.name],
            make_slug("-".join(parts)),
            int(layer) if is_known else 0,
            f"blocks.{int(layer)}.{HOOKS[site]}" if is_known else None,
        )
    _require_different(named)
    return named


def _require_different(named: Mapping[str, SourceName]) -> None:
    places = [(one.model, one.id) for one in named.values()]
    if len(set(places)) < len(places):
        raise UserError(
            "two sources of this crosscoder would have one name on Neuronpedia: "
            f"expected different models or hookpoints, found {', '.join(named)}"
        )


def _name_models(crosscoder: Crosscoder) -> dict[str, str]:
    """Name the language models: after their weights, and after themselves where these are equal."""
    lms = (crosscoder.provenance.get("pair") or {}).get("lms", {})
    names = {}
    for source in crosscoder.sources:
        lm = source.lm or source.name
        names[lm] = make_slug(_find_title(lms.get(lm, {})) or lm)
    taken = list(names.values())
    for lm, name in names.items():
        if taken.count(name) > 1:
            names[lm] = make_slug(f"{name}-{lm}")
    return names


def _find_title(lm: Mapping[str, Any]) -> str:
    """Return the last part of the names of a model's weights and of its adapter."""
    parts = [str(lm[key]).rstrip("/") for key in ("weights", "adapter") if lm.get(key)]
    return "-".join(re.split(r"[/:]", part)[-1] for part in parts)
