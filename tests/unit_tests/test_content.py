"""What a message may hold besides plain text, and who gets to see it."""

import base64
import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_together import ChatTogether

from langchain_moa import ChatMoA, ProposersFailedError
from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE
from langchain_moa._models.transport import http_clients
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply

DATA = base64.b64encode(b"a picture of a cat").decode()
URL = f"data:image/png;base64,{DATA}"
LOOK = {"type": "text", "text": "Look:"}
# Each as its model's makers write it, with the input that a model's profile calls it.
BLOCKS = {
    "image_url": ({"type": "image_url", "image_url": {"url": URL}}, "image_inputs", "[image left out]"),
    "image v1": ({"type": "image", "base64": DATA, "mime_type": "image/png"}, "image_inputs", "[image left out]"),
    "image v0": (
        {"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"},
        "image_inputs",
        "[image left out]",
    ),
    "image by url": ({"type": "image", "url": "http://127.0.0.1/cat.png"}, "image_inputs", "[image left out]"),
    "audio": ({"type": "audio", "base64": DATA, "mime_type": "audio/wav"}, "audio_inputs", "[audio left out]"),
    "input_audio": (
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
        "audio_inputs",
        "[audio left out]",
    ),
    "video": ({"type": "video", "base64": DATA, "mime_type": "video/mp4"}, "video_inputs", "[video left out]"),
    "file": ({"type": "file", "base64": DATA, "mime_type": "application/pdf"}, "pdf_inputs", "[file left out]"),
}
every_block = pytest.mark.parametrize(("block", "needs", "placeholder"), BLOCKS.values(), ids=BLOCKS)


def pair(profile=None, **options):
    """A proposer and an aggregator of one profile, and their mixture."""
    proposer, aggregator = (ScriptedChatModel(reply=text, profile=profile) for text in ("advice", "done"))
    return ChatMoA(proposers=[proposer], aggregator=aggregator, **options), proposer, aggregator


def without_ids(content):
    """Return blocks without the ids that core gives to some at every call."""
    if isinstance(content, str):
        return content
    return [{key: value for key, value in block.items() if key != "id"} for block in content]


def contents(messages):
    """Return the contents of a conversation, without the paper's prompt."""
    return [without_ids(message.content) for message in messages if message.type != "system"]


def seen_alone(conversation):
    """Return the contents that a model is asked with when it is no part of a mixture: core knows older blocks."""
    model = ScriptedChatModel()
    model.invoke(conversation)
    return contents(model.seen[0])


# -- Images and files ------------------------------------------------------------------------------------------------


@every_block
@pytest.mark.parametrize("known", ["no profile", "silent", "yes"])
def test_blocks_pass_through_to_models_that_do_not_say_no(block, needs, placeholder, known):
    model, proposer, aggregator = pair(
        {"no profile": None, "silent": {"tool_calling": True}, "yes": {needs: True}}[known]
    )
    conversation = [HumanMessage([LOOK, block])]
    model.invoke(conversation)
    assert contents(proposer.seen[0]) == contents(aggregator.seen[0]) == seen_alone(conversation)


@every_block
def test_blocks_become_a_short_placeholder_for_models_whose_profile_says_no(ask, block, needs, placeholder):
    model, proposer, aggregator = pair({needs: False}, rounds=2)
    ask(model, [HumanMessage([LOOK, block])])
    expected = [[LOOK, {"type": "text", "text": placeholder}]]
    assert [contents(seen) for seen in [*proposer.seen, *aggregator.seen]] == [expected] * 3


def test_each_model_gets_what_its_own_profile_takes(ask, together):
    server = together()
    blind = ChatTogether(model="lab/blind", **http_clients(), profile={"image_inputs": False})
    seeing = ChatTogether(model="lab/seeing", **http_clients(), profile={"image_inputs": True})
    block = BLOCKS["image_url"][0]
    ask(ChatMoA(proposers=[blind, seeing, "lab/unknown"], aggregator=seeing), [HumanMessage([LOOK, block])])
    by_model = {body["model"]: body["messages"][-1]["content"] for body in server.requests}
    assert by_model == {
        "lab/blind": [LOOK, {"type": "text", "text": "[image left out]"}],
        "lab/seeing": [LOOK, block],
        "lab/unknown": [LOOK, block],
    }


CALLING = AIMessage("", tool_calls=[{"id": "1", "name": "camera", "args": {}}])


