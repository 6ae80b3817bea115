"""Checks of the settings of a run. They fail before anything is harvested or trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from crosscoder.core.activations import Activation
from crosscoder.core.inputs import require_latents
from crosscoder.core.types import Kind
from crosscoder.data.exclude import parse_kinds
from crosscoder.errors import UserError, first_line
from crosscoder.lm.hooks import Hookpoint
from crosscoder.values import is_finite, require_number, require_whole

STAGES = ("all", "harvest")
N_SEEDS = 2**32  # allowed by NumPy
NESTED = ("recipe", "init", "schedule", "analysis", "harvest")  # keys with further keys
SIZES = ("n_tokens", "n_validation", "n_heldout")


def check_request(settings: Mapping[str, Any]) -> None:
    """Check the settings of train.py that do not belong to the recipe.

    Raises:
        UserError: A setting is refused; the message names it, its range and its value.
    """
    if settings["stage"] not in STAGES:
        raise UserError(f"stage is {' or '.join(STAGES)}, not {settings['stage']!r}")
    require_seed(settings["seed"])
    for name in NESTED:
        if name in settings and not isinstance(settings[name], Mapping):
            raise UserError(
                f"{name} is a group of settings, {name}.KEY=VALUE each, not {settings[name]!r:.80}"
            )
    for name in SIZES:
        require_whole(name, settings[name])
    layers = {"layer": settings["layer"], "models.layer": settings["models"].get("layer")}
    for name, layer in layers.items():
        if layer is not None:
            require_whole(name, layer, least=0)
    _require_names("hookpoints", settings["hookpoints"])
    for hookpoint in settings["hookpoints"]:
        Hookpoint.parse(hookpoint)
    if settings["sources"] is not None:
        _require_names("sources", settings["sources"])


def require_seed(seed: Any) -> None:
    """Refuse a seed that a random number generator does not accept."""
    require_whole("seed", seed, least=0, most=N_SEEDS - 1)


def check_sizes(n_latents: Any, train_tokens: Any, batch_size: Any, activation: Activation) -> None:
    """Refuse sizes of the dictionary or the training that cannot work."""
    require_whole("n_latents", n_latents)
    require_whole("train_tokens", train_tokens)
    require_whole("batch_size", batch_size)
    if train_tokens < batch_size:
        raise UserError(
            f"train_tokens={train_tokens:,} is less than one batch: batch_size={batch_size:,}"
        )
    require_latents(activation.arguments(), n_latents)


def check_l0_target(l0_target: Any, n_latents: int) -> None:
    """Refuse a number of active latents that is not possible."""
    if l0_target is None:
        return
    if not (is_finite(l0_target) and l0_target > 0):
        raise UserError(f"l0_target is positive, not {l0_target!r}")
    if l0_target > n_latents:
        raise UserError(
            f"l0_target={l0_target} active latents are more than there are: n_latents={n_latents}"
        )


def check_exclude(exclude: Any) -> None:
    """Refuse unknown kinds of tokens, or kinds that leave no token."""
    parse_kinds(exclude)
    if set(Kind.NAMES[: Kind.SPECIAL]) <= set(exclude):
        raise UserError(f"exclude=[{','.join(exclude)}] leaves no token to train on")


def check_optimizer(optimizer: Callable[[Iterable[Tensor]], Optimizer]) -> None:
    """Refuse an optimizer that cannot be built, or whose learning rate is not positive."""
    keywords = getattr(optimizer, "keywords", {})  # conf/optimizer makes a partial
    if "lr" in keywords:
        require_number("lr", keywords["lr"], above=0)
    try:
        optimizer([torch.zeros(1, requires_grad=True)])
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"the optimizer cannot be built: {first_line(error)}") from error


def check_schedule(schedule: Callable[[float], float]) -> None:
    """Refuse a schedule of the learning rate that returns negative factors or fails."""
    for progress in (0.0, 0.5, 1.0):
        try:
            factor = schedule(progress)
        except Exception as error:  # the schedule may be the user's
            raise UserError(
                f"the schedule fails at progress {progress}: {first_line(error)}"
            ) from error
        require_number(f"the schedule's factor at progress {progress}", factor, least=0)


def _require_names(name: str, value: Any) -> None:
    """Refuse a value that is not a list of different names."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not value or not all(isinstance(item, str) for item in value):
        raise UserError(f"{name} is a list of one or more names, not {value!r}")
    if len(set(value)) < len(value):
        raise UserError(f"{name} contains a name twice: {', '.join(value)}")
