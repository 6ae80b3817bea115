"""Which activations, losses and constraints go together, chosen as on the command line."""

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.losses import Term
from crosscoder.losses.l0 import L0
from crosscoder.training.compatibility import check_compatibility, read_requirements
from tests.helpers.configs import activation_of, choices, composed
from tests.helpers.partners import built


def check_choices(
    activation: str, losses: list[str], constraints: list[str] = (), l0_target: float | None = None
) -> None:
    """Check `activation=… loss=[…] constraint=[…] l0_target=…`."""
    check_compatibility(
        activation_of(activation),
        built("loss", *losses),
        built("constraint", *constraints),
        l0_target,
    )


SENSIBLE = [
    ("topk", ["squared"], [], None),
    ("batch_topk", ["unsquared", "auxk"], [], None),
    ("batch_topk", ["reconstruction", "l1"], [], None),
    ("topk", ["squared", "tanh"], [], None),
    ("topk", ["squared", "covariance"], [], None),
    ("topk", ["matryoshka", "auxk"], [], None),
    ("relu", ["squared", "l1"], [], None),
    ("relu", ["matryoshka", "tanh"], [], 8.0),
    ("jumprelu", ["squared", "l0"], [], None),
    ("jumprelu", ["squared", "l1"], [], 8.0),
    ("jumprelu", ["squared", "tanh", "pre_act"], [], 8.0),
    ("gated", ["squared", "gate"], [], None),
    ("gated", ["unsquared", "gate", "l1"], [], 8.0),
    ("topk", ["squared"], ["partition"], None),
    ("batch_topk", ["squared", "auxk", "delta"], ["shared_latents"], None),
    ("relu", ["squared", "l1"], ["tied"], 8.0),
    ("topk", ["squared", "delta"], ["decoupled"], None),
    ("jumprelu", ["squared", "l0"], ["tied"], None),
    ("gated", ["squared", "gate"], ["decoupled"], None),
]


@pytest.mark.parametrize(("activation", "losses", "constraints", "l0_target"), SENSIBLE)
def test_sensible_combinations_pass(activation, losses, constraints, l0_target):
    check_choices(activation, losses, constraints, l0_target)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_published_setting_makes_sense(name):
    config = composed(f"experiment={name}")
    activation, losses, constraints = (
        instantiate(config[part], _convert_="all") for part in ("activation", "loss", "constraint")
    )
    check_compatibility(activation, losses, constraints, config.l0_target)


@pytest.mark.parametrize("losses", [[], ["auxk"], ["l1"], ["covariance", "delta"]])
def test_a_loss_needs_a_reconstruction_error(losses):
    with pytest.raises(
        UserError,
        match=r"no loss term measures the reconstruction error, found .*: "
        r"add squared, unsquared, reconstruction or matryoshka",
    ):
        check_choices("topk", losses)


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "gated"])
@pytest.mark.parametrize("losses", [["squared"], ["unsquared", "auxk"], ["matryoshka"]])
def test_an_activation_that_needs_a_penalty_is_refused_without_one(activation, losses):
    with pytest.raises(
        UserError,
        match=rf"{activation} is sparse only with a sparsity penalty, and none is among the losses",
    ):
        check_choices(activation, losses)


def test_a_pull_on_thresholds_is_no_penalty():
    with pytest.raises(
        UserError,
        match=r"sparse only with a sparsity penalty, .* losses reconstruction, pre_act: add",
    ):
        check_choices("jumprelu", ["squared", "pre_act"])


@pytest.mark.parametrize("activation", ["topk", "batch_topk"])
def test_an_l0_target_needs_a_penalty(activation):
    with pytest.raises(
        UserError,
        match=r"l0_target steers a sparsity penalty, .* among the losses reconstruction, auxk$",
    ):
        check_choices(activation, ["squared", "auxk"], l0_target=8.0)


@pytest.mark.parametrize("activation", ["topk", "batch_topk"])
@pytest.mark.parametrize("penalty", ["l1", "tanh"])
def test_an_l0_target_is_refused_where_k_fixes_the_l0(activation, penalty):
    with pytest.raises(
        UserError, match=f"l0_target .*activation {activation} fixes how many .*: set k"
    ):
        check_choices(activation, ["squared", penalty], l0_target=8.0)


