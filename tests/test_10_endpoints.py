"""Endpoints as resources: create, read, list, update, delete, and every word of the refusals."""
import json

import pytest

from inferd import MARK, wait_until
from upstream import Hang, Reply

KEY = "sk-" + MARK + "-1"
OPENAI = {"api_key": KEY, "model_id": "text-embedding-3-small"}
COHERE = {"api_key": KEY, "model_id": "embed-v4.0"}
HF = {"api_key": KEY, "url": "https://hf.example/hf/embed"}
SENTENCE = {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1}


def put(server, path, body):
    return server.put("/_inference/" + path, body)


def fails(answer, status, kind, reason):
    assert (answer.status, answer.type, answer.reason) == (status, kind, reason)


# ---- the object ----

def test_put_answers_with_the_endpoint_and_get_shows_the_same(server, upstream):
    answer = put(server, "text_embedding/e", {"service": "openai", "service_settings": OPENAI})
    assert answer.status == 200
    assert answer.json == {
        "inference_id": "e", "task_type": "text_embedding", "service": "openai",
        "service_settings": {"model_id": "text-embedding-3-small", "similarity": "dot_product",
                             "dimensions": 8, "rate_limit": {"requests_per_minute": 3000}},
        "chunking_settings": SENTENCE}
    assert list(answer.json) == ["inference_id", "task_type", "service", "service_settings",
                                 "chunking_settings"]
    assert list(answer.json["service_settings"]) == ["model_id", "similarity", "dimensions",
                                                     "rate_limit"]
    for path in ("/_inference/e", "/_inference/text_embedding/e", "/_inference/TEXT_EMBEDDING/e",
                 "/_inference/any/e"):
        assert server.get(path).json == {"endpoints": [answer.json]}
    (probe,) = upstream.requests
    assert probe.json == {"input": ["how big"], "model": "text-embedding-3-small"}
    assert probe.headers["authorization"] == "Bearer " + KEY


def test_all_settings_come_back_in_order(server, upstream):
    settings = dict(OPENAI, url="https://api.openai.com/v1/embeddings", organization_id="org",
                    similarity="cosine", dimensions=4, max_input_tokens=100,
                    rate_limit={"requests_per_minute": 7000})
    answer = put(server, "text_embedding/e", {
        "service": "openai", "service_settings": settings, "task_settings": {"user": "u"},
        "chunking_settings": {"strategy": "word", "max_chunk_size": 100, "overlap": 50}}).json
    assert list(answer["service_settings"].items()) == [
        ("model_id", "text-embedding-3-small"), ("url", "https://api.openai.com/v1/embeddings"),
        ("organization_id", "org"), ("similarity", "cosine"), ("dimensions", 4),
        ("max_input_tokens", 100), ("rate_limit", {"requests_per_minute": 7000})]
    assert list(answer) == ["inference_id", "task_type", "service", "service_settings",
                            "task_settings", "chunking_settings"]
    assert answer["task_settings"] == {"user": "u"}
    (probe,) = upstream.requests
    assert probe.json == {"input": ["how big"], "model": "text-embedding-3-small", "user": "u",
                          "dimensions": 4}
    assert probe.headers["openai-organization"] == "org"


def test_task_type_may_stand_in_the_body(server):
    body = {"service": "openai", "task_type": "Completion", "service_settings": OPENAI}
    assert put(server, "c", body).json["task_type"] == "completion"
    assert put(server, "completion/d", body).json["task_type"] == "completion"
    assert put(server, " Completion/e".replace(" ", "%20"), body).json["task_type"] == "completion"


def test_tasks_without_chunking_show_none(server):
    for task, service, settings in (("completion", "openai", OPENAI), ("rerank", "cohere", COHERE),
                                    ("chat_completion", "openai", OPENAI)):
        body = server.make(task, "x", service, settings)
        assert "chunking_settings" not in body and "task_settings" not in body
        assert "similarity" not in body["service_settings"]
        assert body["service_settings"]["rate_limit"]["requests_per_minute"] > 0


