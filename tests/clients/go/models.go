package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"

	"github.com/elastic/go-elasticsearch/v9/typedapi/ml/infertrainedmodel"
	"github.com/elastic/go-elasticsearch/v9/typedapi/ml/puttrainedmodel"
	"github.com/elastic/go-elasticsearch/v9/typedapi/ml/puttrainedmodelvocabulary"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/deploymentallocationstate"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/include"
)

func file(name string) []byte { return must(os.ReadFile(filepath.Join(model, name))) }

func docs(texts ...string) *infertrainedmodel.Request {
	request := &infertrainedmodel.Request{}
	for _, text := range texts {
		request.Docs = append(request.Docs, map[string]json.RawMessage{"text_field": raw(text)})
	}
	return request
}

var modelSteps = []step{
	{"uploadModel", func() {
		var config puttrainedmodel.Request
		check(json.Unmarshal(file("config.json"), &config) == nil, "the client's type does not fit")
		made := must(typed.Ml.PutTrainedModel("tiny").Request(&config).Do(ctx))
		same(made.ModelId, "tiny")
		check(made.InferenceConfig.TextClassification != nil, "%#v", made.InferenceConfig)
		definition := file("model.pt")
		half := len(definition)/2 + 1
		for i, part := range [][]byte{definition[:half], definition[half:]} {
			answer := must(typed.Ml.PutTrainedModelDefinitionPart("tiny", strconv.Itoa(i)).
				Definition(base64.StdEncoding.EncodeToString(part)).TotalParts(2).
				TotalDefinitionLength(int64(len(definition))).Do(ctx))
			check(answer.Acknowledged, "part %d", i)
		}
		var vocabulary puttrainedmodelvocabulary.Request
		check(json.Unmarshal(file("vocabulary.json"), &vocabulary) == nil, "no vocabulary")
		check(must(typed.Ml.PutTrainedModelVocabulary("tiny").Request(&vocabulary).Do(ctx)).Acknowledged,
			"no vocabulary")
	}},
	{"getModel", func() {
		answer := must(typed.Ml.GetTrainedModels().ModelId("tiny").Include(include.Definitionstatus).Do(ctx))
		same(answer.Count, 1)
		config := answer.TrainedModelConfigs[0]
		check(*config.FullyDefined && config.Tags != nil && config.CreateTime != nil, "%#v", config)
		check(must(typed.Ml.GetTrainedModels().Do(ctx)).Count > 0, "no models")
	}},
	{"startDeployment", func() {
		answer := must(typed.Ml.StartTrainedModelDeployment("tiny").NumberOfAllocations(1).
			ThreadsPerAllocation(1).WaitFor(deploymentallocationstate.Started).Timeout("20s").Do(ctx))
		same(answer.Assignment.AssignmentState.String(), "started")
		same(answer.Assignment.TaskParameters.NumberOfAllocations, 1)
		same(len(answer.Assignment.RoutingTable), 1)
		answer2 := must(typed.Ml.UpdateTrainedModelDeployment("tiny").NumberOfAllocations(2).Do(ctx))
		same(answer2.Assignment.TaskParameters.NumberOfAllocations, 2)
	}},
	{"infer", func() {
		answer := decoded(typed.Ml.InferTrainedModel("tiny").Request(docs("a", "b c")).Perform(ctx))
		results := answer["inference_results"].([]any)
		same(len(results), 2)
		check(results[0].(object)["prediction_probability"].(float64) > 0, "%v", results)
		check(results[0].(object)["predicted_value"].(string) != "", "%v", results)
	}},
	{"modelStats", func() {
		answer := must(typed.Ml.GetTrainedModelsStats().ModelId("tiny").Do(ctx))
		stats := answer.TrainedModelStats[0]
		check(stats.ModelSizeStats.ModelSizeBytes != nil, "%#v", stats)
		same(stats.DeploymentStats.State.String(), "started")
		same(*stats.DeploymentStats.InferenceCount, 2)
		same(len(stats.DeploymentStats.Nodes), 1)
		check(must(typed.Ml.GetTrainedModelsStats().Do(ctx)).Count > 0, "no stats")
	}},
	{"catModels", func() {
		rows := must(typed.Cat.MlTrainedModels().Do(ctx))
		check(len(rows) > 0 && rows[0].Id != nil, "%#v", rows)
	}},
	{"aliases", func() {
		check(must(typed.Ml.PutTrainedModelAlias("tiny", "small").Do(ctx)).Acknowledged, "no alias")
		decoded(typed.Ml.InferTrainedModel("small").Request(docs("a")).Perform(ctx))
		check(must(typed.Ml.DeleteTrainedModelAlias("tiny", "small").Do(ctx)).Acknowledged, "alias")
	}},
	{"mlInfo", func() {
		answer := must(typed.Ml.Info().Do(ctx))
		check(!answer.UpgradeMode && answer.NativeCode.Version != "", "%#v", answer)
		check(must(typed.Ml.ClearTrainedModelDeploymentCache("tiny").Do(ctx)).Cleared, "cache")
	}},
	{"localEndpoint", func() {
		_, err := typed.Inference.PutElasticsearch("text_embedding", "local").Raw(body(object{
			"service": "elasticsearch", "service_settings": object{"model_id": "no-such-model",
				"num_threads": 1, "num_allocations": 1}})).Do(ctx)
		fails(err, 404, "resource_not_found_exception")
	}},
	{"stopAndDelete", func() {
		_, err := typed.Ml.DeleteTrainedModel("tiny").Do(ctx)
		fails(err, 409, "status_exception")
		check(must(typed.Ml.StopTrainedModelDeployment("tiny").Do(ctx)).Stopped, "not stopped")
		check(must(typed.Ml.DeleteTrainedModel("tiny").Do(ctx)).Acknowledged, "not deleted")
		_, err = typed.Ml.GetTrainedModels().ModelId("tiny").Do(ctx)
		fails(err, 404, "resource_not_found_exception")
	}},
}
