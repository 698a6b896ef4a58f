"""ChatMoA as the LLM of a chain, with structured output. Needs TOGETHER_API_KEY."""

from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from langchain_moa import ChatMoA


class Review(BaseModel):
    """A code review."""

    verdict: str = Field(description="approve or reject")
    reasons: list[str]


prompt = ChatPromptTemplate.from_template("Review this change:\n\n{diff}")
chain = prompt | ChatMoA().with_structured_output(Review)
review = chain.invoke({"diff": "-timeout = 30\n+timeout = None"})
print(review.verdict, *review.reasons, sep="\n- ")
