"""`MoAOptions`: every option of a mixture, with its text and its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Self, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from langchain_moa._messages.prompts import to_render
from langchain_moa.answer_keys import AnswerKey, matching
from langchain_moa.lineups import RESERVE
from langchain_moa.prices import to_price_list
from langchain_moa.proposers import Aggregator, ModelSettings, Proposer, check_member

ProposerLike = str | Proposer | Runnable[Any, Any]
"""A model string, a chat model, a `Proposer`, or another Runnable from messages to a message."""

AggregatorLike = str | Aggregator | Runnable[Any, Any]
"""A model string, a chat model, an `Aggregator`, or another Runnable from messages to a message."""

Gate = Callable[[Sequence[BaseMessage]], bool] | Runnable[Any, bool]
"""From the conversation to whether the proposers are asked."""


_Options = TypeVar("_Options", bound=BaseModel)

JUDGED = ("select", "analyze")
"""The ways to aggregate that ask a judge."""

# What takes the place of an option that there was.
_REPLACED = {"debias": ["judge_samples=2"]}


def documented(cls: type[_Options]) -> type[_Options]:
    """Add the text of each option to a class's docstring, for `help()`."""
    texts = ((name, field.description) for name, field in cls.model_fields.items() if field.description)
    options = "\n".join(f"    {name}: {' '.join(text.split())}" for name, text in texts)
    cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\nArgs:\n{options}\n"
    return cls