def test_probes_of_every_task(server, upstream):
    server.make("completion", "a", "openai", OPENAI)
    server.make("chat_completion", "b", "openai", OPENAI)
    server.make("rerank", "c", "cohere", COHERE)
    server.make("text_embedding", "d", "cohere", COHERE)
    chat = {"messages": [{"role": "user", "content": "how big"}],
            "model": "text-embedding-3-small", "n": 1, "stream": False}
    assert upstream.bodies() == [
        chat, chat,
        {"model": "embed-v4.0", "query": "test query", "documents": ["how big"]},
        {"texts": ["how big"], "model": "embed-v4.0", "input_type": "search_document",
         "embedding_types": ["float"]}]


def test_the_list_is_sorted_by_id(server):
    for name in ("b", "a.z", "a-1", "a_1", "10", "9"):
        server.make("completion", name, "openai", OPENAI)
    server.make("rerank", "r", "cohere", COHERE)
    names = lambda path: [e["inference_id"] for e in server.get(path).json["endpoints"]
                          if not e["inference_id"].startswith(".")]
    everything = sorted(["b", "a.z", "a-1", "a_1", "10", "9", "r"])
    for path in ("/_inference", "/_inference/_all", "/_inference/*", "/_inference/any/_all",
                 "/_inference/any/*"):
        assert names(path) == everything
    assert names("/_inference/rerank/_all") == ["r"]
    assert names("/_inference/completion/*") == [n for n in everything if n != "r"]
    assert server.get("/_inference/sparse_embedding/_all").status == 200


def test_one_segment_is_an_id_never_a_task(server):
    fails(server.get("/_inference/rerank"), 404, "resource_not_found_exception",
          "Inference endpoint not found [rerank]")


def test_get_of_another_type(server):
    server.make("completion", "c", "openai", OPENAI)
    text = ("Requested task type [rerank] does not match the inference endpoint's task type "
            "[completion]")
    for answer in (server.get("/_inference/rerank/c"), server.delete("/_inference/rerank/c")):
        fails(answer, 400, "status_exception", text)
    assert server.get("/_inference/c").status == 200
    fails(server.get("/_inference/nonsense/c"), 400, "status_exception",
          "Unknown task_type [nonsense]")


def test_minimal_config(server):
    server.make("completion", "c", "openai", OPENAI)
    assert server.get("/_inference?return_minimal_config=true").status == 200


# ---- delete ----

def test_delete(server):
    server.make("completion", "c", "openai", OPENAI)
    dry = server.delete("/_inference/c?dry_run=true")
    assert dry.json == {"acknowledged": False, "pipelines": [], "indexes": [], "error_message": ""}
    assert server.get("/_inference/c").status == 200
    gone = server.delete("/_inference/completion/c")
    assert (gone.status, gone.json) == (200, {"acknowledged": True, "pipelines": [], "indexes": []})
    for answer in (server.get("/_inference/c"), server.delete("/_inference/c"),
                   server.delete("/_inference/c?dry_run"), server.post("/_inference/c", {"input": "a"})):
        fails(answer, 404, "resource_not_found_exception", "Inference endpoint not found [c]")
    server.make("completion", "c", "openai", OPENAI)
    assert server.delete("/_inference/c?force=true&dry_run=false").json["acknowledged"] is True
    fails(server.delete("/_inference/c?force=maybe"), 400, "illegal_argument_exception",
          "Failed to parse value [maybe] as only [true] or [false] are allowed.")


def test_a_deleted_id_is_free_for_another_service(server):
    server.make("completion", "c", "openai", OPENAI)
    assert server.delete("/_inference/c").status == 200
    answer = put(server, "rerank/c", {"service": "cohere", "service_settings": COHERE})
    assert answer.json["service"] == "cohere"


# ---- what a PUT may get wrong ----

@pytest.mark.parametrize("name", ["UP", "a%20b", "-a", "a-", ".a", "_a", "a/../b", "%C3%A4", "a:b",
                                  "a%00", "My%20Id"])
def test_ids(server, upstream, name):
    answer = put(server, "completion/" + name, {"service": "openai", "service_settings": OPENAI})
    assert answer.status == 400
    if name == "My%20Id":
        fails(answer, 400, "action_request_validation_exception",
              "Validation Failed: 1: Invalid inference_id; 'My Id' can contain lowercase "
              "alphanumeric (a-z and 0-9), hyphens or underscores; must start and end with "
              "alphanumeric;")
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "a" * 200])
def test_good_ids(server, name):
    server.make("completion", name, "openai", OPENAI)
    assert server.get("/_inference/" + name).status == 200


