"""Drives a server with the official Python client that is on the path; run by test_40_clients.py.

    python client_story.py URL PASSWORD [MODEL]        one JSON line per step: {"step", "ok", "why"}

Written for both majors: `elasticsearch` (9.x) or `elasticsearch8` (8.x, in its own folder).
"""
import json
import sys
import traceback
import warnings

try:
    import elasticsearch8 as es
except ImportError:
    import elasticsearch as es

URL, PASSWORD = sys.argv[1:3]
MODEL = sys.argv[3] if len(sys.argv) > 3 else None
KEY = "sk-S3CRET-client"
warnings.simplefilter("error")  # a Warning header would be one

STEPS = []


def step(f):
    STEPS.append(f)
    return f


def client(**kw):
    return es.Elasticsearch(URL, **{"basic_auth": ("elastic", PASSWORD), **kw})


c = client()
inf = c.inference


def fails(error, status, kind, call):
    try:
        call()
    except error as e:
        assert e.status_code == status, e
        assert e.error == kind, e
        return e
    raise AssertionError("nothing was refused")


@step
def info():
    body = c.info()
    assert body["tagline"] == "You Know, for Search"
    assert body["version"]["number"].startswith("9.")
    assert c.ping() is True


@step
def health():
    assert c.cluster.health(wait_for_status="yellow", timeout="10s")["status"] == "green"


@step
def license():
    assert c.license.get()["license"]["status"] == "active"


@step
def xpack():
    assert c.xpack.info()["features"]["inference"]["available"] is True
    assert c.xpack.usage()["inference"]["enabled"] is True


@step
def nodes():
    (node,) = c.nodes.info(metric="http")["nodes"].values()
    assert node["http"]["publish_address"] == URL.split("//")[1]


@step
def sniffing():
    """The client sniffs without its credentials, so they stand in the node's own headers."""
    from base64 import b64encode
    from elastic_transport import NodeConfig
    auth = "Basic " + b64encode(f"elastic:{PASSWORD}".encode()).decode()
    node = NodeConfig("http", "127.0.0.1", int(URL.rsplit(":", 1)[1]),
                      headers={"authorization": auth})
    with es.Elasticsearch([node], sniff_on_start=True) as sniffer:
        assert sniffer.info()["tagline"]
        assert [n.base_url for n in sniffer.transport.node_pool.all()] == [URL]


@step
def authenticate():
    assert c.security.authenticate()["username"] == "elastic"


@step
def wrong_password():
    for auth in ({"basic_auth": ("elastic", "wrong")}, {"basic_auth": None}):
        with client(**auth) as other:
            fails(es.AuthenticationException, 401, "security_exception", other.info)


@step
def put():
    made = inf.put(inference_id="generic", task_type="completion", inference_config={
        "service": "openai", "service_settings": {"api_key": KEY, "model_id": "m"}})
    assert made["inference_id"] == "generic" and made["service"] == "openai"
    made = inf.put(inference_id="generic2", inference_config={
        "service": "openai", "task_type": "completion",
        "service_settings": {"api_key": KEY, "model_id": "m"}})
    assert made["task_type"] == "completion"


@step
def put_openai():
    made = inf.put_openai(
        task_type="text_embedding", openai_inference_id="o-embed", service="openai",
        service_settings={"api_key": KEY, "model_id": "text-embedding-3-small"},
        chunking_settings={"strategy": "word", "max_chunk_size": 100, "overlap": 10},
        task_settings={"user": "u"})
    assert made["service_settings"]["dimensions"] == 8
    assert made["chunking_settings"]["overlap"] == 10
    inf.put_openai(task_type="completion", openai_inference_id="o-chat", service="openai",
                   service_settings={"api_key": KEY, "model_id": "gpt-4o"})
    inf.put_openai(task_type="chat_completion", openai_inference_id="o-unified", service="openai",
                   service_settings={"api_key": KEY, "model_id": "gpt-4o"})


@step
def put_cohere():
    settings = {"api_key": KEY, "model_id": "m"}
    made = inf.put_cohere(task_type="text_embedding", cohere_inference_id="c-embed",
                          service="cohere", service_settings=dict(settings, embedding_type="byte"),
                          task_settings={"input_type": "ingest"})
    assert made["service_settings"]["embedding_type"] == "byte"
    inf.put_cohere(task_type="rerank", cohere_inference_id="c-rank", service="cohere",
                   service_settings=settings,
                   task_settings={"return_documents": True, "top_n": 2})
    inf.put_cohere(task_type="completion", cohere_inference_id="c-chat", service="cohere",
                   service_settings=settings)


@step
def put_hugging_face():
    base = "https://x.example/hf"
    for task, path in (("text_embedding", "/embed"), ("rerank", "/rerank"),
                       ("completion", "/v1/chat/completions"),
                       ("sparse_embedding", "/sparse")):
        made = inf.put_hugging_face(task_type=task, huggingface_inference_id="h-" + task,
                                    service="hugging_face",
                                    service_settings={"api_key": KEY, "url": base + path})
        assert made["service_settings"]["url"] == base + path


@step
def put_elasticsearch():
    if not MODEL:
        e = fails(es.NotFoundError, 404, "resource_not_found_exception",
                  lambda: inf.put_elasticsearch(
                      task_type="text_embedding", elasticsearch_inference_id="local",
                      service="elasticsearch", service_settings={
                          "model_id": "no-such-model", "num_threads": 1, "num_allocations": 1}))
        assert "no-such-model" in str(e)
        return
    made = inf.put_elasticsearch(
        task_type="text_embedding", elasticsearch_inference_id="local", service="elasticsearch",
        service_settings={"model_id": MODEL, "num_threads": 1, "num_allocations": 1})
    assert made["service_settings"]["dimensions"] == 384
    answer = inf.text_embedding(inference_id="local", input=["hello world"])
    assert len(answer["text_embedding"][0]["embedding"]) == 384


