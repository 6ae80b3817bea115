"""The routes of the page, from its HTML to saved experiments."""

import json
import re

import pytest
from starlette.testclient import TestClient

from crosscoder.explore.routes import MAX_BODY
from crosscoder.explore.server import build_app

PORT = 8137
CHAT = {"kind": "chat", "turns": ["Is this right?"], "system": ""}
REQUEST = {
    "prompt": CHAT,
    "edits": {"latents": [{"latent": 3, "factor": 0.0, "on": "both"}], "positions": "all"},
    "sampling": {"max_new_tokens": 4, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0},
}


@pytest.fixture(scope="module")
def client(session) -> TestClient:
    return TestClient(build_app(session, "t", PORT), base_url=f"http://127.0.0.1:{PORT}/t/")


def events(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_loading_is_told_step_by_step(client):
    found = events(client.get("loading"))
    texts = [event["text"] for event in found if event["event"] == "progress"]
    assert texts[:2] == ["loading base, model 1 of 2", "loading chat, model 2 of 2"]
    assert found[-1] == {"event": "done"}


def test_the_page_loads_nothing_from_elsewhere(client):
    html = client.get("").text
    named = re.findall(r'(?:src|href)="([^"#][^"]*)"', html)
    scripts = [name for name in named if name.startswith("assets/")]
    assert {name for name in named if not name.startswith("assets/")} == {"data:,"}
    for name in scripts:
        answer = client.get(name)
        assert answer.status_code == 200
        assert "http://" not in answer.text.replace("http://www.w3.org", "")
        assert "innerHTML" not in answer.text
    assert not re.search(r"<script(?![^>]*(src|application/json))", html)
    for name in re.findall(r'from "\./([a-z_]+\.js)"', client.get("assets/explore/main.js").text):
        assert client.get(f"assets/explore/{name}").status_code == 200


@pytest.mark.parametrize(
    "name",
    ["explore/missing.js", "explore/explore.html.jinja", "report/..%2f..%2fpage.py", "other/x.js"],
)
def test_other_files_are_not_served(client, name):
    assert client.get(f"assets/{name}").status_code == 404


def test_a_prompt_is_read(client):
    found = events(client.post("read", json={"prompt": CHAT}))
    assert [event["event"] for event in found] == ["queued", "started", "reading", "done"]
    n_tokens = len(found[2]["tokens"])
    assert {len(values) for values in found[2]["values"].values()} == {n_tokens}
    assert len(found[2]["latents"]) == n_tokens


def test_two_prompts_are_compared(client):
    found = events(
        client.post("compare", json={"first": CHAT, "second": {**CHAT, "turns": ["No"]}})
    )
    assert [event.get("place") for event in found if event["event"] == "reading"] == [
        "first",
        "second",
    ]
    assert found[-2]["rows"][0]["score"] > 0


def test_answers_stream_token_by_token(client):
    found = events(client.post("generate", json=REQUEST))
    assert found[2]["columns"] == ["chat", "edited chat", "base", "edited base"]
    assert sum(event["event"] == "token" for event in found) <= 16
    assert found[-1] == {"event": "done"}


def test_next_tokens_are_listed(client):
    found = events(
        client.post("next_tokens", json={"request": REQUEST, "answer": [], "position": 4})
    )
    assert set(found[-2]["rows"][0]["p"]) == {"chat", "edited chat", "base", "edited base"}
    late = {"request": REQUEST, "answer": [], "position": 10**6}
    assert "there is no token" in events(client.post("next_tokens", json=late))[-1]["error"]


def test_an_experiment_is_saved_and_has_an_address(client):
    content = {"request": REQUEST, "answers": {"chat": "x"}}
    saved = client.put("experiments/first", json=content).json()
    assert saved["request"] == REQUEST
    assert "scale_each(crosscoder, {3: 0.0})" in saved["code"]
    assert client.get("experiments/first").json() == saved
    assert "first" in client.get("experiments").json()["names"]
    assert client.post("code", json=REQUEST).json()["code"] == saved["code"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("read", "{", "invalid JSON"),
        ("read", '{"prompt": {"kind": "song", "turns": []}}', "prompt.kind"),
        ("read", "x" * (MAX_BODY + 1), "at most"),
        ("generate", json.dumps(REQUEST | {"sampling": {"temperature": -1.0}}), "temperature"),
        ("code", "[]", "request"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(client, path, body, message):
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.text


def test_a_job_that_is_over_cannot_be_stopped(client):
    assert client.post("stop/999999").json() == {"stopped": False}
