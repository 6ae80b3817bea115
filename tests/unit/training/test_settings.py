"""Impossible settings are refused in one line that names the setting, before a run starts."""

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from crosscoder.errors import UserError
from crosscoder.training import check_request
from tests.helpers.configs import composed

pytestmark = pytest.mark.usefixtures("unchecked")

RECIPES = [
    *(
        ("k=5000", "k=5000 .* n_latents=4096"),
        ("k=true", "k is a whole"),
        ("k=0", "k is a whole"),
        ("k=2.5", "k is a"),
    ),
    *(("k=abc", "k is a whole"), ("k=-3", "k is a whole"), ("k=null", "k is a whole")),
    *(
        ("n_latents=1e3", "n_latents is a whole number"),
        ("n_latents=0", "n_latents"),
        ("n_latents=true", "n_latents"),
    ),
    *(
        ("train_tokens=nan", "train_tokens"),
        ("train_tokens=inf", "train_tokens"),
        ("train_tokens=-5", "train_tokens"),
    ),
    *(
        ("train_tokens=3e6", "write 3000000"),
        ("train_tokens=10", "less than one batch"),
        ("train_tokens=abc", "train_"),
    ),
    *(
        ("batch_size=0", "batch_size is a whole"),
        ("batch_size=true", "batch_size"),
        ("batch_size=-1", "batch_size"),
    ),
    *(
        ("batch_size=512.0", "batch_size"),
        ("lr=nan", "lr is a number above 0"),
        ("lr=inf", "lr is"),
        ("lr=0", "lr is"),
    ),
    *(
        ("lr=-1e-3", "lr is"),
        ("lr=abc", "lr is"),
        ("lr=true", "lr is"),
        ("dead_after=0", "dead_after"),
    ),
    *(
        ("dead_after=nan", "dead_after"),
        ("dead_after=-1", "dead_after"),
        ("dead_after=2", "dead_after"),
    ),
    *(
        ("seed=abc", "seed is a whole"),
        ("seed=1.5", "seed is a whole"),
        ("seed=-1", "seed is"),
        ("seed=true", "seed is"),
    ),
    *(
        ("seed=5_000_000_000", "seed is a whole"),
        ("exclude=[nonsense]", "nonsense"),
        ("exclude=special", "exclude is"),
    ),
    *(("exclude=[plain,chat,template]", "leaves no token"), ("exclude=null", "exclude is a list")),
    *(
        ("activation.start=0", "start"),
        ("activation.start=nan", "start"),
        ("activation.anneal=2", "anneal"),
    ),
    *(
        ("activation.decay=1", "decay"),
        ("activation.start=0.001", "no latent active"),
        ("init.decoder_norm=0", "norm"),
    ),
    *(
        ("init.encoder_scale=nan", "encoder_scale"),
        ("init.exclusive_fraction=nan", "init.exclusive_fraction"),
        ("schedule.warmup=-1", "warmup"),
    ),
    *(
        ("schedule.decay=nan", "decay"),
        ("loss.auxk.weight=nan", "auxk.weight"),
        ("loss.auxk.weight=-1", "auxk.weight"),
    ),
    *(("loss.reconstruction.weight=0", "weight"), ("loss.reconstruction.weight=abc", "weight")),
    *(
        ("+loss.reconstruction.by_source.chat=nan", "by_source.chat"),
        ("optimizer.betas=[2,3]", "beta"),
    ),
    *(("+optimizer.nonsense=1", "nonsense"), ("l0_target=nan", "l0_target is positive")),
    ("l0_target=9999", "more than there are"),
]


@pytest.mark.parametrize(("setting", "message"), RECIPES)
def test_a_recipe_that_makes_no_sense_is_refused(setting, message):
    with pytest.raises((InstantiationException, UserError), match=message) as refused:
        instantiate(composed(setting).recipe, _convert_="all")
    cause = (
        refused.value.__cause__
        if isinstance(refused.value, InstantiationException)
        else refused.value
    )
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    assert isinstance(cause, UserError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            (["activation=relu", f"loss=[squared,{name}]", f"loss.{name}.weight=nan"], "weight")
            for name in ("l1", "tanh")
        ),
        (["activation=relu", "loss=[squared,l1]", "loss.l1.warmup=2"], "warmup"),
        (["activation=relu", "loss=[squared,tanh]", "loss.tanh.c=0"], "tanh.c"),
        (
            ["activation=jumprelu", "loss=[squared,l0]", "loss.l0.target=nan"],
            r"loss\.l0\.target is a positive number",
        ),
        (["activation=jumprelu", "loss=[squared,l0]", "activation.initial=nan"], "are positive"),
        (["activation=gated", "loss=[squared,gate]", "loss.gate.sparsity=-1"], "sparsity"),
        (["loss=[squared,covariance]", "loss.covariance.weight=nan"], "covariance"),
        (["loss=[matryoshka]", "loss.matryoshka.prefixes=[nan,1]"], "prefixes"),
        (["constraint=[partition]", "constraint.partition.exclusive=nan"], "exclusive"),
        (["constraint=[shared_latents]", "constraint.shared_latents.discount=nan"], "discount"),
        (["constraint=[tied]", "constraint.tied.eta=nan"], "eta"),
    ],
)
def test_parts_that_make_no_sense_are_refused(settings, message):
    with pytest.raises((InstantiationException, UserError), match=message):
        instantiate(composed(*settings).recipe, _convert_="all")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *(
            ("stage=nonsense", "stage is all or harvest"),
            ("stage=true", "stage"),
            ("layer=abc", "layer is a whole"),
        ),
        *(
            ("layer=-1", "layer is"),
            ("layer=1.5", "layer is"),
            ("models.layer=x", "layer is"),
            ("seed=abc", "seed is"),
        ),
        *(
            ("n_tokens=0", "n_tokens is a whole"),
            ("n_validation=0", "n_validation"),
            ("n_heldout=-1", "n_heldout"),
        ),
        *(
            ("n_tokens=1e6", "write 1000000"),
            ("n_tokens=nan", "n_tokens"),
            ("n_heldout=true", "n_heldout"),
        ),
        *(
            ("hookpoints=[]", "hookpoints"),
            ("hookpoints=resid_post.1", "hookpoints"),
            ("hookpoints=[nonsense.1]", "SITE"),
        ),
        *(
            ("hookpoints=[resid_post.1,resid_post.1]", "twice"),
            ("sources=[]", "sources"),
            ("sources=base", "sources"),
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(setting, message):
    with pytest.raises(UserError, match=message):
        check_request(composed(setting, "debug=smoke"))


def test_the_default_request_makes_sense():
    check_request(composed())
    check_request(composed("debug=smoke", "sources=[chat-base]"))
