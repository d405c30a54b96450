// The JavaScript client of Elasticsearch, through a front: `node javascript.mjs PACKAGE URL`, run below node_modules.
import { createRequire } from 'node:module'
import assert from 'node:assert'
import { readFileSync } from 'node:fs'
import path from 'node:path'

const [name, url] = process.argv.slice(2)
const require = createRequire(path.join(process.cwd(), 'program.js'))
const { Client } = require(name)
const client = new Client({ node: url })
const SPARSE = '.elser-2-elasticsearch'
const DENSE = '.multilingual-e5-small-elasticsearch'
const RERANK = '.rerank-v1-elasticsearch'
const TEXTS = ['ships sail to the harbour', 'whales sing in the deep sea', 'stocks fell on Monday']
const QUESTION = 'how do whales sing'
const index = `written-by-${name}`

const operations = {
  '`info`': async () => {
    const info = await client.info()
    assert.ok(info.version.build_hash)
    return `version ${info.version.number}`
  },
  '`inference.textEmbedding`': async () => {
    const answer = await client.inference.textEmbedding({ inference_id: DENSE, input: TEXTS })
    assert.strictEqual(answer.text_embedding.length, 3)
    return `${answer.text_embedding.length} vectors of ${answer.text_embedding[0].embedding.length} numbers`
  },
  '`inference.sparseEmbedding`': async () => {
    const answer = await client.inference.sparseEmbedding({ inference_id: SPARSE, input: QUESTION })
    assert.ok(answer.sparse_embedding[0].embedding.whales > 0)
    return 'tokens with their weights'
  },
  '`inference.rerank`': async () => {
    const answer = await client.inference.rerank({ inference_id: RERANK, query: QUESTION, input: TEXTS })
    assert.strictEqual(answer.rerank[0].index, 1)
    return `${answer.rerank.length} documents, the best first`
  },
  '`inference.put`, `get`, `update`, `delete`': async () => {
    const settings = { model_id: 'all-MiniLM-L6-v2', num_allocations: 1, num_threads: 1 }
    const inference_id = `made-by-${name}`
    await client.inference.delete({ inference_id, force: true }, { ignore: [404] })
    const made = { service: 'elasticsearch', service_settings: settings }
    await client.inference.put({ task_type: 'text_embedding', inference_id, inference_config: made })
    const change = { service: 'elasticsearch', service_settings: { num_allocations: 2 } }
    await client.inference.update({ task_type: 'text_embedding', inference_id, inference_config: change })
    const { endpoints } = await client.inference.get({ inference_id })
    assert.strictEqual(endpoints[0].service_settings.num_allocations, 2)
    await client.inference.delete({ inference_id })
    return 'an endpoint of a local model'
  },
  '`helpers.bulk` into a bound index': async () => {
    await client.indices.delete({ index, ignore_unavailable: true })
    const mappings = {
      _meta: { sidecar: { maps: [`text:tokens=${SPARSE}`, `text:vector=${DENSE}`] } },
      properties: {
        text: { type: 'text' },
        tokens: { type: 'sparse_vector' },
        vector: { type: 'dense_vector', dims: 384, similarity: 'cosine' }
      }
    }
    await client.indices.create({ index, mappings })
    const datasource = TEXTS.map((text) => ({ text }))
    const said = await client.helpers.bulk({ datasource, onDocument: () => ({ index: { _index: index } }), refreshOnCompletion: index })
    assert.deepStrictEqual([said.successful, said.failed], [3, 0])
    return `${said.successful} documents written`
  },
  '`search`, `sparse_vector` with `inference_id`': async () => {
    const query = { sparse_vector: { field: 'tokens', inference_id: SPARSE, query: QUESTION } }
    const { hits } = await client.search({ index, query })
    assert.strictEqual(hits.hits[0]._source.text, TEXTS[1])
    return `${hits.hits.length} hits, the best first`
  },
  '`search`, `knn` with `query_vector_builder`': async () => {
    const query_vector_builder = { text_embedding: { model_id: DENSE, model_text: QUESTION } }
    const { hits } = await client.search({ index, knn: { field: 'vector', k: 3, num_candidates: 10, query_vector_builder } })
    assert.strictEqual(hits.hits[0]._source.text, TEXTS[1])
    return `${hits.hits.length} hits, the best first`
  },
  '`search`, retrievers `rrf` and `text_similarity_reranker`': async () => {
    const sparse = { standard: { query: { sparse_vector: { field: 'tokens', inference_id: SPARSE, query: QUESTION } } } }
    const words = { standard: { query: { match: { text: QUESTION } } } }
    const retriever = {
      text_similarity_reranker: {
        retriever: { rrf: { retrievers: [sparse, words] } }, field: 'text', inference_id: RERANK, inference_text: QUESTION
      }
    }
    const { hits } = await client.search({ index, retriever })
    assert.strictEqual(hits.hits[0]._source.text, TEXTS[1])
    return `${hits.hits.length} hits, the best first`
  }
}

const { version } = JSON.parse(readFileSync(path.join('node_modules', name, 'package.json')))
for (const [operation, run] of Object.entries(operations)) {
  let works = true
  let seen
  try {
    seen = await run()
  } catch (error) {
    works = false
    seen = `${error.name}: ${error.message}`
    console.error(error)
  }
  console.log(JSON.stringify({ client: `@elastic/elasticsearch ${version}`, operation, works, seen }))
}
