"""`moa chat`: a conversation in the terminal."""

from __future__ import annotations

import asyncio

import typer

from langchain_moa.cli import mixture_options as options


def chat(
    model: options.Model = None,
    proposer: options.Proposers = None,
    reference_models: options.ReferenceModels = None,
    aggregator: options.Aggregator = None,
    rounds: options.Rounds = None,
    aggregation: options.Aggregation = None,
    temperature: options.Temperature = None,
    max_tokens: options.MaxTokens = None,
    num_proc: options.NumProc = None,
    timeout: options.Timeout = None,
    prices: options.Prices = None,
    max_cost: options.MaxCost = None,
    system: options.System = None,
    multi_turn: bool = typer.Option(True, help="Send the conversation so far with each question."),
    debug: options.Debug = False,
) -> None:
    """Chat in the terminal. `/help` lists the commands; `exit` quits."""
    mixture = options.MixtureOptions(
        model=model,
        proposers=options.all_proposers(proposer, reference_models),
        aggregator=aggregator,
        rounds=rounds,
        temperature=temperature,
        max_tokens=max_tokens,
        timeout=timeout,
        aggregation=aggregation,
        prices=prices,
        max_cost=max_cost,
    )
    options.tell_if_local(mixture)
    from langchain_moa.cli.conversation import Conversation
    from langchain_moa.cli.terminal.prompt import open_prompt

    with asyncio.Runner() as runner:
        conversation = Conversation(
            mixture, runner, system=system, num_proc=num_proc, multi_turn=multi_turn, debug=debug
        )
        conversation.talk(open_prompt(conversation.commands))
