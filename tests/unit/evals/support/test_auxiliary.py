import pytest

from crosscoder.errors import NotApplicable
from crosscoder.evals import EvalContext
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.training import Recipe


def list_folders(context: EvalContext, name: str) -> list[str]:
    return sorted(folder.name for folder in (context.folder / "beside").glob(f"{name}-*"))


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """Collect the seeds of the crosscoders that are trained."""
    seeds: list[int] = []
    train = Recipe.train

    def collect(recipe: Recipe, *arguments, **options):
        seeds.append(recipe.seed)
        return train(recipe, *arguments, **options)

    monkeypatch.setattr(Recipe, "train", collect)
    return seeds


def test_a_crosscoder_that_was_trained_before_is_loaded(context, trainings, capsys):
    stores = context.open_stores()
    first = train_auxiliary(context, stores, "again", 1)
    assert "training 32 latents" in capsys.readouterr().err
    second = train_auxiliary(context, stores, "again", 1)
    assert "training" not in capsys.readouterr().err
    assert trainings == [1]
    assert first.W_dec.equal(second.W_dec)
    assert first.provenance["seconds"] == second.provenance["seconds"]


@pytest.mark.parametrize(
    ("seed", "settings"), [(2, {}), (1, {"train_tokens": 128}), (1, {"n_latents": 16})]
)
def test_another_seed_or_setting_trains_another_crosscoder(context, trainings, seed, settings):
    stores = context.open_stores()
    train_auxiliary(context, stores, "other", 1)
    before = list_folders(context, "other")
    trainings.clear()
    train_auxiliary(context, stores, "other", seed, **settings)
    assert trainings == [seed]
    after = list_folders(context, "other")
    assert set(before) < set(after)


def test_a_setting_of_none_changes_nothing(context):
    stores = context.open_stores()
    train_auxiliary(context, stores, "same", 1)
    train_auxiliary(context, stores, "same", 1, train_tokens=None)
    assert len(list_folders(context, "same")) == 1


def test_without_the_recipe_none_can_be_trained(context):
    bare = EvalContext(context.crosscoder, context.heldout, None)
    with pytest.raises(NotApplicable, match="the recipe of this crosscoder is unknown"):
        train_auxiliary(bare, (context.heldout, context.heldout), "x", 0)
