"""Which activations, losses and constraints go together, chosen as on the command line."""

from functools import cache

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from crosscoder.errors import UserError
from crosscoder.losses import Term
from crosscoder.training.sense import check
from tests.configs import activation_of, choices, composed


@cache
def chosen(group: str, name: str) -> DictConfig:
    return composed(f"{group}=[{name}]")[group]


def parts(group: str, *names: str) -> dict:
    return {key: instantiate(part) for name in names for key, part in chosen(group, name).items()}


def say(activation: str, losses: list[str], constraints: list[str] = (), l0_target: float | None = None) -> None:
    """`activation=… loss=[…] constraint=[…] l0_target=…`, said to `check`."""
    check(activation_of(activation), parts("loss", *losses), parts("constraint", *constraints), l0_target)


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
def test_what_makes_sense_passes(activation, losses, constraints, l0_target):
    say(activation, losses, constraints, l0_target)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_published_setting_makes_sense(name):
    config = composed(f"experiment={name}")
    activation, losses, constraints = (
        instantiate(config[part], _convert_="all") for part in ("activation", "loss", "constraint")
    )
    check(activation, losses, constraints, config.l0_target)


@pytest.mark.parametrize("losses", [[], ["auxk"], ["l1"], ["covariance", "delta"]])
def test_something_must_ask_for_a_reconstruction(losses):
    with pytest.raises(
        UserError, match=r"asks for a reconstruction: .* squared, unsquared, reconstruction, matryoshka"
    ):
        say("topk", losses)


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "gated"])
@pytest.mark.parametrize("losses", [["squared"], ["unsquared", "auxk"], ["matryoshka"]])
def test_what_is_sparse_by_a_penalty_needs_one(activation, losses):
    with pytest.raises(
        UserError, match=rf"{activation} is sparse by a penalty only, and among the losses .* there is none"
    ):
        say(activation, losses)


def test_a_pull_on_thresholds_is_no_penalty():
    with pytest.raises(
        UserError, match=r"sparse by a penalty only, and among the losses reconstruction, pre_act there is none"
    ):
        say("jumprelu", ["squared", "pre_act"])


@pytest.mark.parametrize("activation", ["topk", "batch_topk"])
def test_an_l0_cannot_be_aimed_at_without_a_penalty(activation):
    with pytest.raises(
        UserError, match=r"l0_target steers a penalty, and among the losses reconstruction, auxk there is none"
    ):
        say(activation, ["squared", "auxk"], l0_target=8.0)


@pytest.mark.parametrize("activation", ["topk", "batch_topk"])
@pytest.mark.parametrize("penalty", ["l1", "tanh"])
def test_an_l0_cannot_be_aimed_at_where_k_fixes_it(activation, penalty):
    with pytest.raises(UserError, match=f"l0_target .*activation {activation} fixes how many .*: set k"):
        say(activation, ["squared", penalty], l0_target=8.0)


@pytest.mark.parametrize(
    ("activation", "losses", "message"),
    [
        ("topk", ["squared", "l0"], "loss l0 trains thresholds, which activation topk has not"),
        ("batch_topk", ["squared", "pre_act"], "loss pre_act trains thresholds, which activation batch_topk has not"),
        ("relu", ["squared", "l1", "pre_act"], "loss pre_act trains thresholds, which activation relu has not"),
        ("gated", ["squared", "gate", "l0"], "loss l0 trains thresholds, which activation gated has not"),
        ("relu", ["squared", "gate"], "loss gate trains gates, which activation relu has not"),
        ("topk", ["matryoshka", "gate"], "loss gate trains gates, which activation topk has not"),
        ("jumprelu", ["squared", "l0", "gate"], "loss gate trains gates, which activation .*jumprelu has not"),
    ],
)
def test_a_loss_is_refused_where_there_is_nothing_that_it_could_train(activation, losses, message):
    with pytest.raises(UserError, match=message):
        say(activation, losses)


@pytest.mark.parametrize("losses", [["squared", "l1"], ["matryoshka", "tanh"]])
def test_gates_need_what_they_learn_from(losses):
    with pytest.raises(UserError, match=r"gated learns its gates from loss gate, and it is not among the losses"):
        say("gated", losses)


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
def test_two_that_would_give_a_latent_different_parts_are_both_named(losses, constraints):
    one, other = [*losses, *constraints][-2:]
    with pytest.raises(UserError, match=f"{other} gives a part to (all|the first) latents, {one} to .*: take one"):
        say("topk", losses, constraints)


def test_a_term_of_ones_own_is_taken_by_its_word():
    class Mine:
        penalises, weight = True, 1.0

        def __call__(self, given):
            raise AssertionError

    assert isinstance(Mine(), Term)
    check(activation_of("relu"), parts("loss", "squared") | {"mine": Mine()}, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["activation=relu", "loss=[squared]"], "sparse by a penalty only"),
        (["constraint=[tied,decoupled]"], "take one of them"),
        (["l0_target=8"], "l0_target steers a penalty"),
    ],
)
def test_nonsense_is_refused_when_a_recipe_is_made(settings, message):
    with pytest.raises(InstantiationException, match=message):
        instantiate(composed(*settings).recipe, _convert_="all")
