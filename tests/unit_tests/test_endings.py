"""How a reply ended, in messages that the providers' own packages make of the providers' own payloads."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa._messages.endings import end_of, ending
from tests.properties import without_a_clock

# Packages that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@dataclass
class Payload:
    """What a provider answers, whole and as a stream; a reason of `None` leaves the stream without its end."""

    whole: bytes = b""
    stream: bytes = b""
    type_of_whole: str = "application/json"
    type_of_stream: str = "text/event-stream"


@dataclass
class Provider:
    """How to build a model of a package that asks a server on loopback, and what the server answers."""

    package: str
    model: str
    payload: object
    options: dict = field(default_factory=dict)
    streams: bool = True

    def build(self, url):
        module = pytest.importorskip(self.package, reason=f"{self.package} is not installed")
        options = {"model": "m", "base_url": url, "api_key": "none", "max_retries": 0, **self.options}
        return getattr(module, self.model)(**{name: value for name, value in options.items() if value is not ...})


def sse(*events):
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


def typed_sse(*events):
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def openai_chat(reason, **more):
    def body(kind, **choice):
        choices = [{"index": 0, **choice}]
        return {"id": "1", "object": kind, "created": 1, "model": "m", "system_fingerprint": None, "choices": choices}

    message = {"role": "assistant", "content": "42", **more}
    chunk = body("chat.completion.chunk", delta=message, finish_reason=None)
    last = body("chat.completion.chunk", delta={}, finish_reason=reason)
    return Payload(
        whole=json.dumps({**body("chat.completion", message=message, finish_reason=reason), "usage": USAGE}).encode(),
        stream=sse(chunk, last) + b"data: [DONE]\n\n" if reason else sse(chunk),
    )


def openai_responses(reason):
    status, _, why = (reason or "").partition(":")
    content = {"type": "output_text", "text": "42", "annotations": []}
    if why == "refusal":
        content, why = {"type": "refusal", "refusal": "I can't help with that."}, ""
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status or "in_progress",
        "incomplete_details": {"reason": why} if why else None,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [content]}],
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "error": None,
    }
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "sequence_number": 1}
    events = [
        {"type": "response.created", "response": {**response, "status": "in_progress"}, "sequence_number": 0},
        {"type": "response.output_text.delta", "delta": "42", "logprobs": [], **where},
    ]
    if content["type"] == "refusal":
        events[1:] = [{"type": "response.refusal.done", "refusal": content["refusal"], **where}]
    if reason:
        events.append({"type": f"response.{status}", "response": response, "sequence_number": 2})
    return Payload(whole=json.dumps(response).encode(), stream=typed_sse(*events))


def anthropic(reason):
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    text = {"type": "text", "text": "42"}
    events = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}},
    ]
    if reason:
        delta = {"stop_reason": reason, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
    whole = {**message, "content": [text], "stop_reason": reason, "stop_sequence": None}
    return Payload(whole=json.dumps(whole).encode(), stream=typed_sse(*events))


def gemini(reason):
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    if reason and reason.startswith("blocked:"):
        body = {"promptFeedback": {"blockReason": reason.partition(":")[2]}, "usageMetadata": usage}
        return Payload(whole=json.dumps(body).encode(), stream=sse(body))
    candidate = {"content": {"parts": [{"text": "42"}], "role": "model"}, "index": 0}
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}
    last = {**body, "candidates": [{**candidate, "finishReason": reason}]}
    return Payload(whole=json.dumps(last).encode(), stream=sse(body, last) if reason else sse(body))


def ollama(reason):
    chunk = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "42"}}
    lines = [{**chunk, "done": False}]
    if reason:
        lines.append({**chunk, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason})
    body = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    # The package streams whatever it is asked for.
    return Payload(whole=body, stream=body, type_of_whole="application/x-ndjson", type_of_stream="application/x-ndjson")


def cohere(reason):
    usage = {"billed_units": {"input_tokens": 1, "output_tokens": 1}, "tokens": {"input_tokens": 1, "output_tokens": 1}}
    message = {"role": "assistant", "content": [{"type": "text", "text": "42"}]}
    delta = {"message": {"content": {"type": "text", "text": "42"}}}
    events = [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": delta},
    ]
    if reason:
        events.append({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}})
    whole = {"id": "1", "finish_reason": reason, "message": message, "usage": usage}
    return Payload(whole=json.dumps(whole).encode(), stream=typed_sse(*events))


OPENAI = Provider("langchain_openai", "ChatOpenAI", openai_chat)
RESPONSES = Provider("langchain_openai", "ChatOpenAI", openai_responses, {"use_responses_api": True})
TOGETHER = Provider("langchain_together", "ChatTogether", openai_chat)
XAI = Provider("langchain_xai", "ChatXAI", openai_chat, {"base_url": ..., "xai_api_base": True})
DEEPSEEK = Provider("langchain_deepseek", "ChatDeepSeek", openai_chat, {"base_url": ..., "api_base": True})
GROQ = Provider("langchain_groq", "ChatGroq", openai_chat)
MISTRAL = Provider("langchain_mistralai", "ChatMistralAI", openai_chat)
FIREWORKS = Provider("langchain_fireworks", "ChatFireworks", openai_chat)
OPENROUTER = Provider("langchain_openrouter", "ChatOpenRouter", openai_chat)
ANTHROPIC = Provider("langchain_anthropic", "ChatAnthropic", anthropic, {"max_tokens": 9})
GEMINI = Provider("langchain_google_genai", "ChatGoogleGenerativeAI", gemini)
OLLAMA = Provider("langchain_ollama", "ChatOllama", ollama, {"api_key": ..., "max_retries": ...})
COHERE = Provider(
    "langchain_cohere", "ChatCohere", cohere, {"api_key": ..., "cohere_api_key": "none", "max_retries": ...}
)

REPORTED = [
    *((OPENAI, word, end) for word, end in {"stop": "ok", "length": "truncated", "content_filter": "filtered"}.items()),
    (RESPONSES, "completed", "ok"),
    (RESPONSES, "incomplete:max_output_tokens", "truncated"),
    (RESPONSES, "incomplete:content_filter", "filtered"),
    (RESPONSES, "completed:refusal", "filtered"),
    *((TOGETHER, word, end) for word, end in {"stop": "ok", "eos": "ok", "length": "truncated"}.items()),
    *((XAI, word, end) for word, end in {"stop": "ok", "length": "truncated"}.items()),
    (DEEPSEEK, "stop", "ok"),
    (DEEPSEEK, "length", "truncated"),
    (DEEPSEEK, "content_filter", "filtered"),
    (DEEPSEEK, "insufficient_system_resource", "truncated"),
    *((GROQ, word, end) for word, end in {"stop": "ok", "length": "truncated"}.items()),
    *((MISTRAL, word, end) for word, end in {"stop": "ok", "length": "truncated", "model_length": "truncated"}.items()),
    (MISTRAL, "error", "truncated"),
    *((FIREWORKS, word, end) for word, end in {"stop": "ok", "length": "truncated"}.items()),
    (OPENROUTER, "stop", "ok"),
    (OPENROUTER, "length", "truncated"),
    (OPENROUTER, "content_filter", "filtered"),
    (OPENROUTER, "error", "truncated"),
    (ANTHROPIC, "end_turn", "ok"),
    (ANTHROPIC, "stop_sequence", "ok"),
    (ANTHROPIC, "max_tokens", "truncated"),
    (ANTHROPIC, "pause_turn", "truncated"),
    (ANTHROPIC, "model_context_window_exceeded", "truncated"),
    (ANTHROPIC, "refusal", "filtered"),
    (GEMINI, "STOP", "ok"),
    (GEMINI, "MAX_TOKENS", "truncated"),
    (GEMINI, "OTHER", "truncated"),
    *(
        (GEMINI, word, "filtered")
        for word in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY")
    ),
    (GEMINI, "blocked:SAFETY", "filtered"),
    (OLLAMA, "stop", "ok"),
    (OLLAMA, "length", "truncated"),
    (COHERE, "COMPLETE", "ok"),
    (COHERE, "STOP_SEQUENCE", "ok"),
    (COHERE, "MAX_TOKENS", "truncated"),
    (COHERE, "TIMEOUT", "truncated"),
    (COHERE, "ERROR", "truncated"),
]


def name_of(provider):
    return provider.payload.__name__ if provider is RESPONSES else provider.model


@pytest.fixture
def serve(monkeypatch):
    """Return a function that starts a server on loopback which answers every request with one payload."""
    servers = []

    def start(payload):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = self.rfile.read(int(self.headers["Content-Length"] or 0))
                streams = "streamGenerateContent" in self.path or b'"stream":true' in asked.replace(b" ", b"")
                body = payload.stream if streams else payload.whole
                self.send_response(200)
                self.send_header("Content-Type", payload.type_of_stream if streams else payload.type_of_whole)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(provider, reason, *, streamed, serve):
    """Return a message as the provider's package makes it, with the model's `_llm_type`."""
    url = serve(provider.payload(reason))
    options = {
        name: url if value is True and name.endswith("base") else value for name, value in provider.options.items()
    }
    model = Provider(provider.package, provider.model, provider.payload, options).build(url)
    if not streamed:
        return model.invoke("6 x 7?"), model._llm_type
    first, *others = model.stream("6 x 7?")
    return sum(others, first), model._llm_type


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize(
    ("provider", "reason", "end"), REPORTED, ids=[f"{name_of(provider)} {reason}" for provider, reason, _ in REPORTED]
)
def test_the_end_of_a_reply_is_read_as_its_package_reports_it(provider, reason, end, streamed, serve):
    message, kind = reply(provider, reason, streamed=streamed, serve=serve)
    assert ending(message, provider=kind) == end
    assert end_of(message)[1].lower() in reason.lower().replace("blocked:", "blocked: ")


@pytest.mark.parametrize(
    "provider",
    [
        OPENAI,
        RESPONSES,
        TOGETHER,
        XAI,
        DEEPSEEK,
        GROQ,
        MISTRAL,
        FIREWORKS,
        OPENROUTER,
        ANTHROPIC,
        GEMINI,
        OLLAMA,
        COHERE,
    ],
    ids=name_of,
)
def test_a_stream_that_just_stops_has_an_unknown_end(provider, serve):
    message, kind = reply(provider, None, streamed=True, serve=serve)
    assert message.text == "42"
    assert ending(message, provider=kind) == "unknown"
    assert end_of(message)[1] is None


@pytest.mark.parametrize("provider", [OPENAI, TOGETHER, GROQ, MISTRAL, FIREWORKS], ids=name_of)
def test_a_whole_response_of_a_server_that_gives_no_reasons_is_not_punished(provider, serve):
    message, kind = reply(provider, None, streamed=False, serve=serve)
    assert ending(message, provider=kind) == "ok"


def test_a_refusal_beside_the_content_is_filtered(serve):
    refusing = Provider(
        OPENAI.package,
        OPENAI.model,
        lambda reason: openai_chat(reason, content=None, refusal="I can't help with that."),
    )
    message, _ = reply(refusing, "stop", streamed=False, serve=serve)
    assert ending(message) == "filtered"
    assert end_of(message)[1] == "refusal"


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize(
    ("reason", "end"),
    {
        "end_turn": "ok",
        "stop_sequence": "ok",
        "max_tokens": "truncated",
        "guardrail_intervened": "filtered",
        "content_filtered": "filtered",
        "model_context_window_exceeded": "truncated",
        "malformed_model_output": "truncated",
    }.items(),
)
def test_the_end_of_a_reply_is_read_from_bedrock_converse(reason, end, streamed):
    message = bedrock_converse(reason, streamed=streamed)
    assert (ending(message), end_of(message)[1]) == (end, reason)


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize(("reason", "end"), [("end_turn", "ok"), ("max_tokens", "truncated"), ("refusal", "filtered")])
def test_the_end_of_a_reply_is_read_from_bedrock(reason, end, streamed):
    message = bedrock("anthropic.claude-3-haiku", anthropic(reason), streamed=streamed)
    assert (ending(message), end_of(message)[1]) == (end, reason)


def test_a_model_on_bedrock_whose_package_drops_the_reason_is_not_punished():
    body = {"results": [{"outputText": "42", "completionReason": "LENGTH"}]}
    message = bedrock("amazon.titan-text", Payload(whole=json.dumps(body).encode()), streamed=False)
    assert ending(message) == "ok"


def bedrock_converse(reason, *, streamed):
    aws = pytest.importorskip("langchain_aws", reason="langchain_aws is not installed")
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    output = {"message": {"role": "assistant", "content": [{"text": "42"}]}}
    events = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "42"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": reason}},
        {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}},
    ]
    client = SimpleNamespace(
        converse=lambda **_: {"output": output, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": [1]}},
        converse_stream=lambda **_: {"stream": iter(events)},
        meta=SimpleNamespace(region_name="us-east-1"),
    )
    model = aws.ChatBedrockConverse(
        model="anthropic.claude-3-haiku", client=client, bedrock_client=client, region_name="us-east-1"
    )
    return collected(model, streamed=streamed)


def bedrock(model_id, payload, *, streamed):
    aws = pytest.importorskip("langchain_aws", reason="langchain_aws is not installed")
    lines = [line.removeprefix(b"data: ") for line in payload.stream.splitlines() if line.startswith(b"data: ")]
    client = SimpleNamespace(
        invoke_model=lambda **_: {"body": SimpleNamespace(read=lambda: payload.whole), "ResponseMetadata": {}},
        invoke_model_with_response_stream=lambda **_: {"body": ({"chunk": {"bytes": line}} for line in lines)},
        meta=SimpleNamespace(region_name="us-east-1"),
    )
    model = aws.ChatBedrock(
        model=model_id, client=client, bedrock_client=client, region_name="us-east-1", beta_use_converse_api=False
    )
    return collected(model, streamed=streamed)


def collected(model, *, streamed):
    if not streamed:
        return model.invoke("6 x 7?")
    first, *others = model.stream("6 x 7?")
    return sum(others, first)


# -- Plain metadata --------------------------------------------------------------------------------------------------

METADATA = {
    "Amazon Titan": ({"completionReason": "LENGTH"}, "truncated"),
    "a guardrail of ChatBedrock": ({"amazon-bedrock-guardrailAction": "INTERVENED"}, "filtered"),
    "a guardrail that did nothing": ({"amazon-bedrock-guardrailAction": "NONE", "stop_reason": "stop"}, "ok"),
    "OpenRouter, by the provider behind it": ({"finish_reason": "stop", "native_finish_reason": "SAFETY"}, "filtered"),
    "ChatVertexAI": ({"finish_reason": "STOP", "is_blocked": True}, "filtered"),
    "no blocked prompt": ({"finish_reason": "STOP", "prompt_feedback": {"block_reason": 0}}, "ok"),
    "a canceled response": ({"status": "cancelled", "model_provider": "openai"}, "truncated"),
    "a response in the background": ({"status": "queued", "model_provider": "openai"}, "unknown"),
    "a status that is none of Responses": ({"status": 200}, "ok"),
    "tools": ({"finish_reason": "tool_calls"}, "ok"),
    "tools of Anthropic": ({"stop_reason": "tool_use"}, "ok"),
    "an old function": ({"finish_reason": "function_call"}, "ok"),
    "Zhipu": ({"finish_reason": "sensitive"}, "filtered"),
    "xAI's own SDK": ({"finish_reason": "REASON_MAX_LEN"}, "truncated"),
    "LM Studio": ({"finish_reason": "eosFound"}, "ok"),
    "an Ollama server of old": ({"done": True, "model_provider": "ollama"}, "ok"),
    "reasons of two chunks that are the same": ({"finish_reason": "lengthlength"}, "truncated"),
    "reasons of two chunks": ({"finish_reason": "STOPMAX_TOKENS"}, "truncated"),
    "no reason given": ({"finish_reason": "FINISH_REASON_UNSPECIFIED"}, "ok"),
    "nothing at all": ({}, "ok"),
}


@pytest.mark.parametrize(("metadata", "end"), METADATA.values(), ids=METADATA)
@pytest.mark.parametrize("kind", [AIMessage, AIMessageChunk])
def test_the_end_is_read_from_metadata_alone(metadata, end, kind):
    assert ending(kind("42", response_metadata=metadata)) == end


def test_what_reports_no_ends_is_not_punished():
    for reply in (AIMessage("42"), "42", None, {"content": "42"}):
        assert ending(reply) == "ok"
        assert end_of(reply)[1] is None


def test_a_reason_that_came_twice_is_told_once():
    message = AIMessageChunk("4", response_metadata={"finish_reason": "stop"})
    assert end_of(message + message)[1] == "stop"


def test_the_reason_that_decides_is_told():
    message = AIMessage("4", response_metadata={"finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"})
    assert end_of(message)[1] == "MAX_TOKENS"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(
    [
        *("finish_reason", "stop_reason", "stopReason", "done_reason", "status", "incomplete_details"),
        *("prompt_feedback", "model_provider", "is_blocked", "refusal", "done"),
    ]
)


@without_a_clock
@given(st.dictionaries(keys, anything), st.dictionaries(keys, anything))
def test_no_metadata_makes_it_fail(metadata, additional):
    message = AIMessage("42", response_metadata=metadata, additional_kwargs=additional)
    end = ending(message)
    assert end in ("ok", "truncated", "filtered", "unknown")
    assert (end_of(message)[1] is None) or end != "unknown"
