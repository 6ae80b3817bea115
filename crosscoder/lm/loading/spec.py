"""Read the spec of language models in a crosscoder's config.json or a store's meta.json."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crosscoder.errors import UserError, describe_foreign
from crosscoder.io.schema import parse_json


class SavedSpec(BaseModel):
    """Spec of an `LM`."""

    model_config = ConfigDict(extra="forbid")

    weights: str
    adapter: str | None = None


class TinySpec(BaseModel):
    """Spec of a `TinyLM`, with sizes that are small."""

    model_config = ConfigDict(extra="forbid")

    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    drift: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    d_model: Annotated[int, Field(ge=1, le=4096)] = 32
    n_layers: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 2
    words: bool = False


class PairSpec(BaseModel):
    """Spec of a pair, as `Pair.spec` returns it."""

    model_config = ConfigDict(extra="forbid")

    lms: Annotated[dict[str, SavedSpec | TinySpec], Field(min_length=1)]
    layer: Annotated[int, Field(ge=0)]
    contrast: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    dtype: str = "bfloat16"
    align: str | None = None


def read_spec(spec: Any) -> dict[str, Any]:
    """Validate the spec of a pair.

    Raises:
        UserError: The spec does not describe a pair.
    """
    try:
        text = json.dumps(spec)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"invalid spec of the language models: not JSON ({describe_foreign(error)})"
        ) from error
    found = parse_json(text, PairSpec, "invalid spec of the language models")
    return found.model_dump(exclude_unset=True)
