import pytest

from tests.unit_tests.server.conftest import HELLO

KEYED = [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/models/moa-1"), ("GET", "/metrics")]


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Basic right", "right", "Bearer sécret"])
def test_without_the_right_key_nothing_is_answered(serve, method, path, given):
    headers = {} if given is None else {"authorization": given.encode()}
    response = serve(api_key="right").request(method, path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert "right" not in response.text


@pytest.mark.parametrize("key", ["right", "sécret"])
def test_the_right_key_opens_everything(serve, key):
    client = serve(api_key=key)
    headers = {"authorization": f"Bearer {key}".encode()}
    assert client.post("/v1/chat/completions", json=HELLO, headers=headers).status_code == 200
    assert client.get("/v1/models", headers=headers).status_code == 200
    assert client.get("/metrics", headers=headers).status_code == 200


def test_health_and_the_page_itself_need_no_key(serve):
    client = serve(api_key="right")
    for path in ("/health", "/healthz", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert client.get("/").status_code != 401


def test_looking_inside_needs_the_key(serve):
    assert serve(api_key="right").post("/inside", json=HELLO).status_code == 401


def test_web_pages_may_ask_only_where_that_is_allowed(serve):
    headers = {"origin": "https://example.com", "access-control-request-method": "POST"}
    path = "/v1/chat/completions"
    assert "access-control-allow-origin" not in serve().options(path, headers=headers).headers
    allowed = serve(allow_origins=["https://example.com"], api_key="right").options(path, headers=headers)
    assert allowed.headers["access-control-allow-origin"] == "https://example.com"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/metrics/", "/v1/models/", "/page", "/health/", "/inside/"])
@pytest.mark.parametrize("key", [None, "right"])
def test_nobody_is_sent_to_the_host_that_a_request_names(serve, path, key):
    headers = {"host": "evil.example", "authorization": f"Bearer {key}"}
    response = serve(api_key=key).get(path, headers=headers)
    assert response.status_code == 404
    assert "evil.example" not in f"{response.headers} {response.text}"
