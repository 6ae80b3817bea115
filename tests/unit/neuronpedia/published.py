"""Columns that Neuronpedia's import accepts, noted from its published database schema.

By table: columns that a row must have, and all others that it may have, each with its type. A
column whose type ends in `?` may be null. Written without a look at the package's own schema.
"""

STRING, INT, FLOAT, TRUTH = "string", "int", "float", "truth"

REQUIRED = {
    "model": {
        "id": STRING,
        "creatorId": STRING,
        "layers": INT,
        "neuronsPerLayer": INT,
        "owner": STRING,
    },
    "release": {
        "name": STRING,
        "description": STRING,
        "creatorName": STRING,
        "creatorId": STRING,
        "urls": [STRING],
    },
    "sourceset": {
        "modelId": STRING,
        "name": STRING,
        "description": STRING,
        "creatorName": STRING,
        "creatorId": STRING,
        "urls": [STRING],
    },
    "source": {"id": STRING, "modelId": STRING, "setName": STRING, "creatorId": STRING},
    "features": {"modelId": STRING, "layer": STRING, "index": STRING},
    "activations": {
        "id": STRING,
        "tokens": [STRING],
        "index": STRING,
        "layer": STRING,
        "modelId": STRING,
        "maxValue": FLOAT,
        "maxValueTokenIndex": INT,
        "minValue": FLOAT,
        "values": [FLOAT],
        "creatorId": STRING,
    },
    "explanations": {
        "id": STRING,
        "modelId": STRING,
        "layer": STRING,
        "index": STRING,
        "description": STRING,
        "authorId": STRING,
    },
}

OPTIONAL = {
    "model": {
        "displayNameShort": STRING,
        "displayName": STRING,
        "tlensId": "string?",
        "openRouterId": "string?",
        "dimension": "int?",
        "thinking": TRUTH,
        "visibility": STRING,
        "inferenceEnabled": TRUTH,
        "instruct": TRUTH,
        "website": "string?",
    },
    "release": {
        "visibility": STRING,
        "isNewUi": TRUTH,
        "featured": TRUTH,
        "descriptionShort": "string?",
        "creatorEmail": "string?",
        "creatorNameShort": "string?",
        "defaultSourceSetName": "string?",
        "defaultSourceId": "string?",
        "defaultUmapSourceIds": [STRING],
    },
    "sourceset": {
        "hasDashboards": TRUTH,
        "allowInferenceSearch": TRUTH,
        "visibility": STRING,
        "type": STRING,
        "creatorEmail": "string?",
        "releaseName": "string?",
        "defaultRange": INT,
        "defaultShowBreaks": TRUTH,
        "showDfa": TRUTH,
        "showCorrelated": TRUTH,
    },
    "source": {
        "hasDashboards": TRUTH,
        "inferenceEnabled": TRUTH,
        "saelensRelease": "string?",
        "saelensSaeId": "string?",
        "hfRepoId": "string?",
        "hfFolderId": "string?",
        "visibility": STRING,
        "num_prompts": "int?",
        "num_tokens_in_prompt": "int?",
        "dataset": "string?",
        "notes": "string?",
        "cosSimMatchModelId": "string?",
        "cosSimMatchSourceId": "string?",
    },
    "features": {
        "sourceSetName": "string?",
        "creatorId": "string?",
        "maxActApprox": "float?",
        "hasVector": TRUTH,
        "vector": [FLOAT],
        "vectorLabel": "string?",
        "vectorDefaultSteerStrength": "float?",
        "hookName": "string?",
        "topkCosSimIndices": [INT],
        "topkCosSimValues": [FLOAT],
        "neuron_alignment_indices": [INT],
        "neuron_alignment_values": [FLOAT],
        "neuron_alignment_l1": [FLOAT],
        "correlated_neurons_indices": [INT],
        "correlated_neurons_pearson": [FLOAT],
        "correlated_neurons_l1": [FLOAT],
        "neg_str": [STRING],
        "neg_values": [FLOAT],
        "pos_str": [STRING],
        "pos_values": [FLOAT],
        "frac_nonzero": FLOAT,
        "freq_hist_data_bar_heights": [FLOAT],
        "freq_hist_data_bar_values": [FLOAT],
        "logits_hist_data_bar_heights": [FLOAT],
        "logits_hist_data_bar_values": [FLOAT],
        "decoder_weights_dist": [FLOAT],
    },
    "activations": {
        "dataIndex": "string?",
        "dataSource": "string?",
        "dfaValues": [FLOAT],
        "dfaTargetIndex": "int?",
        "dfaMaxValue": "float?",
        "binMin": "float?",
        "binMax": "float?",
        "binContains": "float?",
    },
    "explanations": {
        "notes": "string?",
        "typeName": "string?",
        "explanationModelName": "string?",
    },
}


def find_faults(table: str, row: dict) -> list[str]:
    """Return what a row has that its table does not accept; nothing if it can be imported."""
    columns = REQUIRED[table] | OPTIONAL[table]
    faults = [f"{name} is missing" for name in REQUIRED[table] if name not in row]
    for name, value in row.items():
        if name not in columns:
            faults.append(f"{name} is no column")
        elif not fits(value, columns[name]):
            faults.append(f"{name} is {value!r:.60}, not {columns[name]}")
    if row.get("visibility", "PUBLIC") not in ("PUBLIC", "UNLISTED", "PRIVATE"):
        faults.append("visibility has three values")
    return faults


def fits(value: object, kind: str | list[str]) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(one, kind[0]) for one in value)
    if kind.endswith("?"):
        return value is None or fits(value, kind.removesuffix("?"))
    if kind == STRING:
        return isinstance(value, str)
    if kind == TRUTH:
        return isinstance(value, bool)
    if kind == INT:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)
