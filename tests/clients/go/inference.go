package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esapi"
	"github.com/elastic/go-elasticsearch/v9/typedapi/inference/putcohere"
	"github.com/elastic/go-elasticsearch/v9/typedapi/inference/puthuggingface"
	"github.com/elastic/go-elasticsearch/v9/typedapi/inference/putopenai"
	"github.com/elastic/go-elasticsearch/v9/typedapi/inference/textembedding"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/cohereembeddingtype"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/huggingfaceservicetype"
)

func pointer[T any](value T) *T { return &value }

func raw(value any) json.RawMessage { return must(json.Marshal(value)) }

// from fills one of the client's types from JSON: the kinds of its members differ between versions.
func from[T any](value any) *T {
	out := new(T)
	must(out, json.Unmarshal(raw(value), out))
	return out
}

func openai() *putopenai.Request {
	return from[putopenai.Request](object{"service": "openai",
		"service_settings": object{"api_key": secret, "model_id": "gpt-4o"}})
}

var weather = object{"messages": []any{object{"role": "user", "content": "Paris?"}},
	"tools": []any{object{"type": "function", "function": object{"name": "weather",
		"parameters": object{"type": "object"}}}}}

// echoes: the chunks of a stream of completions give this text.
func echoes(all []map[string]any, want string) {
	text := ""
	for _, event := range all {
		for _, part := range event["completion"].([]any) {
			text += part.(object)["delta"].(string)
		}
	}
	same(text, want)
}

// asked: the answer's bytes to a request of the low-level API.
func asked(request esapi.Request) string {
	answer := must(request.Do(ctx, low))
	defer answer.Body.Close()
	text := string(must(io.ReadAll(answer.Body)))
	check(!answer.IsError(), "%d %s", answer.StatusCode, text)
	return text
}

