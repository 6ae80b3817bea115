"""One run of the tiny pair, explored by all tests of this folder."""

import pytest

from crosscoder.explore.session import Session, open_session
from crosscoder.lm import Pair
from tests.helpers.explore_run import write_explorable_run


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory, tiny_pair: Pair) -> Session:
    run = write_explorable_run(tmp_path_factory.mktemp("explore") / "run", tiny_pair)
    opened = open_session(str(run.folder), is_trusted=True)
    opened.load_models(lambda text: None)
    return opened