def body(service="openai", settings=None, **more):
    return {"service": service, "service_settings": OPENAI if settings is None else settings, **more}


STATUS, VALIDATION, ARGUMENT = ("status_exception", "validation_exception",
                                "illegal_argument_exception")

# path, body, exception, reason
REFUSALS = [
    ("x", body(), STATUS, "model is missing required setting [task_type]"),
    ("any/x", body(), STATUS, "model is missing required setting [task_type]"),
    ("x", body(task_type="any"), STATUS, "task_type [any] is not valid type for inference"),
    ("x", body(task_type="foo"), STATUS, "Unknown task_type [foo]"),
    ("foo/x", body(), STATUS, "Unknown task_type [foo]"),
    ("rerank/x", body(task_type="completion"), STATUS,
     "Cannot resolve conflicting task_type parameter in the request URL [rerank] and the request "
     "body [completion]"),
    ("completion/x", {"service_settings": OPENAI}, STATUS,
     "Inference endpoint configuration is missing the [service] setting"),
    ("completion/x", {"service": "openai"}, STATUS, "Missing required field [service_settings]"),
    ("completion/x", body("foo"), STATUS, "Unknown service [foo]"),
    ("rerank/x", body(), STATUS, "The [openai] service does not support task type [rerank]"),
    ("sparse_embedding/x", body("cohere", COHERE), STATUS,
     "The [cohere] service does not support task type [sparse_embedding]"),
    ("completion/x", body(foo="bar"), STATUS,
     "Configuration contains settings [{foo=bar}] unknown to the [openai] service"),
    ("completion/x", body(settings=dict(OPENAI, foo="bar", n=[1, {"a": None}])), STATUS,
     "Configuration contains settings [{foo=bar, n=[1, {a=null}]}] unknown to the [openai] service"),
    ("completion/x", body(task_settings={"foo": True}), STATUS,
     "Configuration contains settings [{foo=true}] unknown to the [openai] service"),
    ("completion/x", body(chunking_settings=SENTENCE), STATUS,
     "Configuration contains settings [{chunking_settings={strategy=sentence, max_chunk_size=250, "
     "sentence_overlap=1}}] unknown to the [openai] service"),
    ("completion/x", body(settings={"api_key": KEY}), VALIDATION,
     "Validation Failed: 1: [service_settings] does not contain the required setting [model_id];"),
    ("completion/x", body(settings={"model_id": "m"}), VALIDATION,
     "Validation Failed: 1: [secret_settings] does not contain the required setting [api_key];"),
    ("completion/x", body(settings={"model_id": "", "api_key": KEY}), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid value empty string. [model_id] must be a "
     "non-empty string;"),
    ("completion/x", body(settings={"model_id": "m", "api_key": ""}), VALIDATION,
     "Validation Failed: 1: [secret_settings] Invalid value empty string. [api_key] must be a "
     "non-empty string;"),
    ("completion/x", body(settings={"model_id": 5, "api_key": KEY}), VALIDATION,
     "Validation Failed: 1: field [model_id] is not of the expected type. The value [5] cannot be "
     "converted to a [String];"),
    ("text_embedding/x", body(settings=dict(OPENAI, dimensions=0)), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid value [0]. [dimensions] must be a positive "
     "integer;"),
    ("text_embedding/x", body(settings=dict(OPENAI, dimensions="8")), VALIDATION,
     "Validation Failed: 1: field [dimensions] is not of the expected type. The value [8] cannot "
     "be converted to a [Integer];"),
    ("text_embedding/x", body(settings=dict(OPENAI, max_input_tokens=-1)), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid value [-1]. [max_input_tokens] must be a "
     "positive integer;"),
    ("text_embedding/x", body(settings=dict(OPENAI, similarity="foo")), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid value [foo] received. [similarity] must be "
     "one of [cosine, dot_product, l2_norm];"),
    ("text_embedding/x", body(settings=dict(OPENAI, dimensions_set_by_user=True)), VALIDATION,
     "Validation Failed: 1: [service_settings] does not allow the setting "
     "[dimensions_set_by_user];"),
    ("text_embedding/x", body(settings=dict(OPENAI, dimensions=0, similarity="foo",
                                            model_id="")), VALIDATION, None),
    ("completion/x", body(settings=dict(OPENAI, rate_limit={"requests_per_minute": 0})),
     VALIDATION, None),
    ("completion/x", body(settings=dict(OPENAI, rate_limit={"requests_per_minute": "x"})),
     VALIDATION, "Validation Failed: 1: field [requests_per_minute] is not of one of the expected "
     "types. The value [x] cannot be converted to one of [Integer, Long];"),
    ("completion/x", body(settings=dict(OPENAI, url="^^")), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid url [^^] received for field [url]. Error: "
     "unable to parse url [^^]. Reason: Illegal character in path;"),
    ("completion/x", body(settings=dict(OPENAI, url="https://u:" + MARK + "@h.example/")), VALIDATION,
     "Validation Failed: 1: [service_settings] Invalid url received for field [url]. It must not "
     "contain user information, as it is shown;"),
    ("text_embedding/x", body("hugging_face", {"api_key": KEY}), VALIDATION,
     "Validation Failed: 1: [service_settings] does not contain the required setting [url];"),
    ("text_embedding/x", body("cohere", dict(COHERE, embedding_type="foo")), VALIDATION, None),
    ("text_embedding/x", body("cohere", COHERE, task_settings={"truncate": "MIDDLE"}), VALIDATION,
     "Validation Failed: 1: [task_settings] Invalid value [MIDDLE] received. [truncate] must be "
     "one of [END, NONE, START];"),
    ("rerank/x", body("cohere", COHERE, task_settings={"top_n": 0}), VALIDATION,
     "Validation Failed: 1: [task_settings] Invalid value [0]. [top_n] must be a positive "
     "integer;"),
    ("rerank/x", body("cohere", COHERE, task_settings={"return_documents": "yes"}), VALIDATION,
     "Validation Failed: 1: field [return_documents] is not of the expected type. The value [yes] "
     "cannot be converted to a [Boolean];"),
]