@every_block
@pytest.mark.parametrize("content", ["alone", "after text"])
def test_base64_is_stringified_for_nobody_in_tool_results_either(block, needs, placeholder, content):
    """Peer bug 14 (Chimera): a base64 image was dumped as text into the judge's prompt."""
    model, proposer, aggregator = pair(rounds=2, include_references=True)
    result = ToolMessage([block] if content == "alone" else [LOOK, block], tool_call_id="1", name="camera")
    conversation = [HumanMessage([LOOK, block]), CALLING, result, HumanMessage([block])]
    answer = model.invoke(conversation, tools=[{"type": "function", "function": {"name": "camera"}}])
    texts = [message.text for seen in [*proposer.seen, *aggregator.seen] for message in seen]
    assert DATA not in " ".join([*texts, str(answer)])
    said = "" if content == "alone" else "Look:"
    turns = without_ids(proposer.seen[0][-1].content)
    assert {"type": "text", "text": f"[tool result of camera: {said}{placeholder}]"} in turns
    *_, result_alone, question_alone = seen_alone(conversation)
    assert turns[-1:] == question_alone
    assert without_ids(aggregator.seen[0][2].content) == result_alone


@pytest.mark.parametrize("bound", [False, True], ids=["plain", "with tools"])
def test_a_block_in_a_tool_result_is_left_out_for_an_aggregator_that_takes_none(bound):
    model, _, aggregator = pair({"image_inputs": False})
    result = ToolMessage([LOOK, BLOCKS["image v1"][0]], tool_call_id="1")
    tools = [{"type": "function", "function": {"name": "camera"}}] if bound else []
    model.invoke([HumanMessage("Hi"), CALLING, result], tools=tools)
    (tool_message,) = [message for message in aggregator.seen[0] if message.type == "tool"]
    assert tool_message.content == [LOOK, {"type": "text", "text": "[image left out]"}]


def test_an_image_that_a_proposer_drew_does_not_reach_the_others_as_text(ask):
    drawn = RunnableLambda(lambda _: AIMessage([{"type": "text", "text": "A cat."}, BLOCKS["image v1"][0]]))
    aggregator = ScriptedChatModel()
    ask(ChatMoA(proposers=[drawn], aggregator=aggregator), "Draw.")
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. A cat."


# -- Content as a list of blocks -------------------------------------------------------------------------------------


def test_content_may_be_a_list_of_blocks_for_every_role(ask, together):
    server = together()
    conversation = [
        SystemMessage([{"type": "text", "text": "Be brief."}]),
        HumanMessage([{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]),
        AIMessage([{"type": "text", "text": "Hello"}]),
        HumanMessage([{"type": "text", "text": "Bye"}]),
    ]
    ask(ChatMoA(proposers=["lab/a"], rounds=2, aggregator="lab/writer"), conversation)
    first, second, last = (body["messages"] for body in server.requests)
    assert [message["role"] for message in first] == ["system", "user", "assistant", "user"]
    assert first[0]["content"] == [{"type": "text", "text": "Be brief."}]
    assert [part["text"] for part in first[1]["content"]] == ["Hi", "there"]
    prompt = AGGREGATE_AND_SYNTHESIZE + "\n1. reply of lab/a"
    for later in (second, last):
        assert "".join(part["text"] for part in later[0]["content"]) == f"Be brief.\n\n{prompt}"
        assert "Hello" in json.dumps(later[2]["content"])
        assert later[1:2] + later[3:] == first[1:2] + first[3:]


def test_strings_among_the_blocks_are_kept(ask):
    model, proposer, _ = pair()
    ask(model, [HumanMessage(["Hi", {"type": "text", "text": "there"}])])
    assert proposer.seen[0][0].text == "Hithere"


# -- Reasoning -------------------------------------------------------------------------------------------------------

FINAL = {"type": "text", "text": "42"}
REASONED = {
    "a reasoning block": [{"type": "reasoning", "reasoning": "secret"}, FINAL],
    "reasoning with a summary": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "secret"}]}, FINAL],
    "a thinking block": [{"type": "thinking", "thinking": "secret", "signature": "secret"}, FINAL],
    "a redacted thinking block": [{"type": "redacted_thinking", "data": "secret"}, FINAL],
    "reasoning between texts": [{"type": "text", "text": "4"}, {"type": "reasoning", "reasoning": "secret"}, "2"],
    "think": "<think>secret</think>42",
    "think over lines": "<think>\nsecret\n\nsecret\n</think>\n\n42\n",
    "several": "<think>secret</think>4<think>secret</think>2",
    "an empty think": "<think></think>42",
    "think without an end": "42<think>secret",
    "think without a start": "secret\n</think>\n\n42",
    "think in a text block": [{"type": "text", "text": "<think>secret</think>42"}],
}


