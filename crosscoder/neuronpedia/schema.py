"""The rows of Neuronpedia's bulk layout, with the names and types that it publishes.

The tables are in its database schema (apps/webapp/prisma/schema.prisma of hijohnnylin/neuronpedia).
Its own exports hold the columns that stand here (export-data.py there). A column that may be null
there may be null here. `Match` alone is ours: a table for the matches between two sources, which
the import does not read.
"""

from typing import Literal

from typing_extensions import TypedDict

from crosscoder.io.schema import Number, Whole

Visibility = Literal["PUBLIC", "UNLISTED", "PRIVATE"]


class Model(TypedDict):
    """A language model, in model.jsonl."""

    id: str
    displayNameShort: str
    displayName: str
    creatorId: str
    dimension: Whole | None
    visibility: Visibility
    inferenceEnabled: bool
    instruct: bool
    layers: Whole
    neuronsPerLayer: Whole
    owner: str


class SourceRelease(TypedDict):
    """Sources that were published together, in release.jsonl."""

    name: str
    description: str
    descriptionShort: str | None
    urls: list[str]
    creatorName: str
    creatorId: str
    visibility: Visibility


class SourceSet(TypedDict):
    """Sources of one model that differ in their layer, in sourceset.jsonl."""

    modelId: str
    name: str
    description: str
    type: str
    creatorName: str
    creatorId: str
    urls: list[str]
    releaseName: str | None
    hasDashboards: bool
    allowInferenceSearch: bool
    visibility: Visibility


class Source(TypedDict):
    """A dictionary of one model, in source.jsonl."""

    id: str
    modelId: str
    setName: str
    creatorId: str
    hasDashboards: bool
    inferenceEnabled: bool
    hfRepoId: str | None
    dataset: str | None
    notes: str | None
    cosSimMatchModelId: str | None
    cosSimMatchSourceId: str | None
    visibility: Visibility


class Feature(TypedDict):
    """A latent as a source sees it (the table Neuron), in features/."""

    modelId: str
    layer: str
    index: str
    sourceSetName: str | None
    creatorId: str | None
    maxActApprox: Number | None
    frac_nonzero: Number
    freq_hist_data_bar_heights: list[Number]
    freq_hist_data_bar_values: list[Number]
    logits_hist_data_bar_heights: list[Number]
    logits_hist_data_bar_values: list[Number]
    neuron_alignment_indices: list[Whole]
    neuron_alignment_l1: list[Number]
    neuron_alignment_values: list[Number]
    correlated_neurons_indices: list[Whole]
    correlated_neurons_l1: list[Number]
    correlated_neurons_pearson: list[Number]
    decoder_weights_dist: list[Number]
    neg_str: list[str]
    neg_values: list[Number]
    pos_str: list[str]
    pos_values: list[Number]
    topkCosSimIndices: list[Whole]
    topkCosSimValues: list[Number]
    vector: list[Number]
    vectorLabel: str | None
    hookName: str | None
    vectorDefaultSteerStrength: Number | None
    hasVector: bool


class Activation(TypedDict):
    """A text on which a latent is active, in activations/."""

    id: str
    modelId: str
    layer: str
    index: str
    creatorId: str
    dataSource: str | None
    tokens: list[str]
    values: list[Number]
    maxValue: Number
    maxValueTokenIndex: Whole
    minValue: Number
    dfaValues: list[Number]
    dfaMaxValue: Number | None
    dfaTargetIndex: Whole | None
    binContains: Number | None
    binMin: Number | None
    binMax: Number | None


class Explanation(TypedDict):
    """A label of a latent, in explanations/."""

    id: str
    modelId: str
    layer: str
    index: str
    authorId: str
    description: str
    notes: str | None
    typeName: str | None
    explanationModelName: str | None


class Match(TypedDict):
    """The latent of another source whose decoder is nearest to a latent's own, in matches/."""

    modelId: str
    layer: str
    index: str
    targetModelId: str
    targetSourceId: str
    targetIndex: str
    cosine: Number
    sameIndexCosine: Number