@pytest.mark.parametrize("path, content, kind, reason", REFUSALS)
def test_refusals_of_put(server, upstream, path, content, kind, reason):
    answer = put(server, path, content)
    assert (answer.status, answer.type) == (400, kind), answer
    if reason:
        assert answer.reason == reason
    assert upstream.requests == [], "nothing may be sent for a configuration that is wrong"
    assert server.get("/_inference/x").status == 404


def test_problems_are_collected_and_numbered(server):
    answer = put(server, "text_embedding/x", body(settings={
        "api_key": KEY, "model_id": "", "dimensions": 0, "similarity": "foo"}))
    assert answer.status == 400
    assert answer.reason.startswith("Validation Failed: 1: ")
    assert [f"{i}: " in answer.reason for i in (1, 2, 3)] == [True] * 3
    assert answer.reason.count(";") == 3 and answer.reason.endswith(";")


@pytest.mark.parametrize("value", [b"1.5", b"-1", b"1e400", b"99999999999999999999", b"true", b"[]",
                                   b"{}", b'"5"', b"-0", b"0.0", b"9223372036854775808"])
@pytest.mark.parametrize("member", [b"dimensions", b"max_input_tokens", b"rate_limit"])
def test_numbers_that_do_not_fit(server, upstream, member, value):
    if member == b"rate_limit":
        value = b'{"requests_per_minute": ' + value + b"}"
    answer = server.put("/_inference/text_embedding/x", b'{"service": "openai", "service_settings": '
                        b'{"api_key": "k", "model_id": "m", "' + member + b'": ' + value + b"}}")
    assert answer.status == 400, answer
    assert upstream.requests == []


@pytest.mark.parametrize("value", [b"1", b"2147483647", b"9223372036854775807"])
def test_rate_limits_at_the_edge(server, upstream, value):
    answer = server.put("/_inference/completion/x", b'{"service": "openai", "service_settings": '
                        b'{"api_key": "k", "model_id": "m", "rate_limit": {"requests_per_minute": '
                        + value + b"}}}")
    assert answer.status == 200, answer
    assert value in answer.body
    if value != b"1":
        for _ in range(3):
            assert server.post("/_inference/x", {"input": "x"}).status == 200