@step
def get():
    assert [e["inference_id"] for e in inf.get(inference_id="o-chat")["endpoints"]] == ["o-chat"]
    assert inf.get(task_type="rerank", inference_id="c-rank")["endpoints"][0]["task_settings"] == {
        "return_documents": True, "top_n": 2}
    names = [e["inference_id"] for e in inf.get()["endpoints"]]
    assert names == sorted(names) and {"o-embed", "c-rank", "h-rerank"} <= set(names)
    assert len(inf.get(task_type="completion", inference_id="_all")["endpoints"]) == 5


@step
def completion():
    answer = inf.completion(inference_id="o-chat", input="hi", timeout="20s")
    assert answer["completion"] == [{"result": "Echo: hi"}]
    assert inf.completion(inference_id="c-chat", input="hi")["completion"][0]["result"]
    assert inf.completion(inference_id="h-completion", input=["hi"],
                          task_settings=None)["completion"][0]["result"] == "Echo: hi"


@step
def text_embedding():
    answer = inf.text_embedding(inference_id="o-embed", input=["a", "b"],
                                task_settings={"user": "v"})
    assert len(answer["text_embedding"]) == 2
    answer = inf.text_embedding(inference_id="c-embed", input="a")
    assert all(-128 <= x <= 127 for x in answer["text_embedding_bytes"][0]["embedding"])
    assert inf.text_embedding(inference_id="h-text_embedding", input="a")["text_embedding"]


@step
def sparse_embedding():
    answer = inf.sparse_embedding(inference_id="h-sparse_embedding", input="the wish")
    assert set(answer["sparse_embedding"][0]["embedding"]) == {"the", "wish"}


@step
def rerank():
    answer = inf.rerank(inference_id="c-rank", query="the capital",
                        input=["the moon", "the capital", "no"])
    assert [r["text"] for r in answer["rerank"]] == ["the capital", "the moon"]
    answer = inf.rerank(inference_id="h-rerank", query="moon", input=["the moon", "x"],
                        task_settings={"top_n": 1})
    assert [r["index"] for r in answer["rerank"]] == [0]


@step
def inference():
    answer = inf.inference(inference_id="c-rank", task_type="rerank", query="q", input=["q", "x"])
    assert len(answer["rerank"]) == 2
    answer = inf.inference(inference_id="o-embed", input="a", timeout="10s")
    assert list(answer) == ["text_embedding"]


@step
def update():
    made = inf.update(inference_id="c-rank", task_type="rerank", inference_config={
        "service_settings": {"api_key": KEY + "2"}, "task_settings": {"top_n": 1}})
    assert made["task_settings"] == {"return_documents": True, "top_n": 1}
    inf.update(inference_id="o-chat", inference_config={"service_settings": {"api_key": KEY}})


@step
def delete():
    for name in ("generic", "generic2"):
        answer = inf.delete(inference_id=name, dry_run=True)
        assert answer["acknowledged"] is False and answer["pipelines"] == []
        assert inf.delete(inference_id=name, force=True)["acknowledged"] is True
    assert inf.delete(task_type="completion", inference_id="c-chat")["acknowledged"] is True
    fails(es.NotFoundError, 404, "resource_not_found_exception",
          lambda: inf.get(inference_id="generic"))


@step
def errors():
    e = fails(es.BadRequestError, 400, "validation_exception", lambda: inf.put_openai(
        task_type="completion", openai_inference_id="bad", service="openai",
        service_settings={"model_id": "m"}))
    assert "api_key" in str(e)
    fails(es.BadRequestError, 400, "resource_already_exists_exception", lambda: inf.put_cohere(
        task_type="rerank", cohere_inference_id="c-rank", service="cohere",
        service_settings={"api_key": KEY, "model_id": "m"}))
    fails(es.BadRequestError, 400, "action_request_validation_exception",
          lambda: inf.rerank(inference_id="c-rank", query="", input="x"))


@step
def options_of_the_client():
    assert c.options(opaque_id="my-id").info()["name"]
    assert c.info(pretty=True, human=True, filter_path="version.number").body == {
        "version": {"number": c.info()["version"]["number"]}}
    with client(http_compress=True) as packed:
        answer = packed.inference.completion(inference_id="o-chat", input="x" * 5000)
        assert answer["completion"][0]["result"] == "Echo: " + "x" * 5000


@step
def streams_by_hand():
    """The Python client has no helper for streams; its transport carries the request."""
    import http.client
    import base64
    auth = base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()
    connection = http.client.HTTPConnection(URL.split("//")[1], timeout=20)
    kind = f"application/vnd.elasticsearch+json; compatible-with={es.__version__[0]}"
    for path, body in (("completion/o-chat", {"input": "hi"}),
                       ("chat_completion/o-unified", {"messages": [{"role": "user",
                                                                    "content": "hi"}]})):
        connection.request("POST", f"/_inference/{path}/_stream", json.dumps(body), {
            "authorization": "Basic " + auth, "content-type": kind, "accept": kind})
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200 and text.endswith("event: message\ndata: [DONE]\n\n"), text


for f in STEPS:
    try:
        f()
        result = {"step": f.__name__, "ok": True}
    except Exception:
        result = {"step": f.__name__, "ok": False, "why": traceback.format_exc()[-1500:]}
    print(json.dumps(result), flush=True)
print(json.dumps({"step": "version", "ok": True, "version": ".".join(map(str, es.__version__))}))
