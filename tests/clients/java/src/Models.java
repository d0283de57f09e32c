import co.elastic.clients.elasticsearch.ml.*;
import java.io.FileReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;

/** An uploaded model from its first part to its end. */
class Models extends Story {
    static ElasticsearchMlClient ml() {
        return client.ml();
    }

    static InferTrainedModelResponse infer(String id, String text) throws java.io.IOException {
        return ml().inferTrainedModel(b -> b.modelId(id).docs(Map.of("text_field", json('"' + text + '"'))));
    }

    static void steps() {
        steps.put("uploadModel", () -> {
            var made = ml().putTrainedModel(PutTrainedModelRequest.of(b -> {
                try {
                    return b.withJson(new FileReader(model + "/config.json")).modelId("tiny");
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            }));
            same(made.modelId(), "tiny");
            check(made.inferenceConfig().isTextClassification(), made);
            byte[] definition = Files.readAllBytes(Path.of(model, "model.pt"));
            int half = definition.length / 2 + 1;
            for (int i = 0; i < 2; i++) {
                int part = i;
                byte[] piece = Arrays.copyOfRange(definition, i * half,
                    Math.min(definition.length, (i + 1) * half));
                check(ml().putTrainedModelDefinitionPart(b -> b.modelId("tiny").part(part).totalParts(2)
                    .totalDefinitionLength(definition.length)
                    .definition(Base64.getEncoder().encodeToString(piece))).acknowledged(), part);
            }
            check(ml().putTrainedModelVocabulary(PutTrainedModelVocabularyRequest.of(b -> {
                try {
                    return b.withJson(new FileReader(model + "/vocabulary.json")).modelId("tiny");
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            })).acknowledged(), "no vocabulary");
        });
        steps.put("getModel", () -> {
            var answer = ml().getTrainedModels(b -> b.modelId("tiny").include(Include.DefinitionStatus));
            same(answer.count(), 1);
            var config = answer.trainedModelConfigs().get(0);
            check(config.fullyDefined() && config.createTime() != null, config);
            check(ml().getTrainedModels().count() > 0, "no models");
        });
        steps.put("startDeployment", () -> {
            var answer = ml().startTrainedModelDeployment(b -> b.modelId("tiny").numberOfAllocations(1)
                .threadsPerAllocation(1).waitFor(DeploymentAllocationState.Started)
                .timeout(t -> t.time("20s"))).assignment();
            same(answer.assignmentState(), DeploymentAssignmentState.Started);
            same(answer.taskParameters().numberOfAllocations(), 1);
            same(answer.routingTable().size(), 1);
            same(ml().updateTrainedModelDeployment(b -> b.modelId("tiny").numberOfAllocations(2))
                .assignment().taskParameters().numberOfAllocations(), 2);
        });
        steps.put("modelStats", () -> {
            var stats = ml().getTrainedModelsStats(b -> b.modelId("tiny")).trainedModelStats().get(0);
            check(stats.modelSizeStats().modelSizeBytes() != null, stats);
            same(stats.deploymentStats().state(), DeploymentAssignmentState.Started);
            same(stats.deploymentStats().nodes().size(), 1);
            check(ml().getTrainedModelsStats().count() > 0, "no stats");
        });
        steps.put("infer", () -> {
            var result = infer("tiny", "a").inferenceResults().get(0);
            check(result.predictionProbability() > 0, result);
            same(result.predictedValue().size(), 1);
        });
        steps.put("aliases", () -> {
            check(ml().putTrainedModelAlias(b -> b.modelId("tiny").modelAlias("small")).acknowledged(),
                "no alias");
            infer("small", "a");
            check(ml().deleteTrainedModelAlias(b -> b.modelId("tiny").modelAlias("small"))
                .acknowledged(), "alias");
        });
        steps.put("catModels", () -> {
            var rows = client.cat().mlTrainedModels().trainedModels();
            check(!rows.isEmpty() && rows.get(0).id() != null, rows);
        });
        steps.put("mlInfo", () -> {
            check(!ml().info().upgradeMode(), "upgrading");
            check(ml().clearTrainedModelDeploymentCache(b -> b.modelId("tiny")).cleared(), "cache");
        });
        steps.put("stopAndDelete", () -> {
            fails(409, "status_exception", () -> ml().deleteTrainedModel(b -> b.modelId("tiny")));
            check(ml().stopTrainedModelDeployment(b -> b.modelId("tiny")).stopped(), "not stopped");
            check(ml().deleteTrainedModel(b -> b.modelId("tiny")).acknowledged(), "not deleted");
            fails(404, "resource_not_found_exception",
                () -> ml().getTrainedModels(b -> b.modelId("tiny")));
        });
    }
}