var inferenceSteps = []step{
	{"put", func() {
		made := must(typed.Inference.Put("generic").TaskType("completion").Service("openai").
			ServiceSettings(raw(object{"api_key": secret, "model_id": "m"})).Do(ctx))
		same([]string{made.InferenceId, made.TaskType.String(), made.Service},
			[]string{"generic", "completion", "openai"})
		check(!strings.Contains(string(made.ServiceSettings), secret), "the secret is shown")
	}},
	{"putOpenai", func() {
		request := openai()
		request.ChunkingSettings = &types.InferenceChunkingSettings{Strategy: pointer("word"),
			MaxChunkSize: pointer(100), Overlap: pointer(10)}
		request.TaskSettings = &types.OpenAITaskSettings{User: pointer("u")}
		made := must(typed.Inference.PutOpenai("text_embedding", "o-embed").Request(request).Do(ctx))
		same(*made.ChunkingSettings.Overlap, 10)
		for id, task := range map[string]string{"o-chat": "completion", "o-unified": "chat_completion"} {
			request = openai()
			same(must(typed.Inference.PutOpenai(task, id).Request(request).Do(ctx)).InferenceId, id)
		}
	}},
	{"putCohere", func() {
		must(typed.Inference.PutCohere("rerank", "c-rank").Raw(body(object{"service": "cohere",
			"service_settings": object{"api_key": secret, "model_id": "m"},
			"task_settings":    object{"return_documents": true}})).Do(ctx))
		request := from[putcohere.Request](object{"service": "cohere", "service_settings": object{
			"api_key": secret, "model_id": "m"}})
		request.ServiceSettings.EmbeddingType = &cohereembeddingtype.Int8
		must(typed.Inference.PutCohere("text_embedding", "c-embed").Request(request).Do(ctx))
	}},
	{"putHuggingFace", func() {
		made := must(typed.Inference.PutHuggingFace("sparse_embedding", "h-sparse").Request(
			&puthuggingface.Request{Service: huggingfaceservicetype.Huggingface,
				ServiceSettings: types.HuggingFaceServiceSettings{ApiKey: secret,
					Url: "https://x.example/hf/sparse"}}).Do(ctx))
		same(made.TaskType.String(), "sparse_embedding")
	}},
	{"get", func() {
		one := must(typed.Inference.Get().TaskType("rerank").InferenceId("c-rank").Do(ctx)).Endpoints
		same(len(one), 1)
		var settings object
		json.Unmarshal(one[0].TaskSettings, &settings)
		same(settings, object{"return_documents": true})
		var ids []string
		for _, endpoint := range must(typed.Inference.Get().Do(ctx)).Endpoints {
			ids = append(ids, endpoint.InferenceId)
		}
		check(slices.IsSorted(ids) && slices.Contains(ids, "o-embed"), "%v", ids)
		check(slices.Contains(ids, ".elser-2-elasticsearch"), "%v", ids)
	}},
	{"services", func() {
		// The client has no method of this; it can be asked through its transport.
		request := must(http.NewRequestWithContext(ctx, "GET", "/_inference/_services", nil))
		answer := must(low.Perform(request))
		defer answer.Body.Close()
		var services []struct {
			Service        string
			Task_types     []string
			Configurations map[string]any
		}
		check(json.NewDecoder(answer.Body).Decode(&services) == nil, "no list of services")
		check(len(services) > 20 && len(services[0].Task_types) > 0 &&
			len(services[0].Configurations) > 0, "%v", services)
	}},
	{"textEmbedding", func() {
		answer := must(typed.Inference.TextEmbedding("o-embed").Request(
			&textembedding.Request{Input: []string{"a", "b"}}).Do(ctx))
		same(len(answer.TextEmbedding), 2)
		same(len(answer.TextEmbedding[1].Embedding), 8)
		bytes := decoded(typed.Inference.TextEmbedding("c-embed").Input("a").Perform(ctx))
		same(len(bytes["text_embedding_bytes"].([]any)), 1)
	}},
	{"sparseEmbedding", func() {
		answer := must(typed.Inference.Inference("h-sparse").TaskType("sparse_embedding").
			Input("the wish").Do(ctx))
		same(len(answer.SparseEmbedding), 1)
		same(len(answer.SparseEmbedding[0].Embedding), 2)
		check(!answer.SparseEmbedding[0].IsTruncated, "nothing was cut")
		decoded(typed.Inference.SparseEmbedding("h-sparse").Input("the wish").Perform(ctx))
	}},
	{"rerank", func() {
		answer := must(typed.Inference.Inference("c-rank").TaskType("rerank").Query("the moon").
			Input("x", "the moon").Do(ctx))
		same([]int{answer.Rerank[0].Index, answer.Rerank[1].Index}, []int{1, 0})
		same(*answer.Rerank[0].Text, "the moon")
		check(answer.Rerank[0].RelevanceScore > answer.Rerank[1].RelevanceScore, "%v", answer)
		ranked := decoded(typed.Inference.Rerank("c-rank").Raw(body(object{"query": "the moon",
			"input": []string{"x", "the moon"}})).Perform(ctx))
		same(len(ranked["rerank"].([]any)), 2)
	}},
	{"completion", func() {
		answer := must(typed.Inference.Inference("o-chat").Input("hi").Timeout("20s").Do(ctx))
		same(answer.Completion, []types.CompletionResult{{Result: "Echo: hi"}})
		echo := decoded(typed.Inference.Completion("o-chat").Input("hi").Perform(ctx))
		same(echo["completion"], []any{object{"result": "Echo: hi"}})
	}},
	{"streamCompletion", func() {
		text := string(must(typed.Inference.StreamCompletion("o-chat").Input("one two").Do(ctx)))
		echoes(events(text), "Echo: one two")
		// Refusals of a stream are events too, which Do cannot read; the status is there.
		refused := must(typed.Inference.StreamCompletion("no-such").Input("x").Perform(ctx))
		refused.Body.Close()
		same(refused.StatusCode, 404)
	}},
	{"chatCompletionUnified", func() {
		text := string(must(typed.Inference.ChatCompletionUnified("o-unified").Raw(body(weather)).Do(ctx)))
		name, arguments := "", ""
		for _, event := range events(text) {
			for _, choice := range event["choices"].([]any) {
				calls, _ := choice.(object)["delta"].(object)["tool_calls"].([]any)
				for _, call := range calls {
					function := call.(object)["function"].(object)
					part, _ := function["name"].(string)
					name += part
					part, _ = function["arguments"].(string)
					arguments += part
				}
			}
		}
		same(name, "weather")
		var city object
		check(json.Unmarshal([]byte(arguments), &city) == nil, "%q", arguments)
		same(city, object{"city": "Paris"})
		ask := from[types.RequestChatCompletion](weather)
		events(string(must(typed.Inference.ChatCompletionUnified("o-unified").Request(ask).Do(ctx))))
	}},
	{"stopsListening", func() {
		answer := must(typed.Inference.StreamCompletion("o-chat").Input("one two three").Perform(ctx))
		must(io.ReadFull(answer.Body, make([]byte, 8)))
		answer.Body.Close()
		must(typed.Info().Do(ctx))
	}},
	{"idleConnections", func() {
		for i := 0; i < 3; i++ {
			time.Sleep(600 * time.Millisecond)
			must(typed.Inference.Inference("o-chat").Input("hi").Do(ctx))
		}
	}},
	{"lowLevelInference", func() {
		same(asked(esapi.InferencePutRequest{InferenceID: "low", TaskType: "completion",
			Body: body(object{"service": "openai", "service_settings": object{"api_key": secret,
				"model_id": "m"}})})[:24], `{"inference_id":"low","t`)
		same(asked(esapi.InferenceCompletionRequest{InferenceID: "low",
			Body: body(object{"input": "hi"})}), `{"completion":[{"result":"Echo: hi"}]}`)
		echoes(events(asked(esapi.InferenceStreamCompletionRequest{InferenceID: "low",
			Body: body(object{"input": "hi"})})), "Echo: hi")
		events(asked(esapi.InferenceChatCompletionUnifiedRequest{InferenceID: "o-unified",
			Body: body(weather)}))
		asked(esapi.InferenceDeleteRequest{InferenceID: "low"})
	}},
	{"compression", func() {
		packed := config()
		packed.CompressRequestBody = true
		text := strings.Repeat("x", 5000)
		client := must(elasticsearch.NewTypedClient(packed))
		answer := decoded(client.Inference.Completion("o-chat").Input(text).Perform(ctx))
		same(answer["completion"], []any{object{"result": "Echo: " + text}})
	}},
	{"update", func() {
		made := must(typed.Inference.Update("c-rank").TaskType("rerank").
			ServiceSettings(raw(object{"api_key": secret + "2"})).
			TaskSettings(raw(object{"top_n": 1})).Service("cohere").Do(ctx))
		var settings object
		json.Unmarshal(made.TaskSettings, &settings)
		same(settings, object{"return_documents": true, "top_n": 1.0})
	}},
	{"delete", func() {
		dry := must(typed.Inference.Delete("generic").DryRun(true).Do(ctx))
		check(!dry.Acknowledged && dry.Pipelines != nil, "%#v", dry)
		check(must(typed.Inference.Delete("generic").Force(true).Do(ctx)).Acknowledged, "not deleted")
		_, err := typed.Inference.Get().InferenceId("generic").Do(ctx)
		fails(err, 404, "resource_not_found_exception")
	}},
	{"errors", func() {
		_, err := typed.Inference.PutOpenai("completion", "bad").Raw(body(object{"service": "openai",
			"service_settings": object{"model_id": "m"}})).Do(ctx)
		fails(err, 400, "validation_exception")
		_, err = typed.Inference.PutOpenai("completion", "o-chat").Request(openai()).Do(ctx)
		fails(err, 400, "resource_already_exists_exception")
		_, err = typed.Inference.Inference("c-rank").TaskType("rerank").Query("").Input("x").Do(ctx)
		fails(err, 400, "action_request_validation_exception")
		_, err = typed.Inference.Completion("no-such").Input("x").Do(ctx)
		fails(err, 404, "resource_not_found_exception")
	}},
}
