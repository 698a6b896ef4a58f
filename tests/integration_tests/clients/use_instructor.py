"""instructor, with the Responses API: `python use_instructor.py http://127.0.0.1:8000/v1`."""

import sys

import instructor
import openai
from pydantic import BaseModel


class Joke(BaseModel):
    setup: str


client = instructor.from_openai(
    openai.OpenAI(base_url=sys.argv[1], api_key="any", max_retries=0), mode=instructor.Mode.RESPONSES_TOOLS
)
asked = {"model": "moa-1", "input": "Say something short.", "response_model": Joke}
assert client.responses.create(**asked).setup == "a value"
assert list(client.responses.create_partial(**asked))[-1].setup == "a value"
print("passed")
