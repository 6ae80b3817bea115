import pytest

from crosscoder.core.activations import from_spec
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.errors import UserError
from tests.helpers.configs import activation_of, choices


@pytest.mark.parametrize("name", choices("activation"))
def test_every_activation_is_rebuilt_from_its_spec(name):
    activation = activation_of(name)
    back = from_spec(activation.spec())
    assert type(back) is type(activation)
    assert back.spec() == activation.spec()
    assert activation.spec()["name"].endswith(name)  # jumprelu is trained as learnt_jumprelu


def test_arguments_are_in_the_spec():
    activation = BatchTopK(k=3, start=3.0, anneal=0.5, decay=0.9)
    assert from_spec(activation.spec()).spec() == {
        "name": "batch_topk",
        "k": 3,
        "start": 3.0,
        "anneal": 0.5,
        "score": "sum",
        "decay": 0.9,
    }


@pytest.mark.parametrize(
    "name", ["os", "base", "__init__", "../sparse", "crosscoder.core.model", None, 3]
)
def test_only_modules_of_this_folder_can_be_named(name):
    with pytest.raises(UserError, match=r"unknown activation .*: expected one of batch_topk"):
        from_spec({"name": name})


def test_only_scalars_can_be_arguments():
    with pytest.raises(UserError, match="'topk' takes scalars only, not k"):
        from_spec({"name": "topk", "k": {"_target_": "os.system"}})


def test_wrong_arguments_are_named():
    with pytest.raises(UserError, match=r"activation 'topk': .*kk"):
        from_spec({"name": "topk", "k": 3, "kk": 3})