@documented
class MoAOptions(BaseModel):
    """The options of a mixture, as `ChatMoA` and `create_moa_graph` take them.

    Raises:
        ValueError: The options contradict each other.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str = "default"
    """Name of a line-up. With explicit proposers and aggregator it is only a label, `"moa"` by default."""

    proposers: Sequence[ProposerLike] | None = None
    """The proposers of each layer: model strings, chat models, `Proposer`s or other Runnables. Default: the
    line-up's."""

    rounds: int | None = Field(default=None, ge=1)
    """Number of proposer layers that `proposers` forms; from the second on they see references. Default: the line-up's,
    or 1."""

    layers: Sequence[Sequence[ProposerLike]] | None = None
    """Proposer layers, first to last, instead of `proposers` and `rounds`. The paper counts the aggregator as one
    more layer."""

    aggregator: AggregatorLike | None = None
    """Model that writes the answer and streams it; with settings of its own an `Aggregator`. Default: the line-up's."""

    fallback_aggregators: Sequence[AggregatorLike] = ()
    """Models that are tried in this order when the aggregator fails before its first token. Default: the line-up's, or
    none."""

    judge: AggregatorLike | None = None
    """Model that chooses (`aggregation="select"`) or analyzes (`"analyze"`). When it fails or its reply can't be used,
    the aggregator judges, then `fallback_aggregators`. A cheap judge costs little quality, a cheap aggregator much.
    Default: the line-up's, or the aggregator."""

    criteria: str | None = Field(default=None, min_length=1)
    """What counts in the answers, in one sentence for the judge, such as "A short answer that names its sources is
    best." Default: none."""

    judge_samples: int = Field(default=1, ge=1)
    """For `aggregation="select"`: number of verdicts, asked side by side over as many orders of the candidates, the
    second of which is the first one reversed. The candidate that more than half of them choose is the answer; without
    one the aggregator synthesizes."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature of models given as strings; a model object keeps its own. Default: the line-up's, or
    0.7."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Maximum number of tokens per reply of models given as strings; a model object keeps its own. Default: the
    line-up's, or 2048 for proposers and 8192 for the aggregator."""

    timeout: float = Field(default=120, gt=0)
    """Seconds that one proposer may take, including retries. It is also the HTTP timeout of models given as strings."""

    max_retries: int | None = Field(default=None, ge=0)
    """Number of times that a failed request of a model given as a string is sent again. Default: 2, for models that
    can."""

    model_kwargs: dict[str, Any] | None = None
    """Further arguments of every request of models given as strings, such as `{"top_p": 0.9}`."""

    api_key: SecretStr | None = None
    """Key for the models on Together that are given as strings. Default: the environment variable
    `TOGETHER_API_KEY`."""

    base_url: str | None = None
    """Address of the API for the models on Together that are given as strings. Default: the environment variable
    `TOGETHER_API_BASE`, or Together's own."""

    quorum: int | float | None = Field(default=None, gt=0)
    """Number of references that are enough: a count, or a fraction of the layer (0.5). Default: all."""

    grace: float = Field(default=0, ge=0)
    """Seconds that slower proposers still get once the quorum is reached; then they are canceled."""

    deadline: float | None = Field(default=None, gt=0)
    """Seconds for the whole call, to the aggregator's last token. Each layer, and each wave of a vote, may use an even
    share of the time that is left, so that the aggregator always has some. Default: none."""

    first_token_timeout: float | None = Field(default=None, gt=0)
    """Seconds until the aggregator's first token, including retries; then the next of `fallback_aggregators` is tried.
    An answer that is not streamed has its first token when it is complete. Default: `timeout`."""

    min_references: int = Field(default=1, ge=0)
    """Minimum number of references per layer. With fewer the layer has failed, see `on_failure`."""

    on_failure: Literal["raise", "aggregate_alone"] = "raise"
    """What to do when a layer has failed: raise `ProposersFailedError`, or let the aggregator answer without
    references."""

    aggregation: Literal["synthesize", "select", "vote", "analyze"] = "synthesize"
    """How references become the answer: the aggregator writes it from them (`"synthesize"`), the judge chooses the
    best one (`"select"`) or analyzes them before the aggregator writes (`"analyze"`), or the proposals vote (`"vote"`).
    With tools or a schema the aggregator always synthesizes."""

    answer_key: AnswerKey | str | None = None
    r"""For `aggregation="vote"`: a function from a proposal's text to its answer (see `langchain_moa.answer_keys`), or
    a regular expression whose first group, or whole match, is the answer. Default: the last `\boxed{}`, else an option
    letter, else a number."""

    wave: int | None = Field(default=None, ge=1)
    """For `aggregation="vote"`: number of proposers that are asked at a time, in the order given; the next ones only
    while the vote is open. With 5 and `Proposer(samples=5)` it is ModelSwitch (arXiv 2504.00762). Default: all."""

    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    """For `aggregation="vote"`: probability of the leader's lead that closes the vote, such as 0.95
    (Adaptive-Consistency, arXiv 2305.11860). Default: none, and the vote closes when the leader can't be overtaken."""

    window: int | None = Field(default=None, ge=2)
    """Maximum number of references that one call sees; with more of them they are aggregated in passes (Self-MoA-Seq,
    arXiv 2502.00674). Default: the line-up's, or all."""

    reserve: int = Field(default=RESERVE, ge=1)
    """Places in the window that the synthesis of the previous passes takes, so that it counts for more."""

    prompt: str | Callable[[Sequence[str]], str] = "paper"
    """How references are shown to whoever writes from them, and with what task: `"paper"`, as there; `"fenced"`, each
    between marks and declared untrusted; `"faithful"`, to keep sources, figures and dissent. Or your own: a template in
    which `{references}` stands, which are a numbered line each; or a function from the list of the references' texts
    to the text, which is called several times per request, also with shortened texts."""

    shuffle: bool = False
    """Show references in a random order, which is reported in `response_metadata["moa"]["order"]`."""

    shuffle_seed: int = 0
    """Seed of random orders, of those that a judge sees too; the same seed and question give the same order."""

    reference_placement: Literal["auto", "system", "tail"] = "auto"
    """Where references go: `"system"`, in the system message as in the paper; `"tail"`, after the conversation, so
    that the steps of an agent and the turns of a chat share a prefix that prompt caches know; `"auto"`: tail when tools
    are bound and from the second turn on, else system. In published line-ups a second turn changes nothing."""

    fan_out: Literal["auto", "always", "user_turn"] | Gate = "auto"
    """When the proposers are asked: `"always"`; `"user_turn"`, once per message of the user; or a gate, a callable or
    Runnable from the messages to a bool (see `langchain_moa.gates`). `"auto"`: user_turn when tools are bound, else
    always."""

    prices: Mapping[str, Any] | None = None
    """Prices by model name, in US dollars per million tokens: `{"lab/a": {"input": 2.5, "output": 10, "cached":
    1.25}}`, where `cached` is optional. They come before those of the package `genai-prices` (extra `prices`). Default:
    none."""

    max_cost: float | None = Field(default=None, gt=0)
    """Budget of one call in US dollars. Before every layer but the first, every step and the answer, what it would cost
    is estimated from the last layer's calls; what would pass the budget is left out, and named in `degraded`. Default:
    none."""

    max_total_tokens: int | None = Field(default=None, ge=1)
    """Budget of one call in tokens, of input and output together; it works as `max_cost` does. Default: none."""

    include_references: bool = False
    """Include the references' texts in the answer's `response_metadata["moa"]`."""

    @model_validator(mode="before")
    @classmethod
    def _know_every_option(cls, values: Any) -> Any:
        """Name the option that a misspelled one was probably meant to be."""
        if not isinstance(values, Mapping):
            return values
        names = set(cls.model_fields)
        for field in cls.model_fields.values():
            if isinstance(field.validation_alias, AliasChoices):
                names.update(map(str, field.validation_alias.choices))
            elif field.alias:
                names.add(field.alias)
        for unknown in (name for name in values if name not in names):
            meant = _REPLACED.get(unknown) or get_close_matches(str(unknown), names, n=1, cutoff=0.7)
            hint = f" Did you mean {meant[0]!r}?" if meant else ""
            if not hint and "model_kwargs" in names:
                hint = f" To send it with every request, give model_kwargs={{{unknown!r}: ...}}."
            msg = f"{unknown!r} is no option of {cls.__name__}.{hint}"
            raise ValueError(msg)
        return values

    @field_validator("proposers", "fallback_aggregators", mode="before")
    @classmethod
    def _are_models(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str | ModelSettings | Runnable):
            example = repr(value) if isinstance(value, str) else type(value).__name__ + "(...)"
            msg = f"{info.field_name} is a list: write {info.field_name}=[{example}]."
            raise ValueError(msg)
        if isinstance(value, Sequence):
            for one in value:
                check_member(one, Proposer if info.field_name == "proposers" else Aggregator, info.field_name)
        return value

    @field_validator("layers", mode="before")
    @classmethod
    def _are_layers(cls, value: Any) -> Any:
        for layer in value if isinstance(value, Sequence) else ():
            if isinstance(layer, str | ModelSettings | Runnable):
                msg = (
                    "layers is a list of lists: write layers=[['lab/a', 'lab/b'], ['lab/c']], or proposers=[...] for a "
                    "single layer."
                )
                raise ValueError(msg)
            for one in layer if isinstance(layer, Sequence) else ():
                check_member(one, Proposer, "layers")
        return value

    @field_validator("aggregator", "judge", mode="before")
    @classmethod
    def _is_a_model(cls, value: Any, info: ValidationInfo) -> Any:
        check_member(value, Aggregator, info.field_name)
        return value

    @field_validator("prices")
    @classmethod
    def _are_prices(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if value is not None:
            to_price_list(value, source="prices")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.layers is not None and (self.proposers is not None or self.rounds is not None):
            msg = "layers spells out every layer: give either layers, or proposers and rounds."
            raise ValueError(msg)
        for option, is_given, ways in (
            ("judge", self.judge is not None, JUDGED),
            ("criteria", self.criteria is not None, JUDGED),
            ("judge_samples", self.judge_samples > 1, ("select",)),
            ("answer_key", self.answer_key is not None, ("vote",)),
            ("wave", self.wave is not None, ("vote",)),
            ("confidence", self.confidence is not None, ("vote",)),
        ):
            if is_given and self.aggregation not in ways:
                msg = f"{option} is for aggregation={' or '.join(map(repr, ways))}, not {self.aggregation!r}."
                raise ValueError(msg)
        to_render(self.prompt)
        if isinstance(self.answer_key, str):
            matching(self.answer_key)
        if self.window is not None and self.reserve >= self.window:
            msg = f"reserve is {self.reserve}; give at least 1, and less than the window of {self.window}."
            raise ValueError(msg)
        return self

    @property
    def is_explicit(self) -> bool:
        """Whether the options name all who take part, so that `model` is only a label."""
        return self.aggregator is not None and (self.layers is not None or self.proposers is not None)
