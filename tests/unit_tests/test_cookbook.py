"""The run that Together recorded in its cookbook, replayed over HTTP: the first thing that must work."""

from dataclasses import replace
from functools import reduce
from operator import add

from langchain_moa import ChatMoA
from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE
from tests.cookbook import RUN, replay


def test_the_cookbooks_run_ends_in_the_right_answer(ask, together):
    server = together(replay)
    answer = ask(ChatMoA(model="cookbook", include_references=True), RUN["prompt"])

    calls = answer.response_metadata["moa"]["layers"][0]
    assert [call["text"] for call in calls] == [proposal["text"].strip() for proposal in RUN["proposals"]]
    assert [call["status"] for call in calls] == ["truncated", "ok", "ok", "ok"]

    *proposals, aggregation = server.requests
    assert {body["model"] for body in proposals} == {proposal["model"] for proposal in RUN["proposals"]}
    assert all(body["messages"] == [{"role": "user", "content": RUN["prompt"]}] for body in proposals)
    numbered = "".join(f"\n{i}. {proposal['text'].strip()}" for i, proposal in enumerate(RUN["proposals"], 1))
    assert aggregation["messages"] == [
        {"role": "system", "content": AGGREGATE_AND_SYNTHESIZE + numbered},
        {"role": "user", "content": RUN["prompt"]},
    ]
    assert {(body["temperature"], body["max_tokens"]) for body in server.requests} == {(0.7, 512)}

    assert answer.text == RUN["aggregator"]["text"]
    assert RUN["expected_answer"] in answer.text.splitlines()[-1]
    assert answer.response_metadata["model_name"] == "cookbook"


def test_its_answer_streams_in_many_chunks(together):
    together(lambda body: replace(replay(body), token_delay=0.002))  # what arrives together is one chunk
    chunks = list(ChatMoA(model="cookbook").stream(RUN["prompt"]))
    assert sum(bool(chunk.text) for chunk in chunks) > 20
    assert reduce(add, chunks).text == RUN["aggregator"]["text"]
