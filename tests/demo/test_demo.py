"""The demo on a real node with a Basic licence and a real sidecar, with some of its questions."""

import io
import subprocess
import sys
from pathlib import Path

from elasticsearch import AsyncElasticsearch
from rich.console import Console

from demo.judged_corpus import passages, questions
from demo.searches import INDEX, METHODS, scores
from demo.sidecar_process import running_sidecar
from demo.story import EXPLAINED, SHOWCASE, Story


async def test_the_story_is_told_and_leaves_nothing_behind(elasticsearch_basic: str, tmp_path: Path) -> None:
    asked = [question for question in questions() if question.id in {*SHOWCASE, EXPLAINED}]
    output = io.StringIO()
    with running_sidecar(tmp_path, elasticsearch_basic) as sidecar:
        story = Story(Console(file=output, width=130), sidecar.url, elasticsearch_basic, sidecar.environment)
        results = await story.tell(asked=asked)
        async with AsyncElasticsearch(sidecar.url) as client:
            left = [endpoint["inference_id"] for endpoint in (await client.inference.get())["endpoints"]]
    assert not [name for name in left if name.startswith("demo-")]
    async with AsyncElasticsearch(elasticsearch_basic) as client:
        assert not await client.indices.exists(index=INDEX)
    assert [result.question.id for result in results] == [question.id for question in asked]
    for result in results:
        assert set(result.hits) == set(METHODS)
        assert all(len(hits) > 0 for hits in result.hits.values())
    assert scores(results, "dense") > scores(results, "BM25")
    told = output.getvalue()
    titles = {passage.id: passage.title for passage in passages()}
    best = next(result for result in results if result.question.id == EXPLAINED)
    assert titles[best.hits["sparse"][0].id] in told
    assert "nDCG@10" in told
    assert "adds to the score" in told


def test_half_a_pair_of_addresses_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "demo", "--url", "http://127.0.0.1:1"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "go together" in ended.stderr
