import co.elastic.clients.elasticsearch.inference.*;
import java.util.ArrayList;
import java.util.List;

/**
 * The services by the client's own method for each, and one question to them. Not here are those whose
 * credentials this client has no place for (VoyageAI) or that want more than a text (AWS's, Vertex).
 */
class Services extends Story {
    static final String MODEL_ID = "m-1";

    static ElasticsearchInferenceClient inference() {
        return client.inference();
    }

    static void embeds(String id) throws java.io.IOException {
        same(inference().textEmbedding(b -> b.inferenceId(id).input("a", "b")).inferenceResult()
            .textEmbedding().size(), 2);
    }

    static void ranks(String id) throws java.io.IOException {
        var ranks = inference().rerank(b -> b.inferenceId(id).query(q -> q.string("the capital"))
            .input(i -> i.string(List.of("the moon", "Washington is the capital")))).rerank();
        same(ranks.get(0).index(), 1);
    }

    static void completes(String id) throws java.io.IOException {
        var said = inference().completion(b -> b.inferenceId(id).input("tell me more")).completion();
        check(!said.get(0).result().isEmpty(), said);
    }

    static void chats(String id) throws java.io.IOException {
        List<Object> chunks = new ArrayList<>(Inference.events(inference().chatCompletionUnified(b -> b
            .inferenceId(id).chatCompletionRequest(r -> r.messages(m -> m.role("user")
                .content(c -> c.string("tell me more")))))));
        check(!chunks.isEmpty(), "no chunks");
    }

