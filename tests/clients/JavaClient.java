// The Java client of Elasticsearch, through a front: `java -cp 'lib/*' JavaClient.java VERSION URL`.

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch.inference.InferenceEndpoint;
import co.elastic.clients.elasticsearch.inference.TaskType;
import co.elastic.clients.json.JsonData;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

public class JavaClient {
  static final String SPARSE = ".elser-2-elasticsearch";
  static final String DENSE = ".multilingual-e5-small-elasticsearch";
  static final String RERANK = ".rerank-v1-elasticsearch";
  static final String QUESTION = "how do whales sing";
  static final List<String> TEXTS =
      List.of("ships sail to the harbour", "whales sing in the deep sea", "stocks fell on Monday");
  static final String INDEX = "written-by-java";

  public static void main(String[] arguments) throws Exception {
    String client = "elasticsearch-java " + arguments[0];
    try (ElasticsearchClient elasticsearch = ElasticsearchClient.of(b -> b.host(arguments[1]))) {
      for (Map.Entry<String, Callable<String>> operation : operations(elasticsearch).entrySet()) {
        boolean works = true;
        String seen;
        try {
          seen = operation.getValue().call();
        } catch (Exception | AssertionError error) {
          error.printStackTrace();
          works = false;
          seen = error.toString();
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("client", client);
        row.put("operation", operation.getKey());
        row.put("works", works);
        row.put("seen", seen);
        System.out.println(JsonData.of(row).toJson(elasticsearch._transport().jsonpMapper()));
      }
    }
    System.exit(0);
  }

  static Map<String, Callable<String>> operations(ElasticsearchClient client) {
    Map<String, Callable<String>> operations = new LinkedHashMap<>();
    operations.put("`info`", () -> {
      var version = client.info().version();
      hold(!version.buildHash().isEmpty() && !version.minimumIndexCompatibilityVersion().isEmpty());
      return "version " + version.number();
    });
    operations.put("`inference.textEmbedding`", () -> {
      var answer = client.inference().textEmbedding(r -> r.inferenceId(DENSE).input(TEXTS).inputType("ingest"));
      var vectors = answer.inferenceResult().textEmbedding();
      hold(vectors.size() == 3);
      return vectors.size() + " vectors of " + vectors.get(0).embedding().size() + " numbers";
    });
    operations.put("`inference.sparseEmbedding`", () -> {
      var answer = client.inference().sparseEmbedding(r -> r.inferenceId(SPARSE).input(QUESTION));
      hold(answer.sparseEmbedding().get(0).embedding().get("whales") > 0);
      return "tokens with their weights";
    });
    operations.put("`inference.rerank`", () -> {
      var answer = client.inference().rerank(r -> r.inferenceId(RERANK).query(QUESTION).input(TEXTS));
      hold(answer.rerank().get(0).index() == 1);
      return answer.rerank().size() + " documents, the best first";
    });
    operations.put("`inference.inference`", () -> {
      var answer = client.inference().inference(
          r -> r.inferenceId(DENSE).taskType(TaskType.TextEmbedding).input(TEXTS).inputType("search")).result();
      hold(answer.isTextEmbedding() && answer.textEmbedding().size() == 3);
      return "3 vectors of " + answer.textEmbedding().get(0).embedding().size() + " numbers";
    });
    operations.put("`inference.put`, `get`, `update`, `delete`", () -> {
      String id = "made-by-java";
      var inference = client.inference();
      if (inference.get(g -> g).endpoints().stream().anyMatch(e -> e.inferenceId().equals(id))) {
        inference.delete(r -> r.inferenceId(id).force(true));
      }
      var made = inference.put(r -> r.inferenceId(id).taskType(TaskType.TextEmbedding).inferenceConfig(endpoint(1)));
      hold(made.inferenceId().equals(id));
      inference.update(r -> r.inferenceId(id).taskType(TaskType.TextEmbedding).inferenceConfig(endpoint(2)));
      var found = inference.get(r -> r.inferenceId(id)).endpoints().get(0);
      var settings = found.serviceSettings().toJson().asJsonObject();
      hold(settings.getInt("num_allocations") == 2);
      hold(inference.delete(r -> r.inferenceId(id)).acknowledged());
      return "an endpoint of a local model";
    });
    operations.put("`bulk` into a bound index", () -> {
      client.indices().delete(r -> r.index(INDEX).ignoreUnavailable(true));
      var maps = JsonData.of(Map.of("maps", List.of("text:tokens=" + SPARSE, "text:vector=" + DENSE)));
      client.indices().create(r -> r.index(INDEX).mappings(m -> m
          .meta("sidecar", maps)
          .properties("text", p -> p.text(t -> t))
          .properties("tokens", p -> p.sparseVector(t -> t))
          .properties("vector", p -> p.denseVector(t -> t.dims(384)))));
      var written = client.bulk(r -> {
        r.index(INDEX).refresh(co.elastic.clients.elasticsearch._types.Refresh.True);
        TEXTS.forEach(text -> r.operations(o -> o.index(i -> i.document(Map.of("text", text)))));
        return r;
      });
      hold(!written.errors());
      return written.items().size() + " documents written";
    });
    operations.put("`search`, `sparse_vector` with `inference_id`", () -> {
      var hits = client.search(r -> r.index(INDEX).query(q -> q
          .sparseVector(s -> s.field("tokens").inferenceId(SPARSE).query(QUESTION))), Map.class).hits().hits();
      hold(TEXTS.get(1).equals(hits.get(0).source().get("text")));
      return hits.size() + " hits, the best first";
    });
    operations.put("`search`, `knn` with `query_vector_builder`", () -> {
      var hits = client.search(r -> r.index(INDEX).knn(k -> k.field("vector").k(3).numCandidates(10)
          .queryVectorBuilder(b -> b.textEmbedding(t -> t.modelId(DENSE).modelText(QUESTION)))), Map.class).hits().hits();
      hold(TEXTS.get(1).equals(hits.get(0).source().get("text")));
      return hits.size() + " hits, the best first";
    });
    return operations;
  }

  static InferenceEndpoint endpoint(int allocations) {
    var settings = Map.of("model_id", "all-MiniLM-L6-v2", "num_allocations", allocations, "num_threads", 1);
    var changed = Map.of("num_allocations", allocations);
    return InferenceEndpoint.inferenceEndpointOf(
        e -> e.service("elasticsearch").serviceSettings(JsonData.of(allocations == 1 ? settings : changed)));
  }

  static void hold(boolean condition) {
    if (!condition) {
      throw new AssertionError("not what was asked for");
    }
  }
}
