"""The Cranfield 1400 collection from a directory, and a plain BM25 to compare with.

The collection is not part of this project; its classic form is three files: ``cran.all.1400`` (abstracts with fields
``.I .T .A .B .W``), ``cran.qry`` (questions) and ``cranqrel`` (question number by position, document, grade).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidecar.search.evaluation import mean, ndcg, recall


@dataclass(frozen=True, slots=True)
class Collection:
    """Texts by id, questions by number, and gains: 5 - grade, grade -1 read as 4; grade 5 is no gain."""

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]

    @classmethod
    def read(cls, path: Path) -> Collection:
        """Reads the three files under ``path``; a document's text is its ``.W`` field."""
        documents = {}
        for record in re.split(r"^\.I ", (path / "cran.all.1400").read_text(), flags=re.MULTILINE)[1:]:
            number, _, rest = record.partition("\n")
            documents[number.strip()] = " ".join(rest.split("\n.W\n", 1)[1].split()) if "\n.W\n" in rest else ""
        records = re.split(r"^\.I ", (path / "cran.qry").read_text(), flags=re.MULTILINE)[1:]
        queries = {str(n): " ".join(record.split(".W\n", 1)[1].split()) for n, record in enumerate(records, 1)}
        judgements: dict[str, dict[str, float]] = defaultdict(dict)
        for line in (path / "cranqrel").read_text().splitlines():
            if len(fields := line.split()) >= 3:
                grade = int(fields[2])
                judgements[fields[0]][fields[1]] = float(5 - (4 if grade == -1 else grade))
        return cls(documents, queries, dict(judgements))

    def quality(self, scores: npt.NDArray[np.float32]) -> tuple[float, float]:
        """nDCG@10 and Recall@100 of scores (questions x documents, both in the order of this collection)."""
        ids = list(self.documents)
        gains, recalls = [], []
        for row, query in zip(scores, self.queries, strict=True):
            ranking = [ids[n] for n in np.argsort(-row, kind="stable")[:100]]
            gains.append(ndcg(ranking, self.judgements.get(query, {})))
            recalls.append(recall(ranking, self.judgements.get(query, {})))
        return mean(gains), mean(recalls)


def bm25(collection: Collection, k1: float = 1.2, b: float = 0.75) -> npt.NDArray[np.float32]:
    """Scores (questions x documents) with lower-cased words, no stemming, no stop words: Lucene's standard analyzer."""
    texts = [re.findall(r"\w+", text.lower()) for text in collection.documents.values()]
    average = sum(map(len, texts)) / len(texts)
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, words in enumerate(texts):
        for word, count in Counter(words).items():
            postings[word].append((number, count))
    scores = np.zeros((len(collection.queries), len(texts)), np.float32)
    for row, query in enumerate(collection.queries.values()):
        for word in re.findall(r"\w+", query.lower()):
            found = postings.get(word, [])
            idf = math.log(1 + (len(texts) - len(found) + 0.5) / (len(found) + 0.5))
            for number, count in found:
                length = 1 - b + b * len(texts[number]) / average
                scores[row, number] += idf * count / (count + k1 * length)
    return scores
