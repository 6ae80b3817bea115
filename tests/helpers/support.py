"""Measure what works with an architecture, on a small model: one row of docs/models.md."""

import re
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from crosscoder.errors import UserError
from crosscoder.lm import packing
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import SITES, Hookpoint, apply_edits, read
from crosscoder.lm.loading import checks
from crosscoder.lm.loading.measuring import random_ids
from crosscoder.lm.loading.sites import check_site
from tests.helpers.architectures import build

SEQ_LEN = 24
PACKINGS = {"positions": "packed", "mask": "packed, with a mask", "rows": "one document a row"}
YES = "yes"
NO = "–"


def row(model_type: str) -> dict[str, str]:
    """Measure everything on one architecture; the reason is given if it cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build(model_type)
        except Exception as error:  # a configuration that cannot be made small by names alone
            return {
                "architecture": model_type,
                "note": f"not measured: no small model could be built ({_first_line(error)})",
            }
        try:
            checks.require_causal(model)
        except UserError as error:
            return {"architecture": model_type, "note": f"refused: {_first_line(error)}"}
        except Exception as error:
            return {
                "architecture": model_type,
                "note": f"not measured: the small model does not run ({_first_line(error)})",
            }
        return {"architecture": model_type, **_measure(model)}


def _measure(model: PreTrainedModel) -> dict[str, str]:
    layers = range(len(get_layers(model)))
    readable = [
        Hookpoint(layer, "resid_post")
        for layer in layers
        if _allows(model, Hookpoint(layer, "resid_post"))
    ]
    columns = {}
    for site in SITES:
        allowed = [layer for layer in layers if _allows(model, Hookpoint(layer, site))]
        columns[site] = YES if len(allowed) == len(layers) else _list_layers(allowed)
    hookpoint = readable[len(readable) // 2]
    measured = packing.measure_packings(model, [hookpoint], SEQ_LEN)
    fits = [name for name in PACKINGS if measured[name][0]]
    columns["documents"] = PACKINGS[fits[0]] if fits else "refused"
    columns["left padding"] = YES if checks.measure_basics(model).is_left_paddable else NO
    columns["edit"] = YES if edits_act_as_expected(model, hookpoint) else NO
    has_equal_tokens = _succeeds(lambda: require_equal_tokens(model, hookpoint))
    columns["edit with a cache"] = YES if has_equal_tokens else NO
    columns["lens"] = YES if _succeeds(lambda: checks.require_lens(model)) else NO
    columns["scores"] = YES if _succeeds(lambda: checks.require_logits(model)) else NO
    columns["note"] = ""
    return columns


def edits_act_as_expected(model: PreTrainedModel, hookpoint: Hookpoint) -> bool:
    """Return whether later layers read an edited stream, and a null edit changes nothing."""
    ids = checks.random_ids(model, 12)[None]
    after = Hookpoint(len(get_layers(model)) - 1, "resid_post")
    clean = read(model, [hookpoint, after], ids)
    shift = torch.ones(clean[hookpoint].shape[-1])
    with apply_edits(model, {hookpoint: lambda acts: acts + 0}):
        same = read(model, [after], ids)[after]
    with apply_edits(model, {hookpoint: lambda acts: acts + shift}):
        moved = read(model, [hookpoint, after], ids)
    is_seen = torch.allclose(moved[hookpoint], clean[hookpoint] + shift, atol=1e-5)
    goes_on = hookpoint == after or not torch.allclose(moved[after], clean[after], atol=1e-3)
    return torch.equal(same, clean[after]) and is_seen and goes_on


def require_equal_tokens(model: PreTrainedModel, hookpoint: Hookpoint, n_new: int = 6) -> None:
    """Require the same tokens of generation under an edit with a cache and without."""
    ids = random_ids(model, 8)[None]
    shift = torch.randn(
        model.config.get_text_config(decoder=True).hidden_size,
        generator=torch.Generator().manual_seed(0),
    )

    def generate(use_cache: bool) -> Tensor:
        with apply_edits(model, {hookpoint: lambda acts: acts + shift}):
            return model.generate(  # pyright: ignore
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=n_new,
                min_new_tokens=n_new,
                do_sample=False,
                use_cache=use_cache,
                pad_token_id=0,
            )

    if not torch.equal(generate(True), generate(False)):
        raise UserError("a cache changes what is generated")


def _allows(model: PreTrainedModel, hookpoint: Hookpoint) -> bool:
    return _succeeds(lambda: check_site(model, hookpoint))


def _succeeds(check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception:
        return False
    return True


def _list_layers(layers: list[int]) -> str:
    return f"layers {', '.join(map(str, layers))}" if layers else NO


def _first_line(error: BaseException) -> str:
    text = " ".join((str(error).splitlines() or [""])[0].split())
    return re.sub(r"[|`]", "", text)[:120] or type(error).__name__
