"""Validate that an activation, loss terms and constraints can be combined, before harvesting.

Each of them states its `requirements` (core/requirements.py); no variant is known here by its name.
"""

from collections.abc import Mapping
from typing import Any

from crosscoder.constraints import Constraint
from crosscoder.core import activations
from crosscoder.core.activations import Activation
from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses import Term

RequirementsByKey = dict[str, Requirements]


def check_compatibility(
    activation: Activation,
    losses: Mapping[str, Term],
    constraints: Mapping[str, Constraint],
    l0_target: float | None = None,
    parallel: str = "tokens",
) -> None:
    """Refuse combinations that cannot train anything sensible.

    Raises:
        UserError: The combination is refused; the message gives the reason.
    """
    if parallel not in ("tokens", "latents"):
        raise UserError(f"parallel is tokens or latents, not {parallel!r}")
    name = activations.display_name(activation)
    own = read_requirements(f"activation {name}", activation)
    terms = {key: read_requirements(f"loss {key}", term) for key, term in losses.items()}
    bounds = {
        key: read_requirements(f"constraint {key}", constraint)
        for key, constraint in constraints.items()
    }
    _check_reconstruction(terms)
    _check_penalty(name, own, terms)
    _check_l0_target(name, own, terms, l0_target)
    _check_learnable(name, own, terms)
    if parallel == "latents":
        _check_sharding(name, own, terms, bounds)
    _check_claims(terms | bounds)


def read_requirements(label: str, choice: Any) -> Requirements:
    """Return the `requirements` of an activation, a loss term or a constraint.

    Raises:
        UserError: It has none, or they are of another type.
    """
    requirements = getattr(choice, "requirements", None)
    if not isinstance(requirements, Requirements):
        raise UserError(
            f"{label} ({type(choice).__name__}) does not state its requirements: give its class an "
            "attribute requirements = Requirements(...) from crosscoder.core.requirements"
        )
    return requirements


def _check_reconstruction(terms: RequirementsByKey) -> None:
    reconstructing = [key for key, term in terms.items() if term.reconstructs]
    if not reconstructing:
        raise UserError(
            f"no loss term measures the reconstruction error, found {_list(terms)}: "
            "add squared, unsquared, reconstruction or matryoshka to loss=[...]"
        )
    if len(reconstructing) > 1:
        raise UserError(
            f"losses {' and '.join(reconstructing)} both measure the reconstruction error: "
            "choose one of them"
        )
    has_squared_error = terms[reconstructing[0]].squared_error
    for key, term in terms.items():
        if term.needs_squared_error and not has_squared_error:
            raise UserError(
                f"loss {key} needs loss squared: with another reconstruction error it has no "
                "lower bound"
            )


def _check_penalty(name: str, own: Requirements, terms: RequirementsByKey) -> None:
    if own.needs_penalty and not _penalties(terms):
        raise UserError(
            f"activation {name} is sparse only with a sparsity penalty, and none is among the "
            f"losses {_list(terms)}: add one, e.g. l1"
        )


def _check_l0_target(
    name: str, own: Requirements, terms: RequirementsByKey, l0_target: float | None
) -> None:
    if l0_target is None:
        return
    penalties = _penalties(terms)
    if not penalties:
        raise UserError(
            f"l0_target steers a sparsity penalty, and none is among the losses {_list(terms)}"
        )
    for key in penalties:
        if terms[key].has_l0_target:
            raise UserError(f"l0_target and loss.{key}.target set the same target: choose one")
    if not own.needs_penalty:
        raise UserError(
            f"l0_target steers a sparsity penalty, but activation {name} fixes how many latents "
            "are active: set k"
        )


def _check_learnable(name: str, own: Requirements, terms: RequirementsByKey) -> None:
    for key, term in terms.items():
        if term.needs and term.needs != own.learnable:
            raise UserError(
                f"loss {key} needs an activation with learnable {term.needs}; {name} has none"
                f"{_suggest_activation(term.needs)}"
            )
    trained = {term.needs for term in terms.values()}
    if own.needs_loss and own.learnable not in trained:
        raise UserError(
            f"activation {name} needs a loss that trains its {own.learnable}, and none is among "
            f"the losses {_list(terms)}"
        )


def _suggest_activation(learnable: str) -> str:
    """Return a hint to the package's activations with these parameters, if there are any."""
    names = [
        activations.config_name(name)
        for name, kind in activations.find_activations().items()
        if kind.requirements.learnable == learnable
    ]
    if not names:
        return ""
    return f" (use activation={' or activation='.join(names)})"


def _check_sharding(
    name: str, own: Requirements, terms: RequirementsByKey, bounds: RequirementsByKey
) -> None:
    labelled = {f"activation {name}": own}
    labelled |= {f"constraint {key}": bound for key, bound in bounds.items()}
    labelled |= {f"loss {key}": term for key, term in terms.items()}
    for label, requirements in labelled.items():
        if not requirements.supports_latent_sharding:
            raise UserError(
                f"{label} needs all latents on one device and does not support parallel=latents"
            )


def _check_claims(choices: RequirementsByKey) -> None:
    claiming = [(key, choice.claims) for key, choice in choices.items() if choice.claims]
    if len(claiming) > 1:
        (one, one_claim), (other, other_claim) = claiming[:2]
        raise UserError(
            f"{other} assigns roles to {other_claim} and {one} to {one_claim}: choose one of them"
        )


def _penalties(terms: RequirementsByKey) -> list[str]:
    return [key for key, term in terms.items() if term.penalises]


def _list(terms: RequirementsByKey) -> str:
    return ", ".join(terms) or "none"
