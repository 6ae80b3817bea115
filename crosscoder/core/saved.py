"""Schema of a saved crosscoder's config.json, which may come from anywhere."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from crosscoder.io.schema import Number, Object, Size, Whole

Names = Annotated[list[str], Field(min_length=2, max_length=2)]


class Stream(TypedDict):
    """A saved source."""

    name: str
    width: Size
    lm: NotRequired[str]
    hookpoint: NotRequired[str]


class Streams(TypedDict):
    """Saved sources in order, and the pair that is compared."""

    items: Annotated[list[Stream], Field(min_length=1)]
    contrast: NotRequired[Names | None]


class PairSpec(TypedDict, total=False):
    """Saved language models: the entries that code other than `Pair` reads."""

    lms: dict[str, Object]
    layer: Whole | None
    contrast: Names | None


class Outliers(TypedDict, total=False):
    """Norm of each source above which training left out a token."""

    above: Number
    norms: dict[str, Number]


class Provenance(TypedDict, total=False):
    """Provenance of a crosscoder; any entry may be missing, and there may be others."""

    train: str | None
    validation: str | None
    heldout: str | None
    tokens_sha256: str | None
    pair: PairSpec | None
    settings: list[str]
    activation: Object
    exclude: list[str]
    outliers: Outliers | None
    median_norms: dict[str, Number | None]
    seconds: Number
    layout: str
    origin: str
    repo: str | None
    revision: str | None
    norm: str | None
    bos_excluded: bool | None
    sha256: dict[str, str]


class Saved(TypedDict):
    """The entry of a config.json that records how a crosscoder was made."""

    provenance: Provenance


class Config(Saved):
    """The entries of a config.json that a crosscoder is loaded from."""

    sources: Streams
    n_latents: Size
    activation: Object
