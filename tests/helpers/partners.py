"""Choices that must be combined with a choice, derived from the requirements that they state."""

from collections.abc import Iterable, Mapping
from functools import cache

from hydra.utils import instantiate
from omegaconf import DictConfig

from crosscoder.core.requirements import Requirements
from crosscoder.losses import Term
from tests.helpers.configs import activation_of, choices, composed


@cache
def _config(group: str, name: str) -> DictConfig:
    return composed(f"{group}=[{name}]")[group]


def built(group: str, *names: str) -> dict:
    """Return the objects that `group=[names]` chooses, by key."""
    objects = {}
    for name in names:
        for key, config in _config(group, name).items():
            objects[key] = instantiate(config)
    return objects


def term_of(loss: str) -> Term:
    """Return the loss term of a YAML file."""
    (term,) = built("loss", loss).values()
    return term


def activation_for(needed: str) -> str | None:
    """Return the activation with these learnable parameters, or None if nothing is needed."""
    if not needed:
        return None
    for name in choices("activation"):
        if activation_of(name).requirements.learnable == needed:
            return name
    raise AssertionError(f"no activation has {needed}")


def penalty_for(activation: Requirements) -> str:
    """Return a loss that makes an activation sparse, one that trains what it learns if possible."""
    fitting = [
        name
        for name in choices("loss")
        if term_of(name).requirements.penalises
        and term_of(name).requirements.needs in ("", activation.learnable)
    ]
    return max(fitting, key=lambda name: bool(term_of(name).requirements.needs))


def losses_with(chosen: Iterable[str], activation: Requirements) -> list[str]:
    """Return loss names, completed with those without which they or the activation are refused."""
    names = list(chosen)
    terms = {name: term_of(name).requirements for name in names}
    needs_squared = any(term.needs_squared_error for term in terms.values())
    has_reconstruction = any(term.reconstructs for term in terms.values())
    if needs_squared or not has_reconstruction:
        names = ["squared", *(name for name in names if not terms[name].reconstructs)]
    has_penalty = any(term.penalises for term in terms.values())
    is_trained = any(term.needs == activation.learnable for term in terms.values())
    if activation.needs_penalty and not (has_penalty and (is_trained or not activation.needs_loss)):
        names.append(penalty_for(activation))
    return names


def overrides_for(group: str, name: str, defaults: Mapping[str, list[str]]) -> dict[str, str]:
    """Return choices with which a choice trains: `{"loss": "[squared,l1]"}` for activation=relu."""
    activation = name if group == "activation" else "batch_topk"
    losses = defaults["loss"]
    if group == "loss":
        requirements = term_of(name).requirements
        activation = activation_for(requirements.needs) or activation
        losses = [*losses, name]
        if requirements.reconstructs:
            others = [loss for loss in losses if not term_of(loss).requirements.reconstructs]
            losses = [name, *others]
    losses = losses_with(dict.fromkeys(losses), activation_of(activation).requirements)
    return {"activation": activation, "loss": f"[{','.join(losses)}]"}
