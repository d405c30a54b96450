"""OpenAI's SDK."""

from __future__ import annotations

import asyncio

import openai

from tests.clients.operations import CHAT, DENSE, QUESTION, TEXTS, Operations, refused, same

operations = Operations("openai")
MESSAGES = [{"role": "user", "content": "Hi"}]
WAY_OUT = "check_embedding_ctx_length=False"


def client(url: str, base: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=url + base, api_key="any", max_retries=0)


@operations.named("`embeddings.create`, base URL `/v1`, base64 as the SDK asks for it")
def documents(url: str) -> str:
    answer = client(url).embeddings.create(model=DENSE, input=TEXTS)
    assert [row.index for row in answer.data] == [0, 1, 2]
    return same(answer.data[1].embedding, url, TEXTS[1], "ingest")


@operations.named("`embeddings.create`, base URL `/search/v1`")
def question(url: str) -> str:
    answer = client(url, "/search/v1").embeddings.create(model=DENSE, input=QUESTION)
    return same(answer.data[0].embedding, url, QUESTION, "search")


@operations.named('`embeddings.create` with `encoding_format="float"` and `extra_body={"input_type": "query"}`')
def floats(url: str) -> str:
    answer = client(url).embeddings.create(
        model=DENSE, input=QUESTION, encoding_format="float", extra_body={"input_type": "query"}
    )
    return same(answer.data[0].embedding, url, QUESTION, "search")


@operations.named("`AsyncOpenAI`, `embeddings.create`")
def asynchronously(url: str) -> str:
    async def embed() -> list[float]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as other:
            answer = await other.embeddings.create(model=DENSE, input=QUESTION)
        return list(answer.data[0].embedding)

    return same(asyncio.run(embed()), url, QUESTION, "ingest")


@operations.named("`AzureOpenAI`, `embeddings.create` and `chat.completions.create`")
def azure(url: str) -> str:
    other = openai.AzureOpenAI(azure_endpoint=f"{url}/search", api_key="any", api_version="2024-10-21", max_retries=0)
    answer = other.embeddings.create(model=DENSE, input=QUESTION)
    chats = openai.AzureOpenAI(azure_endpoint=url, api_key="any", api_version="2024-10-21", max_retries=0)
    said = chats.chat.completions.create(model=CHAT, messages=MESSAGES)
    assert said.choices[0].message.content == "Hello there"
    return same(answer.data[0].embedding, url, QUESTION, "search")


@operations.named("`models.list`, `models.retrieve`")
def models(url: str) -> str:
    names = {model.id for model in client(url).models.list()}
    assert {DENSE, CHAT} <= names
    assert client(url).models.retrieve(DENSE).id == DENSE
    return "every endpoint as a model"


@operations.named("`chat.completions.create`")
def chat(url: str) -> str:
    answer = client(url).chat.completions.create(model=CHAT, messages=MESSAGES, temperature=0)
    assert answer.choices[0].message.content == "Hello there"
    assert answer.usage.total_tokens == 7
    return f"`{answer.choices[0].message.content}`, {answer.usage.total_tokens} tokens"


@operations.named("`chat.completions.create(stream=True)`")
def streamed(url: str) -> str:
    with client(url).chat.completions.create(model=CHAT, messages=MESSAGES, stream=True) as chunks:
        pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    pieces = [piece for piece in pieces if piece]
    assert pieces == ["Hello", " there"]
    return f"{len(pieces)} pieces, `{''.join(pieces)}`"


@operations.named("`chat.completions.create(stream=True)`, every chunk's first choice looked into")
def first_choices(url: str) -> str:
    with client(url).chat.completions.create(model=CHAT, messages=MESSAGES, stream=True) as chunks:
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == "Hello there", said
    return f"`{said}`"


@operations.named('`chat.completions.create(stream=True)` with `stream_options={"include_usage": True}`')
def usage(url: str) -> str:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    with client(url).chat.completions.create(model=CHAT, messages=MESSAGES, **asked) as chunks:
        told = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert told == [7], told
    return f"{told[0]} tokens, once"


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@operations.named("`chat.completions.stream` with `tools`")
def tool_streamed(url: str) -> str:
    with client(url).chat.completions.stream(model=CHAT, messages=MESSAGES, tools=TOOLS) as events:
        for _ in events:
            pass
        message = events.get_final_completion().choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Oslo"}')
    return f"`{call.function.name}({call.function.arguments})`"


@operations.named("`chat.completions.create` with `tools`, the tool's answer sent back")
def tool_answered(url: str) -> str:
    first = client(url).chat.completions.create(model=CHAT, messages=MESSAGES, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls"
    answer = {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "rain"}
    turns = [*MESSAGES, first.message, answer]
    last = client(url).chat.completions.create(model=CHAT, messages=turns, tools=TOOLS).choices[0]
    assert last.message.content == "Hello there"
    return f"`{last.message.content}`"


@operations.named("error: a `response_format` that cannot be promised")
def json_mode(url: str) -> str:
    return refused(
        lambda: client(url).chat.completions.create(
            model=CHAT, messages=MESSAGES, response_format={"type": "json_object"}
        ),
        openai.UnprocessableEntityError,
        "[response_format] is not supported",
    )


@operations.named("error: a model that is no endpoint")
def no_model(url: str) -> str:
    return refused(
        lambda: client(url).embeddings.create(model="nothing", input="a"),
        openai.NotFoundError,
        "Inference endpoint not found",
    )


@operations.named("error: a route that is not there")
def no_route(url: str) -> str:
    return refused(lambda: client(url).moderations.create(input="a"), openai.NotFoundError, "Invalid URL")


@operations.named("error: token ids instead of texts")
def tokens(url: str) -> str:
    return refused(
        lambda: client(url).embeddings.create(model=DENSE, input=[1, 2]), openai.UnprocessableEntityError, WAY_OUT
    )


@operations.named("error: `dimensions` that the model does not have")
def dimensions(url: str) -> str:
    return refused(
        lambda: client(url).embeddings.create(model=DENSE, input="a", dimensions=64),
        openai.BadRequestError,
        "has 384 dimensions and cannot give 64",
    )


if __name__ == "__main__":
    operations.main()
