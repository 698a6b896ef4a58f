"""What a message may hold besides plain text, and who gets to see it."""

import base64
import datetime
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_together import ChatTogether

from langchain_moa import ChatMoA, ProposersFailedError
from langchain_moa._messages.conversation import adviser_view, fitting_content, reference_text
from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE
from langchain_moa._models.transport import http_clients
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.properties import any_text, without_a_clock

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
# As other packages take them, whose names core's own conversion does not know.
OTHER_BLOCKS = {
    "OpenAI Responses' image": ({"type": "input_image", "image_url": URL}, "image_inputs", "[image left out]"),
    "OpenAI Responses' file": (
        {"type": "input_file", "file_data": f"data:application/pdf;base64,{DATA}"},
        "pdf_inputs",
        "[file left out]",
    ),
    "Anthropic's document": (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}},
        "pdf_inputs",
        "[document left out]",
    ),
    "Anthropic's image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        "image_inputs",
        "[image left out]",
    ),
    "Google's media": ({"type": "media", "mime_type": "video/mp4", "data": DATA}, "video_inputs", "[video left out]"),
    "Google's document": (
        {"type": "media", "mime_type": "application/pdf", "file_uri": "gs://a"},
        "pdf_inputs",
        "[file left out]",
    ),
    "a file that is an image": (
        {"type": "file", "mime_type": "image/png", "base64": DATA},
        "image_inputs",
        "[image left out]",
    ),
    "Bedrock's document": (
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"pdf"}}},
        "pdf_inputs",
        "[document left out]",
    ),
    "Bedrock's image": ({"image": {"format": "png", "source": {"bytes": b"png"}}}, "image_inputs", "[image left out]"),
    "Mistral's document": (
        {"type": "document_url", "document_url": "http://127.0.0.1/a.pdf"},
        "pdf_inputs",
        "[document left out]",
    ),
    "a video by its address": (
        {"type": "video_url", "video_url": {"url": "http://127.0.0.1/a.mp4"}},
        "video_inputs",
        "[video left out]",
    ),
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


@pytest.mark.parametrize(
    ("block", "needs", "placeholder"), [*BLOCKS.values(), *OTHER_BLOCKS.values()], ids=[*BLOCKS, *OTHER_BLOCKS]
)
def test_a_block_of_any_provider_is_left_out_for_a_model_that_takes_none(block, needs, placeholder):
    conversation = [HumanMessage([LOOK, block])]
    (left,) = fitting_content(conversation, {needs: False})
    assert left.content == [LOOK, {"type": "text", "text": placeholder}]
    (whole,) = fitting_content(conversation, {name: name == needs for _, name, _ in BLOCKS.values()})
    assert whole is conversation[0]
    result = adviser_view([ToolMessage([LOOK, block], tool_call_id="1")], ())[0].text
    assert result == f"[tool result: Look:{placeholder}]"


def test_a_document_that_is_plain_text_is_text():
    blocks = [
        {"type": "text-plain", "text": "one ", "mime_type": "text/plain"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "two "}},
        {"type": "file", "source_type": "text", "text": "three"},
    ]
    assert fitting_content([HumanMessage(blocks)], {"pdf_inputs": False})[0].content == blocks
    assert adviser_view([ToolMessage(blocks, tool_call_id="1")], ())[0].text == "[tool result: one two three]"


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
    ask(ChatMoA(proposers=["lab/a"], rounds=2, aggregator="lab/writer", reference_placement="system"), conversation)
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
    "think with spaces in the tags": "<think >secret</think\n>42",
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


# -- Tools -----------------------------------------------------------------------------------------------------------

ODD_ARGUMENTS = {
    "half a surrogate pair": ({"q": LONE}, 'f({"q": "half a pair: ?"})'),
    "a date": ({"day": datetime.date(2026, 1, 2)}, 'f({"day": "2026-01-02"})'),
    "bytes": ({"data": b"x" * 9}, 'f({"data": "…"})'),
    "keys that are no text": ({"d": {(1, 2): 3}}, "f({'d': {(1, 2): 3}})"),
    "text in Chinese": ({"q": "字" * 300}, f'f({{"q": "{"字" * 300}"}})'),
    "base64": ({"image": "QUJD" * 99}, 'f({"image": "…"})'),
}


@pytest.mark.parametrize(("arguments", "shown"), ODD_ARGUMENTS.values(), ids=ODD_ARGUMENTS)
def test_tool_calls_with_odd_arguments_are_shown_in_history_and_in_proposals(ask, together, arguments, shown):
    together()
    call = AIMessage("", tool_calls=[{"id": "1", "name": "f", "args": arguments}])
    aggregator = ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[RunnableLambda(lambda _: call), "lab/a"], aggregator=aggregator)
    assert ask(model, [HumanMessage("Hi"), call, ToolMessage(LONE, tool_call_id="1")]).text == "done"
    assert f"\n1. [called tool: {shown}]\n2. reply of lab/a" in aggregator.seen[0][0].text
    view = adviser_view([HumanMessage("Hi"), call, ToolMessage(LONE, tool_call_id="1")], ())
    assert [message.text for message in view] == [
        "Hi",
        f"[called tool: {shown}]",
        "[tool result: half a pair: ?]",
    ]


def test_arguments_that_contain_themselves_are_shown_too():
    arguments = {"a": 1}
    arguments["self"] = arguments
    call = AIMessage("").model_copy(update={"tool_calls": [{"id": "1", "name": "f", "args": arguments}]})
    assert reference_text(call) == "[called tool: f({'a': 1, 'self': {...}})]"


