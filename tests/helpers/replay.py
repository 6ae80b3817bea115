"""Edited generation without optimisation: every token reads the whole row in all models."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from crosscoder.core.activations.topk import TopK
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.editing.lockstep import Mode
from crosscoder.lm.loading.tiny import TinyLM

OPENING = "<start_of_turn>model\n"


def pair_of(config: PretrainedConfig, folder: Path, template: bool = True) -> Pair:
    """Two random models of an architecture, the second a drifted copy, with TinyLM's tokenizer."""
    tokenizer = TinyLM(0).load_tokenizer()
    if not template:
        tokenizer.chat_template = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name in ("base", "chat"):
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
            for weight in model.parameters():
                weight.data += 0.2 * weight.data.std() * torch.randn_like(weight)
    lms = {name: {"weights": str(folder / name)} for name in ("base", "chat")}
    return Pair(lms, layer=1, dtype="float32", device="cpu", residency="together")


def crosscoder_of(pair: Pair, hookpoints: Sequence[str]) -> Crosscoder:
    """Random weights large enough that every edit shows."""
    made = Crosscoder(pair.sources(hookpoints), 64, TopK(8), seed=3).fold()
    with torch.no_grad():
        made.W_dec *= 4
    return made


def positions_of(pair: Pair, positions: str, row: Tensor, n_prompt: int) -> Tensor:
    """Return which tokens of a row [time] are meant, counted by hand."""
    special = set(pair.tokenizer.all_special_ids)
    begins = n_prompt
    if pair.tokenizer.chat_template:
        opening = pair.tokenizer(OPENING, add_special_tokens=False)["input_ids"]
        for start in range(n_prompt - len(opening) + 1):
            if row[start : start + len(opening)].tolist() == opening:
                begins = start + len(opening)
    chosen = []
    for at, token in enumerate(row.tolist()):
        meant = {
            "all": True,
            "prompt": at < begins,
            "response": at >= begins,
            "last": at == begins - 1,
            "first-2": begins <= at < begins + 2,
        }[positions]
        chosen.append(meant and token not in special)
    return torch.tensor(chosen)


def edited_logits(
    pair: Pair, name: str, change: Intervention, row: Tensor, where: Tensor, mode: Mode = "paired"
) -> Tensor:
    """Return logits [time, vocabulary] of an edited model on one row [time], with plain hooks."""
    clean = {source.name: _read(pair, source, row) for source in change.sources}
    handles = []
    model = pair[name]
    for source in change.sources:
        if source.lm != name:
            continue
        if mode == "solo" and not change.is_local:
            acts = change.complete(clean[source.name], source.name)
        else:
            acts = torch.cat([clean[other.name] for other in change.sources], dim=-1)
        new = change(acts)[:, change.sources.slice(source.name)]
        hookpoint = Hookpoint.parse(source.hookpoint)
        module = hookpoint.get_module(model)

        def put(acts: Tensor, new: Tensor = new) -> Tensor:
            return torch.where(where[None, :, None], new[None], acts)

        if hookpoint.site == "attn_z":
            handles.append(
                module.register_forward_pre_hook(lambda _, args, put=put: (put(args[0]), *args[1:]))
            )
        else:
            handles.append(
                module.register_forward_hook(lambda _, args, out, put=put: _put_first(put, out))
            )
    with torch.no_grad():
        logits = model(row[None], use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def replay(
    pair: Pair,
    name: str,
    change: Intervention,
    positions: str,
    prompt: Sequence[int],
    n_new: int,
    mode: Mode = "paired",
) -> SimpleNamespace:
    """Return greedy tokens [time] after one prompt, and their logits [n_new, vocabulary]."""
    row = torch.tensor(prompt)
    chosen_by = []
    for _ in range(n_new):
        where = positions_of(pair, positions, row, len(prompt))
        logits = edited_logits(pair, name, change, row, where, mode)[-1]
        chosen_by.append(logits)
        row = torch.cat([row, logits.argmax()[None]])
    return SimpleNamespace(tokens=row[len(prompt) :], logits=torch.stack(chosen_by))


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, each [batch, time], padded on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _read(pair: Pair, source, row: Tensor) -> Tensor:
    """Return a source's activations [time, d_source] of an unedited model."""
    found: list[Tensor] = []
    hookpoint = Hookpoint.parse(source.hookpoint)
    module = hookpoint.get_module(pair[source.lm])
    if hookpoint.site == "attn_z":
        handle = module.register_forward_pre_hook(lambda _, args: found.append(args[0][0].clone()))
    else:
        handle = module.register_forward_hook(
            lambda _, args, out: found.append(
                (out[0] if isinstance(out, tuple) else out)[0].clone()
            )
        )
    with torch.no_grad():
        pair[source.lm](row[None], use_cache=False)
    handle.remove()
    return found[0].float()


def _put_first(put, out):
    return (put(out[0]), *out[1:]) if isinstance(out, tuple) else put(out)