@pytest.mark.parametrize("chunking, kind, reason", [
    ({"max_chunk_size": 100}, ARGUMENT, "Can't generate Chunker without ChunkingStrategy provided"),
    ({"strategy": "foo"}, ARGUMENT, "Invalid chunkingStrategy foo"),
    ({"strategy": "Sentence", "max_chunk_size": 100}, ARGUMENT,
     "Invalid chunkingStrategy Sentence"),
    ({"strategy": "sentence"}, VALIDATION, "Validation Failed: 1: [chunking_settings] does not "
     "contain the required setting [max_chunk_size];"),
    ({"strategy": "sentence", "max_chunk_size": 5}, VALIDATION,
     "Validation Failed: 1: [chunking_settings] Invalid value [5.0]. [max_chunk_size] must be a "
     "greater than or equal to [20.0];"),
    ({"strategy": "sentence", "max_chunk_size": 100, "sentence_overlap": 2}, VALIDATION,
     "Validation Failed: 1: sentence_overlap[2] must be either 0 or 1;"),
    ({"strategy": "sentence", "max_chunk_size": 100, "overlap": 2}, VALIDATION,
     "Validation Failed: 1: Sentence based chunking settings can not have the following settings: "
     "[overlap];"),
    ({"strategy": "word", "max_chunk_size": 10, "overlap": 9}, VALIDATION,
     "Validation Failed: 1: [chunking_settings] Invalid value [9.0]. [overlap] must be a less than "
     "or equal to [5.0];"),
    ({"strategy": "word", "max_chunk_size": 10}, VALIDATION, None),
    ({"strategy": "word", "max_chunk_size": 10, "overlap": 0}, VALIDATION, None),
    ({"strategy": "recursive", "max_chunk_size": 10, "separators": []}, VALIDATION,
     "Validation Failed: 1: Recursive chunking settings can not have an empty list of "
     "separators;"),
    ({"strategy": "recursive", "max_chunk_size": 10, "separators": ["a"],
      "separator_group": "plaintext"}, VALIDATION, "Validation Failed: 1: Recursive chunking "
     "settings can not have both separators and separator_set;"),
])
def test_refusals_of_chunking_settings(server, upstream, chunking, kind, reason):
    answer = put(server, "text_embedding/x", body(chunking_settings=chunking))
    assert (answer.status, answer.type) == (400, kind), answer
    if reason:
        assert answer.reason == reason
    assert upstream.requests == []


@pytest.mark.parametrize("given, shown", [
    (None, SENTENCE), ({}, SENTENCE),
    ({"strategy": "sentence", "max_chunk_size": 20},
     {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1}),
    ({"strategy": "sentence", "max_chunk_size": 1000, "sentence_overlap": 0},
     {"strategy": "sentence", "max_chunk_size": 1000, "sentence_overlap": 0}),
    ({"strategy": "word", "max_chunk_size": 10, "overlap": 5},
     {"strategy": "word", "max_chunk_size": 10, "overlap": 5}),
    ({"strategy": "none"}, {"strategy": "none"}),
    ({"strategy": "recursive", "max_chunk_size": 10, "separators": ["\n\n", "\\s"]},
     {"strategy": "recursive", "max_chunk_size": 10, "separators": ["\n\n", "\\s"]}),
    ({"strategy": "recursive", "max_chunk_size": 10, "separator_group": "plaintext"},
     {"strategy": "recursive", "max_chunk_size": 10,
      "separators": ["(?<!\n)\n\n(?!\n)", "(?<!\n)\n(?!\n)"]}),
])
def test_chunking_settings_come_back(server, given, shown):
    more = {} if given is None else {"chunking_settings": given}
    made = server.make("text_embedding", "e", "openai", OPENAI, **more)
    assert made["chunking_settings"] == shown
    assert list(made["chunking_settings"]) == list(shown)
    assert server.get("/_inference/e").json["endpoints"] == [made]


def test_an_id_that_exists(server, upstream):
    server.make("completion", "c", "openai", OPENAI)
    answer = put(server, "completion/c", body(settings=dict(OPENAI, model_id="other")))
    fails(answer, 400, "resource_already_exists_exception",
          "Inference endpoint [c] already exists")
    assert len(upstream.requests) == 2, "it is probed before it is found to exist"
    stored = server.get("/_inference/c").json["endpoints"][0]
    assert stored["service_settings"]["model_id"] == OPENAI["model_id"]


