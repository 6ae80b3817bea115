"""Training on planted data needs no transformers: these imports take seconds and much memory."""

import subprocess
import sys

import pytest

ABSENT = """
import sys
for name in ("transformers", "datasets", "peft"):
    assert name not in sys.modules, name
"""
NAMES = """
import crosscoder.data.outliers
import crosscoder.data.synthetic.nulls
import crosscoder.lm
from crosscoder.data import Harvest, Mixing, Scale, Splits, Store, Stored
"""
PLANTED = """
import sys
from itertools import islice
from hydra.utils import instantiate

data = instantiate(
    {"_target_": "crosscoder.data.synthetic.planted.Planted", "width": 8, "shared": 4}
)
harvest = instantiate({"_target_": "crosscoder.data.Harvest", "root": sys.argv[1]})
scale = instantiate({"_target_": "crosscoder.data.Scale"})
sizes = {"train": 200, "validation": 50, "heldout": 50}
assert data.get_sources(None, [], None).names == ("base", "chat")
splits = data.make_splits(None, [], None, harvest, sizes)
scale.fit(splits.train, splits.sources)

from crosscoder.data import Mixing

batches = Mixing(splits.train, splits.sources).iter_batches(20)
assert [len(batch) for batch in islice(batches, 3)] == [20, 20, 20]
"""


@pytest.mark.long
@pytest.mark.parametrize("code", [NAMES, PLANTED], ids=["public names", "planted data"])
def test_transformers_and_datasets_are_not_imported(code, tmp_path):
    command = [sys.executable, "-c", code + ABSENT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["crosscoder.data", "crosscoder.lm"])
def test_all_public_names_can_be_imported(package):
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