@pytest.mark.parametrize(
    ("activation", "losses", "refused", "needed", "suggested"),
    [
        ("topk", ["squared", "l0"], "l0", "thresholds", "jumprelu"),
        ("batch_topk", ["squared", "pre_act"], "pre_act", "thresholds", "jumprelu"),
        ("relu", ["squared", "l1", "pre_act"], "pre_act", "thresholds", "jumprelu"),
        ("gated", ["squared", "gate", "l0"], "l0", "thresholds", "jumprelu"),
        ("relu", ["squared", "gate"], "gate", "gates", "gated"),
        ("topk", ["matryoshka", "gate"], "gate", "gates", "gated"),
        ("jumprelu", ["squared", "l0", "gate"], "gate", "gates", "gated"),
    ],
)
def test_a_loss_is_refused_without_the_parameters_that_it_trains(
    activation, losses, refused, needed, suggested
):
    message = (
        f"loss {refused} needs an activation with learnable {needed}; "
        rf"{activation} has none \(use activation={suggested}\)"
    )
    with pytest.raises(UserError, match=message):
        check_choices(activation, losses)


@pytest.mark.parametrize("losses", [["squared", "l1"], ["matryoshka", "tanh"]])
def test_gates_need_the_loss_that_trains_them(losses):
    with pytest.raises(
        UserError, match=r"gated needs a loss that trains its gates, and none is among the losses"
    ):
        check_choices("gated", losses)


@pytest.mark.parametrize(
    ("losses", "constraints"),
    [
        (["matryoshka"], ["partition"]),
        (["matryoshka"], ["shared_latents"]),
        (["matryoshka"], ["tied"]),
        (["matryoshka"], ["decoupled"]),
        (["squared"], ["tied", "decoupled"]),
        (["squared"], ["partition", "shared_latents"]),
        (["squared"], ["shared_latents", "tied"]),
        (["squared"], ["decoupled", "partition"]),
    ],
)
def test_two_that_assign_roles_to_the_same_latents_are_both_named(losses, constraints):
    one, other = [*losses, *constraints][-2:]
    with pytest.raises(
        UserError,
        match=f"{other} assigns roles to (all|the first) latents and {one} to .*: choose one",
    ):
        check_choices("topk", losses, constraints)


class Penalty:
    """A loss term outside of the package."""

    weight = 1.0
    requirements = Requirements(penalises=True)

    def __call__(self, ctx):
        raise AssertionError


def test_a_term_outside_of_the_package_states_its_own_requirements():
    assert isinstance(Penalty(), Term)
    losses = built("loss", "squared") | {"penalty": Penalty()}
    check_compatibility(activation_of("relu"), losses, {})


@pytest.mark.parametrize("requirements", [None, {"penalises": True}, "penalises"])
def test_a_term_without_requirements_is_refused(requirements):
    penalty = Penalty()
    penalty.requirements = requirements
    with pytest.raises(
        UserError, match=r"loss penalty \(Penalty\) does not state its requirements"
    ):
        read_requirements("loss penalty", penalty)


def test_a_misspelt_requirement_is_an_error():
    with pytest.raises(TypeError, match="penalizes"):
        Requirements(penalizes=True)


def test_one_term_measures_the_reconstruction_error():
    losses = built("loss", "squared", "matryoshka")
    with pytest.raises(UserError, match="reconstruction and matryoshka both measure"):
        check_compatibility(activation_of("topk"), losses, {})


@pytest.mark.parametrize("loss", ["unsquared", "reconstruction", "matryoshka"])
def test_the_covariance_of_errors_needs_the_squared_error(loss):
    with pytest.raises(UserError, match="loss covariance needs loss squared"):
        check_choices("topk", [loss, "covariance"])


def test_an_l0_target_is_set_in_one_place():
    losses = built("loss", "squared") | {"l0": L0(target=8.0)}
    with pytest.raises(UserError, match=r"l0_target and loss\.l0\.target set the same target"):
        check_compatibility(activation_of("jumprelu"), losses, {}, l0_target=8.0)


@pytest.mark.parametrize(
    ("activation", "losses", "constraints", "refused"),
    [
        ("topk", ["squared"], [], "activation topk"),
        ("batch_topk", ["squared", "l1"], [], "loss l1"),
        ("batch_topk", ["squared", "delta"], [], "loss delta"),
        ("batch_topk", ["squared"], ["partition"], "constraint partition"),
    ],
)
def test_latents_cannot_be_sharded_where_something_needs_all(
    activation, losses, constraints, refused
):
    with pytest.raises(UserError, match=f"{refused} needs all latents on one device"):
        check_compatibility(
            activation_of(activation),
            built("loss", *losses),
            built("constraint", *constraints),
            parallel="latents",
        )


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["activation=relu", "loss=[squared]"], "sparse only with a sparsity penalty"),
        (["constraint=[tied,decoupled]"], "choose one of them"),
        (["l0_target=8"], "l0_target steers a sparsity penalty"),
    ],
)
def test_a_recipe_refuses_combinations_that_cannot_train(settings, message):
    with pytest.raises(InstantiationException, match=message):
        instantiate(composed(*settings).recipe, _convert_="all")
