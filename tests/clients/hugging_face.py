"""huggingface_hub's ``InferenceClient``, which speaks to text-embeddings-inference and to chats in OpenAI's form."""

from __future__ import annotations

from huggingface_hub import InferenceClient

from tests.clients.operations import CHAT, DENSE, QUESTION, Operations, same

operations = Operations("huggingface_hub")


def client(url: str) -> InferenceClient:
    return InferenceClient(model=f"{url}/compat/hf/{DENSE}", token="any")


@operations.named("`feature_extraction`")
def document(url: str) -> str:
    return same(client(url).feature_extraction(QUESTION).flatten().tolist(), url, QUESTION, "ingest")


@operations.named('`feature_extraction(prompt_name="query")`')
def question(url: str) -> str:
    vector = client(url).feature_extraction(QUESTION, prompt_name="query", normalize=True, truncate=True)
    return same(vector.flatten().tolist(), url, QUESTION, "search")


@operations.named("`chat_completion`, base URL `/v1`")
def chat(url: str) -> str:
    answer = InferenceClient(base_url=f"{url}/v1", api_key="any").chat_completion(
        [{"role": "user", "content": "Hi"}], model=CHAT
    )
    assert answer.choices[0].message.content == "Hello there"
    return f"`{answer.choices[0].message.content}`"


@operations.named("`chat_completion(stream=True)`")
def streamed(url: str) -> str:
    kept = InferenceClient(base_url=f"{url}/v1", api_key="any")  # a client that is gone has closed its streams
    chunks = kept.chat_completion([{"role": "user", "content": "Hi"}], model=CHAT, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello there"
    return f"`{text}`"


if __name__ == "__main__":
    operations.main()
