"""Settings inside a foreign crosscoder: those of the recipe pass, and nothing else."""

import pytest
from hydra.utils import instantiate

from crosscoder.errors import UserError
from crosscoder.training import read_settings
from crosscoder.training.plain import parse_setting
from tests.helpers.configs import composed

KNOWN = {"exclude": ["special"]}  # of a version that says what it left out


def read(*settings: str, **options) -> list[str]:
    return read_settings({"settings": list(settings), **KNOWN}, **options)


PASSING = [
    *(
        "n_latents=4096",
        "k=32",
        "train_tokens=3_000_000",
        "batch_size=1024",
        "lr=2e-3",
        "lr=.5",
        "seed=4294967295",
    ),
    *(
        "dead_after=0.05",
        "l0_target=null",
        "l0_target=32",
        "exclude=[]",
        "exclude=[special,outlier]",
    ),
    *(
        "activation=relu",
        "activation.start=2.0",
        "activation.score=concat",
        "loss=[squared,l1]",
        "loss=squared",
    ),
    *(
        "loss.l1.weight=-2.5",
        "loss.matryoshka.prefixes=[0.25,0.5,1.0]",
        "loss.reconstruction.by_source.chat=2.0",
    ),
    *(
        "constraint=[]",
        "constraint=[partition]",
        "constraint.partition.reads=all",
        "init.exclusive_fraction=0.4",
        "schedule.decay=0",
    ),
    *(
        "scale=none",
        "scale.target=100.0",
        "scale.centre=false",
        "optimizer.betas=[0.9,0.99]",
        "optimizer.fused=false",
    ),
    *(
        "experiment=ours",
        "debug=smoke",
        "trainer.precision=bf16-mixed",
        "trainer.gradient_clip_val=null",
    ),
    *("trainer.precision=32", "++trainer.gradient_clip_algorithm=norm"),
]


@pytest.mark.parametrize("setting", PASSING)
def test_what_shapes_a_crosscoder_passes_as_it_was_written(setting):
    assert read(setting) == [setting]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("loss=[squared, l1]", "loss=[squared,l1]"),
        ("exclude=['special', \"outlier\"]", "exclude=[special,outlier]"),
        ("activation='relu'", "activation=relu"),
        ("loss=[ squared ]", "loss=[squared]"),
        ("+trainer.gradient_clip_algorithm=value", "++trainer.gradient_clip_algorithm=value"),
    ],
)
def test_quotes_and_spaces_are_left_out(written, read_as):
    assert read(written) == [read_as]


LEFT_OUT = [
    *(
        "run=/etc/x",
        "run='/tmp/a,b=c [d]'",
        "harvest.root=/etc",
        "hydra.run.dir=/etc",
        "logger=wandb",
        "logger.mode=online",
    ),
    *(
        "data=hub",
        "data.paths=[/etc/passwd]",
        "models.lms.chat.adapter=evil/model",
        "eval=[splice]",
        "parallel=latents",
    ),
    *(
        "trainer.devices=4",
        "trainer.num_nodes=2",
        "trainer.strategy=ddp",
        "trainer.accelerator=cuda",
    ),
    *(
        "trainer.max_time=1",
        "+trainer.callbacks=[x]",
        "trainer.fast_dev_run=true",
        "trainer.limit_train_batches=0",
        "trainer.profiler=simple",
    ),
    *(
        "stage=harvest",
        "n_tokens=5",
        "sources=[base]",
        "layer=3",
        "+x={_target_:os.system}",
        "",
        "=",
        "resume=x",
    ),
]


@pytest.mark.parametrize("setting", LEFT_OUT)
def test_what_it_is_trained_on_and_where_is_left_out(setting):
    assert read(setting, "k=3") == ["k=3"]


REFUSED = [
    *(
        "n_latents=0",
        "n_latents=-4",
        "n_latents=1e6",
        "n_latents=1000000000",
        "n_latents=true",
        "n_latents=null",
    ),
    *(
        "n_latents=[4]",
        "k=0",
        "k=3.5",
        "k=1e3",
        "k=word",
        "k=",
        "train_tokens=0",
        "train_tokens=10000000000000",
    ),
    *(
        "batch_size=0",
        "batch_size=2000000",
        "batch_size=[3]",
        "seed=-1",
        "seed=4294967296",
        "seed=1.0",
    ),
    *(
        "lr=0",
        "lr=-1e-3",
        "lr=11",
        "lr=1e999",
        "lr=nan",
        "lr=inf",
        "lr=true",
        "lr=word",
        "lr=[1]",
        "lr=null",
    ),
    *(
        "dead_after=0",
        "dead_after=1.5",
        "l0_target=0",
        "l0_target=-1",
        "l0_target=1e300",
        "l0_target=true",
    ),
    *("exclude=special", "exclude=[unknown]", "exclude=[3]", "exclude=null", "exclude=true"),
    *(
        "activation.n_latents=100000000000",
        "activation.k=99999999999",
        "loss.l1.weight=1e30",
        "init.exclusive_fraction=nan",
    ),
    *(
        "optimizer.betas=[0.9]",
        "optimizer.betas=[0.9,1.0]",
        "optimizer.betas=0.9",
        "optimizer.betas=[a,b]",
    ),
    *(
        "optimizer.lr=0",
        "optimizer.lr=1e9",
        "trainer.precision=evil",
        "trainer.precision=8",
        "trainer.gradient_clip_val=-1",
    ),
    *(
        "trainer.gradient_clip_algorithm=other",
        "activation=3",
        "loss=[squared,3]",
        "loss=true",
        "init=x",
        "schedule=x",
    ),
    *("experiment=[1]", "init.exclusive_fraction=99999999999999", "loss.x.weight=[1,99999999999]"),
]


