"""A tree of nine, three and one: three mixtures of three proposers each, and an aggregator. Needs TOGETHER_API_KEY.

With `layers=[nine, three]` each of the three would see all nine proposals; in the tree each sees its own three.
"""

from langchain_moa import ChatMoA, Proposer

PERSONAS = {
    "engineer": "You are an engineer: look for what breaks.",
    "economist": "You are an economist: look for what it costs, and whom.",
    "lawyer": "You are a lawyer: look for what is not allowed.",
}
LEAVES = ("Qwen/Qwen3.7-Max", "google/gemma-4-31B-it", "meta-llama/Llama-3.3-70B-Instruct-Turbo")

branches = [
    Proposer(
        model=ChatMoA(
            proposers=[Proposer(model=leaf, instructions=instructions) for leaf in LEAVES],
            aggregator="google/gemma-4-31B-it",
        ),
        name=name,
    )
    for name, instructions in PERSONAS.items()
]
tree = ChatMoA(proposers=branches, aggregator="Qwen/Qwen3.7-Max")

answer = tree.invoke("Should a city make its buses free?")
print(answer.text)
for branch in answer.response_metadata["moa"]["layers"][0]:
    tokens = (branch["usage"] or {}).get("total_tokens")
    print(f"{branch['proposer']:10} {branch['status']:4} {branch['seconds']:5.1f} s {tokens} tokens")
