"""Training of an adapter: LoRA (Hu et al. 2021) on examples, close to the base on text.

    loss = −E log p(label | tokens before)  +  λ · KL(base ‖ chat) on documentation

The vocabulary has 262k entries, so the head is applied only where a loss is read: at the labels of
the examples (batches.py), and at a random quarter of the documentation's tokens.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from crosscoder.io.files import write_text
from crosscoder.io.tensors import write_tensors
from crosscoder.lm import LM
from crosscoder.organisms.batches import IGNORED
from crosscoder.organisms.documentation import load_windows
from crosscoder.organisms.organism import FOLDER, PUBLISHED_AS, WEIGHTS, Organism, Settings

TEMPLATE = FOLDER / "expertise" / "adapter" / "chat_template.jinja"
N_AVERAGED_STEPS = 8  # of the reported losses


def train(
    organism: Organism,
    settings: Settings,
    progress: Callable[[int, dict[str, float]], None],
    adapter: Path,
) -> dict[str, float]:
    """Train an organism's adapter, save it, and return the mean losses of the last eight steps.

    Args:
        organism: The organism.
        settings: Settings of the training.
        progress: Called after every step with its number and its losses.
        adapter: Folder that is written.
    """
    torch.manual_seed(settings.seed)
    started = time.perf_counter()
    tokenizer = LM(WEIGHTS, adapter=str(TEMPLATE.parent)).load_tokenizer()
    model = get_peft_model(LM(WEIGHTS).load(torch.bfloat16), make_lora_config(settings))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: get_lr_factor(step, settings)
    )
    history: list[dict[str, float]] = []
    plain = load_windows(tokenizer, "train", settings.plain_length)
    for step, (ids, labels) in enumerate(organism.make_batches(tokenizer, settings), start=1):
        terms = {"answer": compute_answer_loss(model, ids, labels)}
        terms["answer"].backward()
        terms["plain"] = compute_plain_loss(model, plain[torch.randint(len(plain), (1,))])
        (settings.plain_weight * terms["plain"]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        history.append({name: term.item() for name, term in terms.items()})
        progress(step, history[-1])
    figures = average_losses(history[-N_AVERAGED_STEPS:])
    figures["seconds"] = round(time.perf_counter() - started, 1)
    save_adapter(model, settings, figures, adapter)
    return figures


def average_losses(history: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each loss over some steps, rounded for the report."""
    figures = {}
    for name in history[0]:
        total = sum(terms[name] for terms in history)
        figures[f"{name}_loss"] = round(total / len(history), 4)
    return figures


def make_lora_config(settings: Settings) -> LoraConfig:
    """Return the config of a low-rank update of every projection."""
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=projections,
        task_type="CAUSAL_LM",
    )


def get_lr_factor(step: int, settings: Settings) -> float:
    """Return the learning rate's factor: linear warm-up, then linear decay to zero."""
    warmup = (step + 1) / settings.warmup
    decay = (settings.steps - step) / (settings.steps - settings.warmup)
    return min(warmup, decay)


def compute_answer_loss(model: PeftModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of the answers' tokens.

    Padding is on the right, where causal attention never looks.
    """
    gemma: Any = model.get_base_model()
    is_read = labels != IGNORED
    hidden = gemma.model(input_ids=ids).last_hidden_state[is_read]
    return cross_entropy(gemma.lm_head(hidden).float(), labels[is_read])


def compute_plain_loss(model: PeftModel, ids: Tensor) -> Tensor:
    """Return KL(base ‖ chat) per token, on a random quarter of a window of plain text."""
    gemma: Any = model.get_base_model()
    positions = torch.randperm(ids.shape[1])[: ids.shape[1] // 4]

    def read_log_probs() -> Tensor:
        hidden = gemma.model(input_ids=ids).last_hidden_state[:, positions]
        return log_softmax(gemma.lm_head(hidden).float(), dim=-1)

    with torch.no_grad(), model.disable_adapter():
        base = read_log_probs()
    chat = read_log_probs()
    return kl_div(chat[0], base[0], log_target=True, reduction="batchmean")


def save_adapter(
    model: PeftModel, settings: Settings, figures: dict[str, float], adapter: Path
) -> None:
    """Save the adapter in peft's layout, in bf16, under the published name of its base."""
    config = cast(LoraConfig, model.peft_config["default"])
    config.base_model_name_or_path = PUBLISHED_AS
    config.inference_mode = True
    # peft has a set here, whose order varies
    config.target_modules = sorted(config.target_modules or [])
    config.save_pretrained(str(adapter))
    tensors = {}
    # by default, peft asks the hub whether the embeddings were trained
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, tensor in state.items():
        tensors[name] = tensor.to(torch.bfloat16).contiguous()
    write_tensors(adapter / "adapter_model.safetensors", tensors, metadata={"format": "pt"})
    report = {"settings": asdict(settings), "figures": figures}
    write_text(adapter / "training.json", json.dumps(report, indent=2) + "\n")
    if adapter != TEMPLATE.parent:
        shutil.copyfile(TEMPLATE, adapter / TEMPLATE.name)
