"""What togethercomputer/MoA sends, in its own terms: generate_for_alpaca_eval.py::process_fn and utils.py."""

SYNTHESIZE = """You have been provided with a set of responses from various open-source models to the latest user \
query. Your task is to synthesize these responses into a single, high-quality response. It is crucial to critically \
evaluate the information provided in these responses, recognizing that some of it may be biased or incorrect. Your \
response should not simply replicate the given answers but should offer a refined, accurate, and comprehensive reply \
to the instruction. Ensure your response is well-structured, coherent, and adheres to the highest standards of \
accuracy and reliability.

Responses from models:"""


def upstream_requests(messages, models, aggregator, rounds, reply_of):
    """Return the messages of every request of the original, as (model, messages), in the order of the layers."""

    def inject(references):
        if not references:
            return messages
        system = SYNTHESIZE + "".join(f"\n{i + 1}. {text}" for i, text in enumerate(references))
        if messages[0]["role"] == "system":
            first = {"role": "system", "content": messages[0]["content"] + "\n\n" + system}
            return [first, *messages[1:]]
        return [{"role": "system", "content": system}, *messages]

    requests, references = [], []
    for _ in range(rounds):
        seen = inject(references)
        requests += [(model, seen) for model in models]
        references = [reply_of(model, seen).strip() for model in models]
    return [*requests, (aggregator, inject(references))]