@pytest.mark.parametrize("content", REASONED.values(), ids=REASONED)
def test_reasoning_never_reaches_a_reference(content):
    reasoner = RunnableLambda(lambda _: AIMessage(content, additional_kwargs={"reasoning_content": "secret"}))
    aggregator = ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[reasoner], rounds=2, aggregator=aggregator, include_references=True)
    answer = model.invoke("6 x 7?")
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. 42"
    assert "secret" not in str(answer)


@pytest.mark.parametrize(
    "text",
    [
        "I think it is 42.",
        "Think: 42.",
        "thinking > 41",
        "a < think > b",
        "<thinking hard> it is 42",
        "think</b>",
    ],
)
def test_an_answer_that_only_speaks_of_thinking_stays_whole(text):
    aggregator = ScriptedChatModel()
    ChatMoA(proposers=[ScriptedChatModel(reply=text)], aggregator=aggregator).invoke("6 x 7?")
    assert aggregator.seen[0][0].text == f"{AGGREGATE_AND_SYNTHESIZE}\n1. {text}"


@pytest.mark.parametrize("text", ["<think>secret", "<think>secret</think>", "secret</think>", " <think>\nsecret "])
def test_a_proposer_that_only_reasoned_gave_no_reference(ask, text):
    aggregator = ScriptedChatModel()
    proposers = [ScriptedChatModel(reply=text, model_name="lost"), ScriptedChatModel(reply="42")]
    moa = ask(ChatMoA(proposers=proposers, aggregator=aggregator), "6 x 7?").response_metadata["moa"]
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. 42"
    assert moa["layers"][0][0]["status"] == "empty"


def test_reasoning_that_comes_beside_the_text_over_http_stays_where_it_is(ask, together):
    server = together(lambda body: Reply(text=f"reply of {body['model']}", reasoning="secret thoughts"))
    answer = ask(ChatMoA(proposers=["lab/a"], rounds=2, aggregator="lab/writer"), "6 x 7?")
    assert answer.text == "reply of lab/writer"
    assert len(server.requests) == 3
    assert b"secret" not in b"".join(server.raw)


def test_the_aggregators_own_reasoning_comes_as_it_came(ask):
    aggregator = ScriptedChatModel(reply="<think>so</think> 42")
    assert ask(ChatMoA(proposers=[ScriptedChatModel()], aggregator=aggregator), "Hi").text == "<think>so</think> 42"


# -- Unicode ---------------------------------------------------------------------------------------------------------

ODD = {
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "right to left": "שלום مرحبا",
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
    "line separators": "a\u2028b\u2029c\x85d",
    "controls": "a\x00b\x1bc",
    "bom": "\ufeffa",
}
LONE = "half a pair: \ud83d"


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_any_text_comes_through_unchanged(ask, together, text):
    server = together(lambda body: f"<{text}>")
    assert ask(ChatMoA(proposers=["lab/a"], aggregator="lab/writer"), text).text == f"<{text}>"
    proposer, writer = (body["messages"] for body in server.requests)
    assert proposer[0]["content"] == writer[1]["content"] == text
    assert writer[0]["content"].endswith(f"\n1. <{text}>")


@pytest.mark.parametrize("fan_out", ["auto", "user_turn"])
def test_half_a_surrogate_pair_is_text_like_any_other_inside(ask, fan_out):
    model, _, aggregator = pair(fan_out=fan_out)
    assert ask(model, LONE).text == "done"
    assert aggregator.seen[0][1].text == LONE


def test_half_a_surrogate_pair_that_no_provider_takes_is_a_clear_error(ask, together):
    together()
    with pytest.raises(ProposersFailedError, match="surrogates not allowed") as error:
        ask(ChatMoA(proposers=["lab/a"], aggregator="lab/writer"), LONE)
    assert isinstance(error.value.errors["a"], UnicodeEncodeError)
    str(error.value).encode()


def test_half_a_surrogate_pair_in_one_proposal_does_not_cost_the_answer(ask, together):
    """A tokenizer that is cut off within an emoji gives one."""
    together()
    model = ChatMoA(proposers=[ScriptedChatModel(reply=LONE), ScriptedChatModel(reply="42")], aggregator="lab/writer")
    assert ask(model, "6 x 7?").text == "reply of lab/writer"