def test_two_creations_of_one_id_at_once(server, upstream):
    """Whoever comes second, one wins and the other is told."""
    import threading
    gate = upstream.script(Hang(), Hang())
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(put(server, "completion/c", body())))
               for _ in range(2)]
    for t in threads:
        t.start()
    upstream.wait(1)
    for g in gate:
        g.release()
    for t in threads:
        t.join(20)
    upstream.queue.clear()
    assert sorted(a.status for a in answers) in ([200, 400], [200, 409]), answers


# ---- the probe ----

def test_a_probe_that_fails_stores_nothing(server, upstream):
    upstream.script(Reply(401, {"error": {"message": "Incorrect API key provided: sk-***."}}))
    answer = put(server, "text_embedding/x", body())
    fails(answer, 400, STATUS, "Could not complete inference endpoint creation as validation call "
          "to service threw an exception.")
    cause = answer.json["error"]["caused_by"]
    assert cause["reason"] == (
        "Received an authentication error status code for request from inference entity id [x] "
        "status [401]. Error message: [Incorrect API key provided: sk-***.]")
    assert answer.json["error"]["root_cause"] == [cause]
    assert server.get("/_inference/x").status == 404


def test_dimensions_are_measured_and_checked(server, upstream):
    upstream.script(Reply(200, {"data": [{"index": 0, "embedding": [0.1, 0.2]}]}))
    made = server.put("/_inference/text_embedding/a", body()).json
    assert made["service_settings"]["dimensions"] == 2
    upstream.script(Reply(200, {"data": [{"index": 0, "embedding": [0.1, 0.2]}]}))
    fails(put(server, "text_embedding/x", body(settings=dict(OPENAI, dimensions=3))), 400, STATUS,
          "The retrieved embeddings size [2] does not match the size specified in the settings "
          "[3]. Please recreate the [x] configuration with the correct dimensions")
    upstream.script(*[Reply(200, {"data": [{"index": 0, "embedding": []}]})] * 3)
    assert put(server, "text_embedding/x", body()).status == 400
    upstream.queue.clear()
    assert server.get("/_inference/x").status == 404


@pytest.mark.parametrize("service, settings, similarity", [
    ("openai", OPENAI, "dot_product"), ("cohere", COHERE, "dot_product"),
    ("hugging_face", HF, "cosine"), ("openai", dict(OPENAI, similarity="l2_norm"), "l2_norm"),
])
def test_similarity_by_service(server, service, settings, similarity):
    made = server.make("text_embedding", "e", service, settings)
    assert made["service_settings"]["similarity"] == similarity
    assert made["service_settings"]["dimensions"] == 8


@pytest.mark.parametrize("given, shown, dimensions", [
    (None, "float", 8), ("float", "float", 8), ("byte", "byte", 8), ("int8", "byte", 8),
    ("bit", "bit", 64), ("binary", "bit", 64),
])
def test_embedding_types_of_cohere(server, given, shown, dimensions):
    settings = dict(COHERE, **({"embedding_type": given} if given else {}))
    made = server.make("text_embedding", "e", "cohere", settings)["service_settings"]
    assert (made["embedding_type"], made["dimensions"]) == (shown, dimensions)


def test_creating_without_a_probe(spawn, upstream):
    server = spawn({"xpack.inference.skip_validate_and_start": "true"})
    made = server.make("text_embedding", "e", "openai", OPENAI)
    assert upstream.requests == []
    assert "dimensions" not in made["service_settings"]


def test_a_slow_probe_ends_by_its_timeout(server, upstream):
    upstream.script(Hang())
    answer = server.put("/_inference/completion/x?timeout=150ms", body())
    assert answer.status in (400, 408)
    assert "timed out after [150ms]" in answer.text
    assert upstream.wait(1).gone.wait(5)
    assert server.get("/_inference/x").status == 404
    answer = server.put("/_inference/completion/x?timeout=soon", body())
    fails(answer, 400, ARGUMENT, "failed to parse setting [timeout] with value [soon] as a time "
          "value: unit is missing or unrecognized")


# ---- secrets ----

