"""Requests to a slow, busy or silent hub are repeated, then given up in one line."""

import itertools
import json
import logging
import time
from collections.abc import Iterator

import datasets
import pytest
from huggingface_hub import constants

from crosscoder.data.corpora.text import HubDataset
from crosscoder.errors import UserError
from crosscoder.io.hub import WAITS, download_snapshot
from tests.helpers.hub import SILENCE, Hub, running

pytestmark = pytest.mark.faults


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)  # `datasets` looks there first
    with running(tmp_path / "cache") as hub:
        hub.files["owner/model"] = {"config.json": b"{}", "model.safetensors": b"12345"}
        rows = [json.dumps({"text": f"line {number}"}) for number in range(10)]
        hub.files["owner/rows"] = {"train.jsonl": "\n".join(rows).encode()}
        yield hub


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """Record the pauses instead of waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def first(*troubles: int | str):
    """One after the other, then none; not with what huggingface_hub asks for besides."""
    left = iter(troubles)
    return lambda asked: next(left, None) if "owner" in asked else None


@pytest.mark.parametrize("trouble", [429, 500, 503, SILENCE])
def test_a_hub_that_does_not_answer_is_asked_again(hub, slept, caplog, trouble):
    hub.trouble = first(trouble, trouble)
    with caplog.at_level(logging.WARNING, "crosscoder.io.hub"):
        folder = download_snapshot("owner/model", ["*.safetensors"])
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"12345"
    assert slept == list(WAITS[:2])
    said = [record.getMessage() for record in caplog.records if record.name == "crosscoder.io.hub"]
    assert [line.partition(";")[2] for line in said] == [
        " asked again in 1 s",
        " asked again in 2 s",
    ]
    assert all(line.startswith("owner/model: ") for line in said)


@pytest.mark.parametrize("trouble", [503, SILENCE])
def test_a_hub_that_never_answers_is_given_up_in_one_line(hub, slept, monkeypatch, trouble):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.25)  # no answer has to be in time
    hub.trouble = lambda asked: trouble
    with pytest.raises(
        UserError, match=r"cannot get 'owner/model': .* the hub is out of reach"
    ) as error:
        download_snapshot("owner/model", ["*.safetensors"])
    assert "\n" not in str(error.value)
    assert slept == list(WAITS)
    assert len([asked for asked in hub.asked if "owner/model" in asked]) == 1 + len(WAITS)


def test_a_hub_that_is_gone_is_given_up_in_one_line(hub, slept):
    hub.server_close()
    with pytest.raises(UserError, match=r"cannot get 'owner/model': .* the hub is out of reach"):
        download_snapshot("owner/model", ["*.safetensors"])
    assert slept == list(WAITS)


def test_a_download_that_stops_goes_on(hub, slept):
    left = iter([SILENCE])
    hub.trouble = lambda asked: (
        next(left, None) if asked.startswith("GET") and "/resolve/" in asked else None
    )
    assert (
        download_snapshot("owner/model", ["*.safetensors"]) / "model.safetensors"
    ).read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("repo", "trouble", "message"),
    [
        ("owner/nothing", None, "neither a local folder nor on the hub"),
        ("owner/model", 403, "cannot get 'owner/model'"),
    ],
)
def test_what_will_not_change_is_not_asked_for_again(hub, slept, repo, trouble, message):
    hub.trouble = lambda asked: trouble
    with pytest.raises(UserError, match=message):
        download_snapshot(repo, ["*.safetensors"])
    assert not slept


def test_offline_nothing_is_asked_for_again(slept):
    with pytest.raises(UserError, match="out of reach"):
        download_snapshot("owner/model", ["*.safetensors"])
    with pytest.raises(UserError, match="cannot stream 'owner/rows'"):
        list(HubDataset("owner/rows").documents("train"))
    assert not slept


# --- data sets that are streamed ---


def test_a_data_set_is_opened_again(hub, slept):
    hub.trouble = first(*[503] * 9)  # more than huggingface_hub bears with
    assert list(HubDataset("owner/rows", heldout_every=5).documents("heldout")) == [
        "line 0",
        "line 5",
    ]
    assert WAITS[0] in slept


@pytest.mark.parametrize("at", ["", "train.jsonl"])
def test_a_data_set_that_cannot_be_had_is_one_line(hub, slept, monkeypatch, at):
    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 3)
    hub.trouble = lambda asked: 503 if asked.endswith(at) else None
    with pytest.raises(UserError) as error:
        list(HubDataset("owner/rows").documents("train"))
    assert str(error.value).startswith(
        "cannot stream 'owner/rows' from the hub: the hub is out of reach ("
    )
    assert "\n" not in str(error.value)
    assert len(slept) > 3


def test_rows_that_stop_on_the_way_come_all_the_same(hub, slept):
    troubles = itertools.chain([None], [503] * 7)
    hub.trouble = lambda asked: next(troubles, None) if asked.endswith("train.jsonl") else None
    assert len(list(HubDataset("owner/rows", heldout_every=5).documents("train"))) == 8
    assert slept
