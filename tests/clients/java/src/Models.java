import co.elastic.clients.elasticsearch.inference.ElasticsearchServiceType;
import co.elastic.clients.elasticsearch.inference.ElasticsearchTaskType;
import co.elastic.clients.elasticsearch.ml.*;
import java.io.FileReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/** An uploaded model from its first part to its end. */
class Models extends Story {
    static ElasticsearchMlClient ml() {
        return client.ml();
    }

    static InferTrainedModelResponse infer(String id, String text) throws java.io.IOException {
        return ml().inferTrainedModel(b -> b.modelId(id).docs(List.of(
            Map.of("text_field", json('"' + text + '"')))));
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
        steps.put("inferWithConfig", () -> {
            var result = ml().inferTrainedModel(b -> b.modelId("tiny").timeout(t -> t.time("20s"))
                .docs(List.of(Map.of("text_field", json("\"a b\""))))
                .inferenceConfig(c -> c.textClassification(t -> t.numTopClasses(2).resultsField("r"))))
                .inferenceResults().get(0);
            same(result.topClasses().size(), 2);
            check(result.topClasses().get(0).classProbability() > 0, result);
        });
        steps.put("adaptiveDeployment", () -> {
            var made = ml().startTrainedModelDeployment(b -> b.modelId("tiny").deploymentId("second")
                .priority(TrainingPriority.Normal).queueCapacity(50).cacheSize("1mb")
                .adaptiveAllocations(a -> a.enabled(true).minNumberOfAllocations(1)
                    .maxNumberOfAllocations(2))).assignment();
            same(made.taskParameters().deploymentId(), "second");
            infer("second", "a");
            check(ml().getTrainedModelsStats(b -> b.modelId("tiny")).count() == 2, "one deployment");
            check(ml().stopTrainedModelDeployment(b -> b.modelId("second").force(true)).stopped(), "");
        });
        steps.put("builtInModel", () -> {
            client.inference().putElasticsearch(b -> b.elasticsearchInferenceId("e5")
                .taskType(ElasticsearchTaskType.TextEmbedding)
                .service(ElasticsearchServiceType.Elasticsearch)
                .serviceSettings(s -> s.modelId(".multilingual-e5-small").numThreads(1)
                    .adaptiveAllocations(a -> a.enabled(true).minNumberOfAllocations(0)
                        .maxNumberOfAllocations(2)))
                .chunkingSettings(c -> c.strategy("sentence").maxChunkSize(100).sentenceOverlap(1)));
            check(!client.inference().textEmbedding(b -> b.inferenceId("e5").input("hello")
                .timeout(t -> t.time("60s"))).inferenceResult().textEmbedding().isEmpty(), "no vector");
            client.inference().rerank(b -> b.inferenceId(".rerank-v1-elasticsearch")
                .query(q -> q.string("a")).input(i -> i.string(List.of("a", "b"))));
            client.inference().sparseEmbedding(b -> b.inferenceId(".elser-2-elasticsearch").input("a"));
            var models = ml().getTrainedModels(b -> b.modelId(".multilingual-e5-small"))
                .trainedModelConfigs();
            same(models.get(0).modelPackage().packagedModelId(), "multilingual-e5-small");
            var stats = ml().getTrainedModelsStats(b -> b.modelId(".multilingual-e5-small"))
                .trainedModelStats().get(0);
            same(stats.deploymentStats().deploymentId(), "e5");
            check(client.inference().delete(b -> b.inferenceId("e5")).acknowledged(), "not deleted");
        });
        steps.put("trees", () -> {
            var made = ml().putTrainedModel(b -> b.modelId("tree").inferenceConfig(c -> c.regression(r -> r))
                .input(i -> i.fieldNames("x")).definition(d -> d.trainedModel(t -> t.tree(tree -> tree
                    .featureNames("x").targetType("regression")
                    .treeStructure(n -> n.nodeIndex(0).splitFeature(0).threshold(1.0)
                        .decisionType("lte").leftChild(1).rightChild(2))
                    .treeStructure(n -> n.nodeIndex(1).leafValue(1.5))
                    .treeStructure(n -> n.nodeIndex(2).leafValue(2.5))))));
            check(made.inferenceConfig().isRegression(), made);
            var value = ml().inferTrainedModel(b -> b.modelId("tree")
                .docs(List.of(Map.of("x", json("3")))))
                .inferenceResults().get(0).predictedValue();
            same(value.get(0).get(0).doubleValue(), 2.5);
            check(ml().getTrainedModels(b -> b.modelId("tree").include(Include.Definition)
                .decompressDefinition(true)).count() == 1, "no tree");
            check(ml().deleteTrainedModel(b -> b.modelId("tree")).acknowledged(), "not deleted");
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