def test_secrets_never_come_back(server, upstream):
    """Every answer of the suite is searched for MARK; here, on purpose, those that might show it."""
    server.make("text_embedding", "e", "openai", OPENAI)
    bad = dict(OPENAI, api_key=[KEY])
    for answer in (put(server, "text_embedding/f", body(settings=bad)),
                   server.get("/_inference?pretty&human&error_trace"),
                   server.get("/_inference?filter_path=**.api_key"),
                   server.put("/_inference/e/_update", {"service_settings": {"api_key": {"a": KEY}}}),
                   server.get("/_inference/e")):
        assert MARK not in answer.text
    assert "api_key" not in server.get("/_inference?filter_path=**.api_key").text
    upstream.script(Reply(500, "x"), Reply(500, "x"), Reply(500, "x"))
    assert MARK not in server.post("/_inference/e", {"input": "x"}).text


# ---- update ----

@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_update_replaces_the_secret_and_keeps_the_rest(server, upstream, method):
    made = server.make("text_embedding", "e", "openai", OPENAI, task_settings={"user": "u"})
    answer = server.request(method, "/_inference/text_embedding/e/_update",
                            {"service_settings": {"api_key": "sk-" + MARK + "-2"}})
    assert (answer.status, answer.json) == (200, made)
    assert server.post("/_inference/e", {"input": "x"}).status == 200
    assert upstream.requests[-1].headers["authorization"] == f"Bearer sk-{MARK}-2"


def test_update_merges_task_settings(server, upstream):
    server.make("rerank", "r", "cohere", COHERE, task_settings={"top_n": 3})
    answer = server.put("/_inference/r/_update", {"task_settings": {"return_documents": True}})
    assert answer.json["task_settings"] == {"return_documents": True, "top_n": 3}
    answer = server.put("/_inference/r/_update", {"task_settings": {"top_n": 2}})
    assert answer.json["task_settings"]["top_n"] == 2
    assert server.get("/_inference/r").json["endpoints"] == [answer.json]


def test_update_may_name_the_service_it_has(server):
    """Typed clients cannot leave it out."""
    server.make("rerank", "r", "cohere", COHERE, task_settings={"top_n": 3})
    answer = server.put("/_inference/r/_update", {"service": "cohere", "task_settings": {"top_n": 2}})
    assert (answer.status, answer.json["task_settings"]) == (200, {"top_n": 2})


def test_update_of_limits(server):
    server.make("text_embedding", "e", "openai", OPENAI)
    answer = server.put("/_inference/e/_update", {"service_settings": {
        "rate_limit": {"requests_per_minute": 99}, "max_input_tokens": 5}})
    assert answer.status == 200
    assert answer.json["service_settings"]["rate_limit"] == {"requests_per_minute": 99}
    assert answer.json["service_settings"]["max_input_tokens"] == 5


def test_update_that_changes_nothing_sends_nothing(server, upstream):
    made = server.make("completion", "c", "openai", OPENAI, task_settings={"user": "u"})
    n = len(upstream.requests)
    answer = server.put("/_inference/c/_update", {"task_settings": {"user": "u"}})
    assert (answer.status, answer.json) == (200, made)
    assert len(upstream.requests) == n


def test_an_update_is_probed_with_the_merged_settings(server, upstream):
    made = server.make("completion", "c", "openai", OPENAI)
    upstream.script(Reply(401, {"error": {"message": "revoked"}}))
    answer = server.put("/_inference/c/_update",
                        {"service_settings": {"api_key": "sk-" + MARK + "-bad"}})
    assert answer.status == 400
    assert upstream.requests[-1].headers["authorization"] == f"Bearer sk-{MARK}-bad"
    assert server.get("/_inference/c").json["endpoints"] == [made]
    assert server.post("/_inference/c", {"input": "x"}).status == 200
    assert upstream.requests[-1].headers["authorization"] == "Bearer " + KEY


@pytest.mark.parametrize("path, content, status, reason", [
    ("none", {"task_settings": {"user": "x"}}, 404,
     "The inference endpoint [none] does not exist and cannot be updated"),
    ("c", None, 400, "Request body is empty"),
    ("c", {}, 400, "Request body is empty"),
    ("rerank/c", {"task_settings": {"user": "x"}}, 400,
     "Task type must match the task type of the existing endpoint"),
    ("c", {"task_type": "rerank"}, 400,
     "Task type must match the task type of the existing endpoint"),
    ("c", {"chunking_settings": {"strategy": "none"}}, 400,
     "Request contained fields which cannot be updated, remove these fields and try again "
     "[{chunking_settings={strategy=none}}]"),
    ("c", {"service": "cohere"}, 400,
     "Request contained fields which cannot be updated, remove these fields and try again "
     "[{service=cohere}]"),
    ("c", {"task_settings": 5}, 400, "Unable to parse task settings in the request "
     "[{task_settings=5}]"),
    ("c", {"service_settings": []}, 400, "Unable to parse service settings in the request "
     "[{service_settings=[]}]"),
])
def test_refusals_of_update(server, path, content, status, reason):
    made = server.make("completion", "c", "openai", OPENAI)
    answer = server.put(f"/_inference/{path}/_update", content)
    fails(answer, status, STATUS, reason)
    assert server.get("/_inference/c").json["endpoints"] == [made]


