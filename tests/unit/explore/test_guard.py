"""Only the page itself, at its address with the token, is answered."""

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from crosscoder.explore.guard import Guard, make_token

PORT = 8137
TOKEN = "secret"
OWN = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def client() -> TestClient:
    async def accept(socket) -> None:
        await socket.accept()

    async def answer(request) -> PlainTextResponse:
        return PlainTextResponse("in")

    routes = [Route("/", answer, methods=["GET", "POST"]), WebSocketRoute("/ws", accept)]
    app = Starlette(routes=[Mount(f"/{TOKEN}", routes=routes)])
    return TestClient(Guard(app, TOKEN, PORT), base_url=OWN)


@pytest.mark.parametrize("headers", [{}, {"origin": OWN}, {"host": f"localhost:{PORT}"}])
def test_the_own_page_is_answered(client, headers):
    assert client.post(f"/{TOKEN}/", headers=headers).text == "in"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/other/", {}),
        (f"/{TOKEN}x/", {}),
        (f"//{TOKEN}/", {}),
        ("/é/", {}),
        (f"/{TOKEN}/", {"host": "evil.example"}),
        (f"/{TOKEN}/", {"host": f"evil.example:{PORT}"}),
        (f"/{TOKEN}/", {"host": "127.0.0.1:9"}),
        (f"/{TOKEN}/", {"host": ""}),
        (f"/{TOKEN}/", {"origin": "http://evil.example"}),
        (f"/{TOKEN}/", {"origin": "null"}),
        (f"/{TOKEN}/", {"origin": f"https://127.0.0.1:{PORT}"}),
        (f"/{TOKEN}/", {"origin": f"http://localhost:{PORT}"}),
    ],
)
def test_anything_else_is_refused_in_one_line_of_json(client, path, headers):
    answer = client.post(f"{OWN}{path}", headers=headers)
    assert answer.status_code == 403
    assert list(json.loads(answer.text)) == ["error"]
    assert "\n" not in answer.text
    assert TOKEN not in answer.text


def test_two_hosts_are_refused(client):
    headers = [("host", f"127.0.0.1:{PORT}"), ("host", "evil.example")]
    assert client.get(f"/{TOKEN}/", headers=headers).status_code == 403


def test_a_web_socket_of_another_page_is_refused(client):
    with (
        pytest.raises(WebSocketDisconnect) as raised,
        client.websocket_connect(f"/{TOKEN}/ws", headers={"origin": "http://evil.example"}),
    ):
        pass
    assert raised.value.code == 1008


def test_every_answer_forbids_frames_caches_and_foreign_scripts(client):
    for path in (f"/{TOKEN}/", "/other/"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"


def test_tokens_are_long_and_different():
    first = make_token()
    assert len(first) >= 32
    assert first != make_token()
