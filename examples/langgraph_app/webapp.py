"""The OpenAI route of the same server, under `/v1`: the server has pages of its own at `/`, `/docs` and `/metrics`."""

import os

from starlette.applications import Starlette
from starlette.routing import Route

from langchain_moa.server.app import create_app

openai = create_app(api_key=os.environ.get("MOA_API_KEY"))
app = Starlette(routes=[Route("/v1/{path:path}", openai)])
