"""`moa chat`: a conversation in the terminal."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from langchain_moa.cli import mixture_options as options


@options.takes_a_mixture
def chat(
    mixture: options.MixtureOptions,
    num_proc: options.NumProc = None,
    system: options.System = None,
    multi_turn: Annotated[bool, typer.Option(help="Send the conversation so far with each question.")] = True,
    debug: options.Debug = False,
) -> None:
    """Chat in the terminal. `/help` lists the commands; `exit` quits."""
    options.tell_if_local(mixture)
    from langchain_moa.cli.conversation import Conversation
    from langchain_moa.cli.terminal.prompt import open_prompt

    with asyncio.Runner() as runner:
        conversation = Conversation(
            mixture, runner, system=system, num_proc=num_proc, multi_turn=multi_turn, debug=debug
        )
        conversation.talk(open_prompt(conversation.completions()))
