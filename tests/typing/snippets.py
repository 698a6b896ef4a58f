"""What users write, for type checkers: each line must be clean without pydantic's mypy plugin. It is never run."""

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from langchain_moa import Aggregator, ChatMoA, Proposer, ProposersFailedError, create_moa_graph
from langchain_moa.lineups import LINEUPS
from langchain_moa.options import MoAOptions


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return city


class Answer(BaseModel):
    """An answer."""

    text: str


def is_long(messages: Sequence[BaseMessage]) -> bool:
    """Whether a question is worth the proposers."""
    return len(messages[-1].text) > 20


def build(model: BaseChatModel, models: list[BaseChatModel], names: list[str]) -> list[BaseChatModel]:
    """Construct mixtures of all kinds."""
    people: list[Proposer] = [Proposer(model="lab/a", samples=2, temperature=1.0), Proposer(model=model)]
    mixed: list[str | Proposer | BaseChatModel] = ["lab/a", *people, model]
    function: Runnable[list[BaseMessage], AIMessage] = RunnableLambda(lambda messages: AIMessage("Hi"))
    return [
        ChatMoA(),
        ChatMoA(model="together-moa-lite", temperature=0, max_tokens=100, timeout=60, max_retries=2, stop=["END"]),
        ChatMoA(proposers=names, aggregator="lab/writer"),
        ChatMoA(proposers=models, aggregator=model),
        ChatMoA(proposers=people, aggregator=model, fallback_aggregators=models),
        ChatMoA(proposers=mixed, aggregator=model.with_retry()),
        ChatMoA(aggregator=Aggregator(model=model, max_tokens=9), judge="lab/a", fallback_aggregators=["lab/b", model]),
        ChatMoA(proposers=tuple(names), aggregator="lab/writer", quorum=0.5, grace=2, fan_out=is_long),
        ChatMoA(proposers=[function, "lab/a"], aggregator=function),
        ChatMoA(layers=[names, ["lab/a"]], aggregator="lab/writer", aggregation="vote", answer_key=str.lower),
        ChatMoA(proposers=list(LINEUPS["bot"].proposers), aggregator="openai:gpt-5.4"),
        ChatMoA(api_key=SecretStr("key"), base_url="http://127.0.0.1/v1", model_kwargs={"top_p": 0.9}),
    ]


def assign(model: ChatMoA, names: list[str]) -> str:
    """Assign options and look at them."""
    model.proposers = names
    model.rounds = 3
    model.temperature = 0.5
    return model.describe() + model.model_name


async def ask(model: ChatMoA) -> str:
    """Ask in every way."""
    text: str = model.invoke("Hi").text
    text += (await model.ainvoke([HumanMessage("Hi")], temperature=0.1)).text
    for chunk in model.stream("Hi"):
        text += chunk.text
    async for chunk in model.astream([("user", "Hi")]):
        text += chunk.text
    message: AIMessage = model.bind_tools([weather], tool_choice="auto").invoke("Hi")
    answer = model.with_structured_output(Answer).invoke("Hi")
    assert isinstance(answer, Answer)
    try:
        answers: list[AIMessage] = model.batch(["One?", "Two?"])
    except ProposersFailedError as error:
        return ", ".join(f"{name}: {cause}" for name, cause in error.errors.items())
    return text + message.text + answer.text + "".join(one.text for one in answers)


def graph(names: list[str], model: BaseChatModel) -> object:
    """Build the graph itself."""
    options = MoAOptions(proposers=names, aggregator=model)
    compiled = create_moa_graph(proposers=names, aggregator=model, rounds=2).compile()
    return compiled.invoke({"messages": [HumanMessage("Hi")]}), options
