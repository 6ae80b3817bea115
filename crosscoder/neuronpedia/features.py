"""Rows of features/: one latent as one source sees it, and the nearest latents.

`topkCosSimIndices` are latents of the same source, as Neuronpedia shows them. Matches with the
other source of the compared pair have rows of their own (matches/).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.neuronpedia.logits import TokenLogits
from crosscoder.neuronpedia.naming import Naming, SourceName
from crosscoder.neuronpedia.schema import Feature, Match

N_NEIGHBOURS = 10
Decoder = Float[Tensor, "n_latents d_source"]


def write_shortest(values: np.ndarray) -> list[float]:
    """Return float32 values as the shortest numbers that are read back as the same float32."""
    return values.astype(np.float32).astype(str).astype(float).tolist()


@torch.no_grad()
def build_features(
    name: SourceName,
    naming: Naming,
    table: pd.DataFrame,
    decoder: Decoder,
    latents: range,
    logits: Sequence[TokenLogits],
) -> Iterator[Feature]:
    """Build the rows of some latents.

    Args:
        name: Names of the source.
        naming: Names of the export.
        table: Table of latents, by latent.
        decoder: The source's decoder of all latents, in raw units.
        latents: Latents to build rows of.
        logits: What each of them writes to the vocabulary.
    """
    rows = decoder[latents.start : latents.stop]
    cosines = normalize(rows, dim=-1) @ normalize(decoder, dim=-1).T
    nearest = cosines.topk(min(N_NEIGHBOURS, len(decoder)))
    for place, latent in enumerate(latents):
        writes_something = bool(rows[place].any())
        neighbours = nearest.indices[place].tolist() if writes_something else []
        similarity = nearest.values[place].clamp(-1, 1).numpy()[: len(neighbours)]
        largest = float(table.loc[latent, "max"])
        yield {
            "modelId": name.model,
            "layer": name.id,
            "index": str(latent),
            "sourceSetName": name.set,
            "creatorId": naming.creator_id,
            "maxActApprox": largest,
            "frac_nonzero": float(table.loc[latent, "density"]),
            "freq_hist_data_bar_heights": [],
            "freq_hist_data_bar_values": [],
            "logits_hist_data_bar_heights": list(logits[place].bars.heights),
            "logits_hist_data_bar_values": list(logits[place].bars.values),
            "neuron_alignment_indices": [],
            "neuron_alignment_l1": [],
            "neuron_alignment_values": [],
            "correlated_neurons_indices": [],
            "correlated_neurons_l1": [],
            "correlated_neurons_pearson": [],
            "decoder_weights_dist": [],
            "neg_str": list(logits[place].suppressed),
            "neg_values": list(logits[place].suppressed_values),
            "pos_str": list(logits[place].promoted),
            "pos_values": list(logits[place].promoted_values),
            "topkCosSimIndices": neighbours,
            "topkCosSimValues": write_shortest(similarity),
            "vector": write_shortest(rows[place].numpy()),
            "vectorLabel": None,
            "hookName": name.hook,
            "vectorDefaultSteerStrength": largest,
            "hasVector": True,
        }


@torch.no_grad()
def build_matches(
    name: SourceName, target: SourceName, decoder: Decoder, other: Decoder, latents: range
) -> Iterator[Match]:
    """Build the rows that name the nearest latent of another source.

    A latent that writes nothing has no cosines, and no row. A latent of the other source that
    writes nothing is nearest to none.

    Args:
        name: Names of the source.
        target: Names of the other source.
        decoder: The source's decoder of all latents, in raw units.
        other: The other source's decoder, in raw units.
        latents: Latents to build rows of.
    """
    rows = normalize(decoder[latents.start : latents.stop], dim=-1)
    cosines = rows @ normalize(other, dim=-1).T
    cosines[:, ~other.any(-1)] = -torch.inf
    for place, latent in enumerate(latents):
        nearest = int(cosines[place].argmax())
        if not rows[place].any() or not other[nearest].any():
            continue
        own = float(rows[place] @ normalize(other[latent], dim=-1))
        yield {
            "modelId": name.model,
            "layer": name.id,
            "index": str(latent),
            "targetModelId": target.model,
            "targetSourceId": target.id,
            "targetIndex": str(nearest),
            "cosine": float(cosines[place, nearest].clamp(-1, 1)),
            "sameIndexCosine": max(-1.0, min(1.0, own)),
        }
