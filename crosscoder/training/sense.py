"""Which activations, losses and constraints make sense together; said before anything is harvested or trained."""

from collections.abc import Mapping

from crosscoder.activations import Activation
from crosscoder.constraints import Constraint
from crosscoder.errors import UserError
from crosscoder.losses import Term


def check(
    activation: Activation,
    losses: Mapping[str, Term],
    constraints: Mapping[str, Constraint],
    l0_target: float | None = None,
    share: str = "tokens",
) -> None:
    """Refuse what would train nothing sensible.

    Raises:
        UserError: with the reason.
    """
    if share not in ("tokens", "latents"):
        raise UserError(f"processes share tokens or latents, not {share!r}")
    name = activation.spec()["name"].removeprefix("learnt_")
    given = f"among the losses {', '.join(losses)}"
    penalties = [key for key, term in losses.items() if getattr(term, "penalises", False)]
    if not {"reconstruction", "matryoshka"} & set(losses):
        raise UserError(
            "nothing asks for a reconstruction: loss needs one of squared, unsquared, reconstruction, matryoshka"
        )
    if {"reconstruction", "matryoshka"} <= set(losses):
        raise UserError("matryoshka stands in the place of a reconstruction: take one of them")
    if "covariance" in losses and getattr(losses.get("reconstruction"), "kind", None) != "squared":
        raise UserError("covariance goes with loss squared: beside another error it has no lower bound")
    if not activation.sparse and not penalties:
        raise UserError(f"activation {name} is sparse by a penalty only, and {given} there is none")
    if l0_target is not None and not penalties:
        raise UserError(f"l0_target steers a penalty, and {given} there is none")
    if l0_target is not None and any(getattr(losses[key], "target", None) for key in penalties):
        raise UserError("l0_target and loss.l0.target aim at the same: take one of them")
    if l0_target is not None and activation.sparse:
        raise UserError(f"l0_target steers a penalty, but activation {name} fixes how many latents are active: set k")
    for key, term in losses.items():
        needs = getattr(term, "needs", "")
        if needs and needs != activation.learns:
            raise UserError(f"loss {key} trains {needs}, which activation {name} has not")
    if activation.learns == "gates" and not any(getattr(term, "needs", "") == "gates" for term in losses.values()):
        raise UserError(f"activation {name} learns its gates from loss gate, and it is not {given}")
    if share == "latents":
        able = {f"activation {name}": activation.shares_latents} | {f"constraint {key}": False for key in constraints}
        able |= {f"loss {key}": getattr(term, "shares_latents", False) for key, term in losses.items()}
        if unable := [what for what, can in able.items() if not can]:
            raise UserError(f"{unable[0]} looks at all latents at once: it cannot be had with share=latents")
    parts = (*losses.items(), *constraints.items())
    claims = [(key, claim) for key, part in parts if (claim := getattr(part, "claims", ""))]
    if len(claims) > 1:
        (other, theirs), (key, claim), *_ = claims
        raise UserError(f"{key} gives a part to {claim}, {other} to {theirs}: take one of them")