def test_update_refuses_what_cannot_change(server):
    server.make("completion", "c", "openai", OPENAI)
    for settings in ({"model_id": "other"}, {"foo": 1}, {"url": "https://x/y"}):
        assert server.put("/_inference/c/_update", {"service_settings": settings}).status == 400
    answer = server.put("/_inference/c/_update", {"task_settings": {"foo": 1}})
    assert answer.status == 400


def test_one_change_at_a_time(server, upstream):
    import threading
    server.make("completion", "c", "openai", OPENAI)
    (gate,) = upstream.script(Hang())
    n = len(upstream.requests)
    first = []
    thread = threading.Thread(target=lambda: first.append(
        server.put("/_inference/c/_update", {"service_settings": {"api_key": "sk-" + MARK}})))
    thread.start()
    upstream.wait(n + 1)
    fails(server.put("/_inference/c/_update", {"task_settings": {"user": "x"}}), 409, STATUS,
          "Endpoint [c] is currently being updated. Try again once the update completes")
    fails(server.delete("/_inference/c"), 409, STATUS,
          "Model is currently being updated, you may delete the model once the update completes")
    assert server.post("/_inference/c", {"input": "calls go on"}).status == 200
    gate.release()
    thread.join(20)
    assert first[0].status == 200
    assert server.delete("/_inference/c").status == 200


# ---- services, diagnostics ----

def test_services(server):
    services = server.get("/_inference/_services").json
    names = [s["service"] for s in services]
    assert names == sorted(names)
    assert {"openai", "cohere", "hugging_face", "elasticsearch"} <= set(names)
    assert "elser" not in names
    cohere = next(s for s in services if s["service"] == "cohere")
    assert cohere["name"] == "Cohere"
    tasks = ["text_embedding", "rerank", "completion", "chat_completion"]
    assert cohere["task_types"] == tasks
    key = cohere["configurations"]["api_key"]
    assert key["required"] is True and key["sensitive"] is True and key["type"] == "str"
    assert key["supported_task_types"] == tasks
    limit = cohere["configurations"]["rate_limit.requests_per_minute"]
    assert (limit["required"], limit["sensitive"], limit["type"]) == (False, False, "int")
    for s in services:
        for c in s["configurations"].values():
            assert set(c) <= {"default_value", "description", "label", "required", "sensitive",
                              "updatable", "type", "supported_task_types"}
            assert c["description"] and c["label"]


def test_services_by_task(server):
    for task in ("text_embedding", "rerank", "completion", "chat_completion", "sparse_embedding"):
        for s in server.get(f"/_inference/_services/{task}").json:
            assert task in s["task_types"]
    assert "hugging_face" in [s["service"]
                              for s in server.get("/_inference/_services/sparse_embedding").json]
    assert server.get("/_inference/_services/foo").status == 400


def test_diagnostics(server, upstream):
    server.make("completion", "c", "openai", OPENAI)
    (node,) = server.get("/_inference/.diagnostics").json.values()
    stats = node.get("external", node)["connection_pool_stats"]
    assert set(stats) == {"leased_connections", "pending_connections", "available_connections",
                          "max_connections"}
    assert stats["max_connections"] >= 50
    wait_until(lambda: list(server.get("/_inference/.diagnostics").json.values())[0]["external"]
               ["connection_pool_stats"]["leased_connections"] == 0, 5)


def test_a_large_configuration(server):
    headers = {f"x-{i}": "v" * 50 for i in range(20)}
    made = server.make("completion", "c", "openai", OPENAI, task_settings={"headers": headers})
    assert made["task_settings"]["headers"] == headers
    assert json.loads(server.get("/_inference/c").body)["endpoints"] == [made]
