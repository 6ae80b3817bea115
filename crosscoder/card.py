"""The model card of a crosscoder: README.md with the hub's metadata, its figures, and how it is loaded."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from crosscoder.documents import table

FIGURES = ("fve", "fve_standardised", "l0", "dead_fraction")
HOW = """```python
import crosscoder

dictionary = crosscoder.load("{name}")
code = dictionary.encode(acts)  # raw activations of all sources side by side, [tokens, {d_total}]
recon = dictionary.decode(code)
```"""


def model_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Markdown.

    Args:
        config: what `config.json` holds.
        metrics: flat figures on held-out documents, as in a run's `metrics.json`; may be empty.
        name: under which it is loaded.
    """
    items, made_with = config["sources"]["items"], config["provenance"]
    lms = (made_with.get("pair") or {}).get("lms", {})
    shown = {key: value for key, value in metrics.items() if key.partition("/")[0] in FIGURES and value is not None}
    bases = [str(weights) for lm in lms.values() if "/" in (weights := str(lm.get("weights", "")))]
    data = ModelCardData(
        library_name="crosscoder",
        tags=["crosscoder", "sparse-autoencoder", "model-diffing", "interpretability"],
        base_model=list(dict.fromkeys(bases)) or None,
        model_name=name if shown else None,
        eval_results=[
            EvalResult("feature-extraction", "held-out", "held-out documents", key, value)
            for key, value in shown.items()
        ]
        or None,
    )
    sources = [
        [
            item["name"],
            " + ".join(str(part) for part in lms.get(item["lm"], {}).values() if part),
            item["hookpoint"],
            str(item["width"]),
        ]
        for item in items
    ]
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {name}",
        f"A {'crosscoder' if len(items) > 1 else 'sparse autoencoder'} of {config['n_latents']:,} latents "
        f"({config['activation']['name']}). It eats raw activations.",
        table(["source", "language model", "hookpoint", "width"], sources),
        HOW.format(name=name, d_total=sum(item["width"] for item in items)),
    ]
    if shown:
        parts += [
            "On documents held out from training:",
            table(["figure", "value"], [[k, f"{v:.4f}"] for k, v in shown.items()]),
        ]
    if settings := made_with.get("settings"):
        parts.append(f"Settings of its training that differ from the default: `{' '.join(settings)}`.")
    if made_with.get("repo"):
        parts.append(f"Converted from `{made_with['origin']}` at revision `{made_with['revision']}`.")
    return "\n\n".join(parts) + "\n"