def test_a_tool_result_that_is_only_json_is_shown():
    results = [{"type": "json", "json": {"temperature": 21}}, {"json": [1]}, {"type": "search_result", "title": "A b"}]
    shown = [adviser_view([ToolMessage([each], tool_call_id="1")], ())[0].text for each in results]
    assert shown == ['[tool result: {"temperature": 21}]', "[tool result: [1]]", '[tool result: {"title": "A b"}]']


SEARCH = {
    "Anthropic": AIMessage(
        [
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "weather"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s1",
                "content": [{"type": "web_search_result", "title": "It rains", "encrypted_content": "c2VjcmV0" * 99}],
            },
            {"type": "text", "text": "It rains."},
        ],
        response_metadata={"model_provider": "anthropic"},
    ),
    "standard blocks": AIMessage(
        [
            {"type": "server_tool_call", "id": "s1", "name": "web_search", "args": {"query": "weather"}},
            {"type": "server_tool_result", "tool_call_id": "s1", "status": "success", "output": "It rains"},
            {"type": "text", "text": "It rains."},
        ]
    ),
    "OpenAI Responses": AIMessage(
        [
            {
                "type": "web_search_call",
                "id": "s1",
                "status": "completed",
                "action": {"type": "search", "query": "weather", "sources": [{"type": "url", "url": "It rains"}]},
            },
            {"type": "text", "text": "It rains."},
        ],
        response_metadata={"model_provider": "openai"},
    ),
}


@pytest.mark.parametrize("answer", SEARCH.values(), ids=SEARCH)
def test_what_a_providers_own_tools_did_is_shown_to_proposers_and_is_no_part_of_references(answer):
    (_, shown, _) = adviser_view([HumanMessage("Weather?"), answer, HumanMessage("And?")], ())
    assert "[called tool: web_search(" in shown.text
    assert "weather" in shown.text
    assert "It rains" in shown.text
    assert "c2VjcmV0" not in shown.text
    assert shown.text.endswith("\nIt rains.")
    assert reference_text(answer) == "It rains."


def test_a_server_tool_that_failed_is_shown_as_failed():
    answer = AIMessage(
        [
            {"type": "server_tool_call", "id": "1", "name": "run", "args": {}},
            {"type": "server_tool_result", "tool_call_id": "1", "status": "error", "output": {"code": 1}},
        ]
    )
    shown = adviser_view([HumanMessage("Hi"), answer, HumanMessage("And?")], ())[1]
    assert shown.text == '[called tool: run({})]\n[tool result of run (failed): {"code": 1}]'


# -- Speakers --------------------------------------------------------------------------------------------------------


def test_what_two_speakers_said_in_a_row_is_one_turn_with_their_names(ask):
    model, proposer, aggregator = pair()
    conversation = [HumanMessage("I like cats", name="alice"), HumanMessage("I like dogs", name="bob")]
    ask(model, conversation)
    (seen,) = proposer.seen[0]
    assert (seen.content, seen.name) == ("alice: I like cats\n\nbob: I like dogs", None)
    assert [(message.content, message.name) for message in aggregator.seen[0][1:]] == [
        ("I like cats", "alice"),
        ("I like dogs", "bob"),
    ]


def test_one_speaker_keeps_the_name_and_needs_it_not_in_the_text():
    said = [HumanMessage("Hi", name="alice"), HumanMessage("You there?", name="alice")]
    (seen,) = adviser_view(said, ())
    assert (seen.content, seen.name) == ("Hi\n\nYou there?", "alice")


def test_speakers_of_blocks_and_assistants_have_their_names_as_well():
    blocks = [HumanMessage([LOOK], name="alice"), HumanMessage("Yes"), HumanMessage("No", name="bob")]
    answers = [AIMessage("42", name="coder"), AIMessage("43", name="critic")]
    seen, answered, _ = adviser_view([*blocks, *answers], ())
    assert [block["text"] for block in seen.content] == ["alice: ", "Look:", "Yes", "bob: No"]
    assert answered.text == "coder: 42\n\ncritic: 43"


def messages():
    names = st.none() | st.sampled_from(["alice", "bob"])
    content = any_text | st.lists(
        any_text | st.builds(lambda text: {"type": "text", "text": text}, any_text), max_size=3
    )
    results = content | st.just([{"type": "json", "json": {"a": LONE}}])
    calls = st.lists(st.builds(lambda text: {"id": "1", "name": "f", "args": {"a": text}}, any_text), max_size=2)
    return st.lists(
        st.builds(HumanMessage, content, name=names)
        | st.builds(AIMessage, content, name=names, tool_calls=calls)
        | st.builds(ToolMessage, results, tool_call_id=st.just("1"), name=names)
        | st.builds(SystemMessage, content),
        max_size=6,
    )


@without_a_clock
@given(messages())
def test_proposers_see_turns_that_providers_take_whatever_the_conversation_is(conversation):
    before = [message.model_dump() for message in conversation]
    view = adviser_view(conversation, ())
    turns = [message.type for message in view]
    assert set(turns) <= {"human", "ai", "system"}
    assert turns[-1] == "human"
    assert not {("human", "human"), ("ai", "ai")} & set(pairwise(turns))
    assert view[-1].text.strip()
    assert [message.model_dump() for message in conversation] == before


@without_a_clock
@given(messages())
def test_a_reference_can_always_be_sent(replies):
    for reply in replies:
        reference_text(reply).encode()
    assert reference_text("<think>secret</think>42") == "42"
