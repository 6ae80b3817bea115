import pytest

from crosscoder.errors import UserError
from crosscoder.evals.support.stores import find_store, open_heldout
from crosscoder.io.run_dir import Run
from tests.helpers.small import random_acts, store_of


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "run")
    run.write_config("seed: 0\n")
    return run


def test_a_store_in_the_run_folder_moves_with_it(run, tmp_path):
    store_of(run.folder / "stores" / "heldout", {"base": random_acts(4, 3)}, [4])
    moved = Run(run.folder.rename(tmp_path / "moved"))
    assert len(open_heldout(moved, {"heldout": "stores/heldout"}, None, "moved")) == 4
    moved.crosscoder.mkdir()
    assert (
        len(
            open_heldout(
                Run(moved.crosscoder), {"heldout": "stores/heldout"}, None, "moved/crosscoder"
            )
        )
        == 4
    )


def test_the_users_store_comes_first_then_the_packed_one_then_the_named_one(run, tmp_path):
    for n, folder in enumerate((tmp_path / "given", run.folder / "heldout", tmp_path / "named"), 1):
        store_of(folder, {"base": random_acts(n, 3)}, [n])
    provenance = {"heldout": str(tmp_path / "named")}
    assert len(open_heldout(run, provenance, str(tmp_path / "given"), "run")) == 1
    assert len(open_heldout(run, provenance, None, "run")) == 2
    (run.folder / "heldout").rename(tmp_path / "elsewhere")
    assert len(open_heldout(run, provenance, None, "run")) == 3


@pytest.mark.faults
def test_the_error_of_a_missing_store_says_what_to_do(run):
    with pytest.raises(
        UserError,
        match=r"is not at /gone/stores/1: give one .* store=FOLDER, or pack it .* pack=true",
    ):
        open_heldout(run, {"heldout": "/gone/stores/1"}, None, "run")
    with pytest.raises(UserError, match="run names no held-out store; give one with store=FOLDER"):
        open_heldout(run, {}, None, "run")


@pytest.mark.faults
@pytest.mark.parametrize("named", ["../other", "link", "stores/../../other"])
def test_a_store_that_is_named_from_the_run_folder_must_be_in_it(run, tmp_path, named):
    (tmp_path / "other").mkdir()
    (run.folder / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="leads out of its folder"):
        find_store(run, named)


@pytest.mark.faults
def test_a_packed_store_that_is_a_link_is_refused(run, tmp_path):
    store_of(tmp_path / "mine", {"base": random_acts(4, 3)}, [4])
    (run.folder / "heldout").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="heldout leads out of its folder"):
        open_heldout(run, {}, None, "run")
