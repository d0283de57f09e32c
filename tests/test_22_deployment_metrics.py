"""Deployments and the engine's work in Prometheus' text: what is counted, and how it is written."""
import re

import elasticsearch
import pytest

from inferd import PASSWORD
from test_22_deployments import EMBED, infer, start, upload

LABELS = '{deployment_id="d-metrics",model_id="m-metrics"}'
LINE = re.compile(r'^([a-z_]+)(\{[^}]*\})? (-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)$')


@pytest.fixture(scope="module")
def server(shared):
    yield shared.get()


@pytest.fixture(scope="module")
def es(server):
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                     request_timeout=60, max_retries=0) as client:
        upload(client, EMBED, "m-metrics")
        start(client, "m-metrics", deployment_id="d-metrics")
        yield client
        client.ml.delete_trained_model(model_id="m-metrics", force=True)


def read(server):
    values = {}
    for line in server.get("/_prometheus/metrics").text.splitlines():
        if not line.startswith("#"):
            name, labels, value = LINE.match(line).groups()[:3]
            assert name + (labels or "") not in values, line
            values[name + (labels or "")] = float(value)
    return values


def of_deployment(values):
    return {k[len("inferd_deployment_"):-len(LABELS)]: v for k, v in values.items()
            if k.startswith("inferd_deployment_") and k.endswith(LABELS)}


def test_a_deployment_is_counted(server, es):
    seen = of_deployment(read(server))
    assert seen == {"allocations": 1, "target_allocations": 1, "queue": 0, "inferences_total": 0,
                    "cache_hits_total": 0, "errors_total": 0, "timeouts_total": 0,
                    "rejected_total": 0, "inference_seconds_total": 0}
    infer(es, "d-metrics", "one", "two", "three")
    infer(es, "d-metrics", "one")
    seen = of_deployment(read(server))
    assert seen["inferences_total"] == 4 and seen["cache_hits_total"] == 1
    assert 0 < seen["inference_seconds_total"] < 60
    es.ml.update_trained_model_deployment(model_id="d-metrics", number_of_allocations=2)
    assert of_deployment(read(server))["target_allocations"] == 2


def test_the_phases_add_up(server, es):
    before = read(server)
    infer(es, "d-metrics", *[f"text number {i} of the phases" for i in range(20)])
    after = read(server)
    for phase in ("tokenize", "queue", "run", "decode"):
        name = f"inferd_local_{phase}_seconds_total"
        assert after[name] > before[name], name
    for name in ("sequences", "tokens"):
        family = f"inferd_local_batch_{name}"
        batches = after[f"{family}_count"] - before[f"{family}_count"]
        assert batches == after["inferd_local_batches_total"] - before["inferd_local_batches_total"]
        assert (after[f"{family}_sum"] - before[f"{family}_sum"]
                == after[f"inferd_local_{name}_total"] - before[f"inferd_local_{name}_total"])
        buckets = [v for k, v in after.items() if k.startswith(family + "_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == after[f"{family}_count"]


def test_a_deployment_that_ends_has_no_lines(server, es):
    start(es, "m-metrics", deployment_id="d-gone")
    assert any('"d-gone"' in k for k in read(server))
    es.ml.stop_trained_model_deployment(model_id="d-gone")
    assert not any('"d-gone"' in k for k in read(server))


def test_each_family_is_described_once(server, es):
    lines = server.get("/_prometheus/metrics").text.splitlines()
    for what in ("HELP", "TYPE"):
        names = [l.split()[2] for l in lines if l.startswith(f"# {what} ")]
        assert len(names) == len(set(names))
        assert {"inferd_deployment_queue", "inferd_local_batch_tokens", "inferd_node_processors",
                "inferd_local_run_seconds_total"} <= set(names)