    static void steps() {
        steps.put("ai21", () -> {
            inference().putAi21(b -> b.ai21InferenceId("ai21").taskType(Ai21TaskType.Completion)
                .service(Ai21ServiceType.Ai21).serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            completes("ai21");
        });
        steps.put("alibaba", () -> {
            inference().putAlibabacloud(b -> b.alibabacloudInferenceId("alibaba")
                .taskType(AlibabaCloudTaskType.TextEmbedding)
                .service(AlibabaCloudServiceType.AlibabacloudAiSearch)
                .serviceSettings(s -> s.apiKey(SECRET).host("x.opensearch.aliyuncs.com")
                    .workspace("default").serviceId("ops-1")));
            embeds("alibaba");
        });
        steps.put("anthropic", () -> {
            inference().putAnthropic(b -> b.anthropicInferenceId("anthropic")
                .taskType(AnthropicTaskType.Completion).service(AnthropicServiceType.Anthropic)
                .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID))
                .taskSettings(t -> t.maxTokens(64).temperature(0.5f).topK(3).topP(0.5f)));
            completes("anthropic");
        });
        steps.put("azureAiStudio", () -> {
            inference().putAzureaistudio(b -> b.azureaistudioInferenceId("studio")
                .taskType(AzureAiStudioTaskType.Rerank).service(AzureAiStudioServiceType.Azureaistudio)
                .serviceSettings(s -> s.apiKey(SECRET).endpointType("token").provider("cohere")
                    .target("https://x.inference.ai.azure.com/token")));
            ranks("studio");
        });
        steps.put("azureOpenai", () -> {
            for (var task : AzureOpenAITaskType.values())
                inference().putAzureopenai(b -> b.azureopenaiInferenceId("azure-" + task.jsonValue())
                    .taskType(task).service(AzureOpenAIServiceType.Azureopenai)
                    .serviceSettings(s -> s.apiKey(SECRET).resourceName("my-resource")
                        .deploymentId("my-deployment").apiVersion("2024-10-21")));
            embeds("azure-text_embedding");
            completes("azure-completion");
            chats("azure-chat_completion");
        });
        steps.put("contextualai", () -> {
            inference().putContextualai(b -> b.contextualaiInferenceId("contextual")
                .taskType(TaskTypeContextualAI.Rerank).service(ContextualAIServiceType.Contextualai)
                .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            ranks("contextual");
        });
        steps.put("custom", () -> {
            inference().putCustom(b -> b.customInferenceId("custom")
                .taskType(CustomTaskType.TextEmbedding).service(CustomServiceType.Custom)
                .serviceSettings(s -> s.url("https://models.example/v1/embed")
                    .headers("Authorization", "Bearer ${the_key}")
                    .secretParameters("the_key", SECRET)
                    .request(r -> r.content("{\"texts\": ${input}}"))
                    .response(r -> r.jsonParser("text_embeddings", "$.data.rows[*].numbers[*]"))));
            embeds("custom");
        });
        steps.put("deepseek", () -> {
            inference().putDeepseek(b -> b.deepseekInferenceId("deepseek")
                .taskType(TaskTypeDeepSeek.ChatCompletion).service(DeepSeekServiceType.Deepseek)
                .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            chats("deepseek");
        });
        steps.put("fireworksai", () -> {
            for (var task : FireworksAITaskType.values())
                inference().putFireworksai(b -> b.fireworksaiInferenceId("fireworks-" + task.jsonValue())
                    .taskType(task).service(FireworksAIServiceType.Fireworksai)
                    .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            embeds("fireworks-text_embedding");
            chats("fireworks-chat_completion");
        });
        steps.put("googleAiStudio", () -> {
            inference().putGoogleaistudio(b -> b.googleaistudioInferenceId("gemini")
                .taskType(GoogleAiStudioTaskType.Completion).service(GoogleAiServiceType.Googleaistudio)
                .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            completes("gemini");
        });
        steps.put("groq", () -> {
            inference().putGroq(b -> b.groqInferenceId("groq").taskType(GroqTaskType.ChatCompletion)
                .service(GroqServiceType.Groq).serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            chats("groq");
        });
        steps.put("jinaai", () -> {
            inference().putJinaai(b -> b.jinaaiInferenceId("jina").taskType(JinaAITaskType.TextEmbedding)
                .service(JinaAIServiceType.Jinaai)
                .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)
                    .similarity(JinaAISimilarityType.DotProduct)));
            embeds("jina");
        });
        steps.put("llama", () -> {
            inference().putLlama(b -> b.llamaInferenceId("llama").taskType(LlamaTaskType.ChatCompletion)
                .service(LlamaServiceType.Llama).serviceSettings(s -> s.modelId(MODEL_ID)
                    .url("https://models.example/v1/openai/v1/chat/completions")));
        });
        steps.put("mistral", () -> {
            for (var task : MistralTaskType.values())
                inference().putMistral(b -> b.mistralInferenceId("mistral-" + task.jsonValue())
                    .taskType(task).service(MistralServiceType.Mistral)
                    .serviceSettings(s -> s.apiKey(SECRET).model(MODEL_ID)));
            embeds("mistral-text_embedding");
            chats("mistral-chat_completion");
        });
        steps.put("nvidia", () -> {
            for (var task : NvidiaTaskType.values())
                inference().putNvidia(b -> b.nvidiaInferenceId("nvidia-" + task.jsonValue())
                    .taskType(task).service(NvidiaServiceType.Nvidia)
                    .serviceSettings(s -> s.apiKey(SECRET).modelId(MODEL_ID)));
            ranks("nvidia-rerank");
            completes("nvidia-completion");
        });
        steps.put("openshiftAi", () -> {
            inference().putOpenshiftAi(b -> b.openshiftaiInferenceId("openshift")
                .taskType(OpenShiftAiTaskType.Rerank).service(OpenShiftAiServiceType.OpenshiftAi)
                .serviceSettings(s -> s.apiKey(SECRET).url("https://models.example/v1/rerank")));
            ranks("openshift");
        });
        steps.put("watsonx", () -> {
            for (var task : List.of(WatsonxTaskType.TextEmbedding, WatsonxTaskType.Completion,
                    WatsonxTaskType.ChatCompletion))
                inference().putWatsonx(b -> b.watsonxInferenceId("watsonx-" + task.jsonValue())
                    .taskType(task).service(WatsonxServiceType.Watsonxai)
                    .serviceSettings(s -> s.apiKey(SECRET).url("us-south.ml.cloud.ibm.com")
                        .apiVersion("2024-05-02").modelId("ibm/m-1").projectId("p-1")));
            embeds("watsonx-text_embedding");
            completes("watsonx-completion");
            chats("watsonx-chat_completion");
        });
        steps.put("everyServiceIsListed", () -> {
            check(inference().get().endpoints().size() > 30, "few endpoints");
        });
    }
}
