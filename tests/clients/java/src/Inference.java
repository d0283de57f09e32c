import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch.inference.*;
import co.elastic.clients.transport.TransportException;
import co.elastic.clients.transport.endpoints.BinaryResponse;
import jakarta.json.JsonObject;
import java.io.IOException;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** Endpoints and what they answer. */
class Inference extends Story {
    static ElasticsearchInferenceClient inference() {
        return client.inference();
    }

    static JsonObject object(String text) {
        try (var reader = jakarta.json.Json.createReader(new StringReader(text))) {
            return reader.readObject();
        }
    }

    /** The data of a stream's events; the last one, [DONE], is checked and left out. */
    static List<JsonObject> events(BinaryResponse response) throws IOException {
        List<JsonObject> out = new ArrayList<>();
        boolean done = false;
        try (response) {
            same(response.contentType(), "text/event-stream");
            String text = new String(response.content().readAllBytes(), StandardCharsets.UTF_8);
            for (String block : text.split("\n\n")) {
                check(!done && block.startsWith("event: message\ndata: "), block);
                String data = block.substring(21);
                done = data.equals("[DONE]");
                if (!done) out.add(object(data));
            }
        }
        check(done, "no [DONE]");
        return out;
    }

    static void steps() {
        steps.put("put", () -> {
            var made = inference().put(b -> b.inferenceId("generic").taskType(TaskType.Completion)
                .inferenceConfig(c -> c.service("openai").serviceSettings(
                    json("{\"api_key\":\"" + SECRET + "\",\"model_id\":\"m\"}"))));
            same(made.inferenceId() + made.taskType().jsonValue() + made.service(),
                "genericcompletionopenai");
            check(!made.serviceSettings().toString().contains(SECRET), "the secret is shown");
        });
        steps.put("putOpenai", () -> {
            var made = inference().putOpenai(b -> b.openaiInferenceId("o-embed")
                .taskType(OpenAITaskType.TextEmbedding).service(OpenAIServiceType.Openai)
                .serviceSettings(s -> s.apiKey(SECRET).modelId("m"))
                .chunkingSettings(c -> c.strategy("word").maxChunkSize(100).overlap(10))
                .taskSettings(t -> t.user("u")));
            same(made.chunkingSettings().overlap(), 10);
            for (var task : List.of(OpenAITaskType.Completion, OpenAITaskType.ChatCompletion))
                inference().putOpenai(b -> b.openaiInferenceId("o-" + task.jsonValue()).taskType(task)
                    .service(OpenAIServiceType.Openai)
                    .serviceSettings(s -> s.apiKey(SECRET).modelId("gpt-4o")));
        });
        steps.put("putCohere", () -> {
            inference().putCohere(b -> b.cohereInferenceId("c-embed")
                .taskType(CohereTaskType.TextEmbedding).service(CohereServiceType.Cohere)
                .serviceSettings(s -> s.apiKey(SECRET).modelId("m")
                    .embeddingType(CohereEmbeddingType.Int8)));
            inference().put(b -> b.inferenceId("c-rank").taskType(TaskType.Rerank)
                .inferenceConfig(c -> c.service("cohere").serviceSettings(
                    json("{\"api_key\":\"" + SECRET + "\",\"model_id\":\"m\"}"))
                    .taskSettings(json("{\"return_documents\":true}"))));
        });
        steps.put("putHuggingFace", () -> {
            var made = inference().putHuggingFace(b -> b.huggingfaceInferenceId("h-embed")
                .taskType(HuggingFaceTaskType.TextEmbedding).service(HuggingFaceServiceType.HuggingFace)
                .serviceSettings(s -> s.apiKey(SECRET).url("https://x.example/hf/embed")));
            same(made.taskType(), TaskTypeHuggingFace.TextEmbedding);
            inference().put(b -> b.inferenceId("h-sparse").taskType(TaskType.SparseEmbedding)
                .inferenceConfig(c -> c.service("hugging_face").serviceSettings(
                    json("{\"api_key\":\"" + SECRET + "\",\"url\":\"https://x.example/hf/sparse\"}"))));
        });
        steps.put("putElasticsearch", () -> {
            fails(404, "resource_not_found_exception", () -> inference().putElasticsearch(b -> b
                .elasticsearchInferenceId("local").taskType(ElasticsearchTaskType.TextEmbedding)
                .service(ElasticsearchServiceType.Elasticsearch)
                .serviceSettings(s -> s.modelId("no-such-model").numThreads(1).numAllocations(1))));
        });
        steps.put("get", () -> {
            var one = inference().get(b -> b.taskType(TaskType.Rerank).inferenceId("c-rank")).endpoints();
            same(one.size(), 1);
            same(one.get(0).taskSettings().toJson().toString(), "{\"return_documents\":true}");
            var ids = inference().get().endpoints().stream().map(InferenceEndpointInfo::inferenceId)
                .collect(Collectors.toList());
            same(ids, ids.stream().sorted().collect(Collectors.toList()));
            check(ids.contains("o-embed") && ids.contains(".elser-2-elasticsearch"), ids);
        });
        steps.put("textEmbedding", () -> {
            var answer = inference().textEmbedding(b -> b.inferenceId("o-embed").input("a", "b"))
                .inferenceResult();
            same(answer.textEmbedding().size(), 2);
            same(answer.textEmbedding().get(1).embedding().size(), 8);
            var bytes = inference().textEmbedding(b -> b.inferenceId("c-embed").input("a"))
                .inferenceResult();
            same(bytes.textEmbeddingBytes().get(0).embedding().size(), 8);
        });
        steps.put("sparseEmbedding", () -> {
            var answer = inference().sparseEmbedding(b -> b.inferenceId("h-sparse").input("the wish"));
            same(answer.sparseEmbedding().get(0).embedding().keySet(), java.util.Set.of("the", "wish"));
            check(!answer.sparseEmbedding().get(0).isTruncated(), "nothing was cut");
        });
        steps.put("rerank", () -> {
            var answer = inference().rerank(b -> b.inferenceId("c-rank").query(q -> q.string("the moon"))
                .input(i -> i.string(List.of("x", "the moon")))).rerank();
            same(answer.get(0).text() + answer.get(0).index() + answer.get(1).index(), "the moon10");
            check(answer.get(0).relevanceScore() > answer.get(1).relevanceScore(), answer);
        });
        steps.put("completion", () -> {
            var answer = inference().completion(b -> b.inferenceId("o-completion").input("hi")
                .timeout(t -> t.time("20s")));
            same(answer.completion().get(0).result(), "Echo: hi");
        });
        steps.put("inference", () -> {
            check(inference().inference(b -> b.inferenceId("o-embed").input("a")).result()
                .isTextEmbedding(), "no embedding");
            check(inference().inference(b -> b.taskType(TaskType.Rerank).inferenceId("c-rank").query("q")
                .input("x")).result().isRerank(), "no ranks");
        });
        steps.put("streamCompletion", () -> {
            StringBuilder text = new StringBuilder();
            for (JsonObject event : events(inference().streamCompletion(b -> b
                    .inferenceId("o-completion").input("one two"))))
                for (var part : event.getJsonArray("completion"))
                    text.append(part.asJsonObject().getString("delta"));
            same(text.toString(), "Echo: one two");
        });
        steps.put("chatCompletionUnified", () -> {
            StringBuilder name = new StringBuilder(), given = new StringBuilder();
            for (JsonObject event : events(inference().chatCompletionUnified(b -> b
                    .inferenceId("o-chat_completion").chatCompletionRequest(r -> r
                        .messages(m -> m.role("user").content(c -> c.string("Paris?")))
                        .tools(t -> t.type("function").function(f -> f.name("weather")
                            .parameters(json("{\"type\":\"object\"}"))))))))
                for (var choice : event.getJsonArray("choices")) {
                    var calls = choice.asJsonObject().getJsonObject("delta").getJsonArray("tool_calls");
                    if (calls == null) continue;
                    var function = calls.getJsonObject(0).getJsonObject("function");
                    name.append(function.getString("name", ""));
                    given.append(function.getString("arguments", ""));
                }
            same(name.toString(), "weather");
            same(object(given.toString()).getString("city"), "Paris");
        });
        steps.put("refusedStream", () -> {
            // Refusals of streams are events, here as in Elasticsearch; this client tells the status.
            try {
                inference().streamCompletion(b -> b.inferenceId("no-such").input("x"));
                throw new AssertionError("nothing was refused");
            } catch (TransportException e) {
                same(e.statusCode(), 404);
            }
        });
        steps.put("stopsListening", () -> {
            try (var stream = inference().streamCompletion(b -> b.inferenceId("o-completion")
                    .input("one two three"))) {
                check(stream.content().read() == 'e', "no event");
            }
            same(client.info().tagline(), "You Know, for Search");
        });
        steps.put("idleConnections", () -> {
            for (int i = 0; i < 3; i++) {
                Thread.sleep(600);
                inference().completion(b -> b.inferenceId("o-completion").input("hi"));
            }
        });
        steps.put("compression", () -> {
            String text = "x".repeat(5000);
            try (ElasticsearchClient packed = with(b -> b
                    .usernameAndPassword("elastic", password).useCompression(true))) {
                same(packed.inference().completion(b -> b.inferenceId("o-completion").input(text))
                    .completion().get(0).result(), "Echo: " + text);
            }
        });
        steps.put("update", () -> {
            var made = inference().update(b -> b.inferenceId("c-rank").taskType(TaskType.Rerank)
                .inferenceConfig(c -> c.service("cohere")
                    .serviceSettings(json("{\"api_key\":\"" + SECRET + "2\"}"))
                    .taskSettings(json("{\"top_n\":1}"))));
            same(made.taskSettings().toJson().toString(), "{\"return_documents\":true,\"top_n\":1}");
        });
        steps.put("delete", () -> {
            var dry = inference().delete(b -> b.inferenceId("generic").dryRun(true));
            check(!dry.acknowledged() && dry.pipelines().isEmpty(), dry);
            check(inference().delete(b -> b.inferenceId("generic").force(true)).acknowledged(), "kept");
            fails(404, "resource_not_found_exception",
                () -> inference().get(b -> b.inferenceId("generic")));
        });
        steps.put("errors", () -> {
            fails(400, "validation_exception", () -> inference().putOpenai(b -> b
                .openaiInferenceId("bad").taskType(OpenAITaskType.Completion)
                .service(OpenAIServiceType.Openai).serviceSettings(s -> s.modelId("m"))));
            fails(400, "resource_already_exists_exception", () -> inference().putOpenai(b -> b
                .openaiInferenceId("o-completion").taskType(OpenAITaskType.Completion)
                .service(OpenAIServiceType.Openai)
                .serviceSettings(s -> s.apiKey(SECRET).modelId("m"))));
            fails(400, "action_request_validation_exception", () -> inference().inference(b -> b
                .taskType(TaskType.Rerank).inferenceId("c-rank").query("").input("x")));
            fails(404, "resource_not_found_exception",
                () -> inference().completion(b -> b.inferenceId("no-such").input("x")));
        });
    }
}