@pytest.mark.parametrize("setting", REFUSED)
def test_values_of_another_type_or_out_of_range_are_refused(setting):
    with pytest.raises(UserError, match="the crosscoder says it was trained with") as error:
        read("k=3", setting)
    assert "\n" not in str(error.value)


NO_SETTINGS = [
    *(
        "loss.x._target_=os.system",
        "+loss.x={_target_:os.system}",
        "~optimizer",
        "++loss.x.weight=3",
        "+experiment=ours",
        "optimizer._args_=[x]",
    ),
    *(
        "seed=${oc.env:HOME}",
        "k=$(touch x)",
        "experiment=../x",
        "experiment=/tmp/x",
        "loss={a:1}",
        "schedule={warmup:0.1}",
    ),
    *(
        "loss=[[squared]]",
        "loss=[squared",
        "loss=squared]",
        "loss=[,]",
        "k=3,4",
        "k=\x1b[31m3",
        "k=3\n",
        "k",
    ),
    *(
        "scale=a b",
        "activation=rélu",
        "loss=[squared]=x",
        "k='3",
        "k=" + "9" * 600,
        "activation=" + "a" * 600,
    ),
    *(
        "loss.\ud800=3",
        "trainer.default_root_dir=/tmp/x",
        "exclude=[[red]]",
        "init.exclusive_fraction=0x10",
    ),
]


@pytest.mark.parametrize("setting", NO_SETTINGS)
def test_what_is_not_plain_is_refused_in_one_printable_line(setting):
    with pytest.raises(UserError, match="the crosscoder says it was trained with") as error:
        read(setting)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_a_crosscoder_has_at_least_as_many_latents_as_its_settings_say():
    assert read("n_latents=64", most_latents=64) == ["n_latents=64"]
    with pytest.raises(UserError, match="n_latents is a whole number from 1 to 64"):
        read("n_latents=65", most_latents=64)


@pytest.mark.parametrize(
    "settings", ["k=3", 5, {"k": 3}, [["k=3"]], [None], ["k=3"] * 1000], ids=lambda s: str(s)[:20]
)
def test_settings_are_a_short_list_of_text(settings):
    with pytest.raises(UserError, match="settings"):
        read_settings({"settings": settings})


@pytest.mark.parametrize(
    "setting", [text for text in PASSING if text.partition("=")[0] not in ("experiment", "debug")]
)
def test_every_one_that_passes_is_understood_by_the_command_line(setting):
    """Read here as Hydra reads it."""
    choices = {"loss.l1": "loss=[squared,l1]", "loss.matryoshka": "loss=[matryoshka]"}
    choices |= {"constraint.partition": "constraint=[partition]"}
    before = [choice for part, choice in choices.items() if setting.startswith(part)]
    if setting.startswith(("loss.reconstruction.by_source", "optimizer.fused")):
        setting = f"++{setting}"
    made = composed(*before, setting)
    plain = parse_setting(setting)
    assert plain is not None
    node = made
    if plain.key not in ("activation", "loss", "constraint", "scale", "optimizer"):
        for step in plain.key.split("."):
            node = node[step]
        assert node == plain.value or str(node) == str(plain.value)


def test_a_recipe_of_the_default_s_settings_is_the_default():
    settings = read("k=3", "n_latents=64", "loss=[squared, auxk]", "trainer.devices=8")
    recipe = instantiate(composed(*settings).recipe, _convert_="all")
    assert (recipe.n_latents, recipe.activation.k, sorted(recipe.losses)) == (
        64,
        3,
        ["auxk", "reconstruction"],
    )
    assert recipe.trainer.keywords["devices"] == 1


def test_settings_of_the_last_version_get_their_new_names():
    old = ["init.own=0.4", "init.reads=difference"]
    new = ["init.exclusive_fraction=0.4", "init.exclusive_encoder=difference"]
    assert read(*old) == read(*new)
    recipe = instantiate(composed(*read(*old)).recipe, _convert_="all")
    assert recipe.init.exclusive_fraction == 0.4
    assert recipe.init.exclusive_encoder == "difference"
