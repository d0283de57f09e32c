"""?chunk=true: inputs are cut by the endpoint's chunking_settings, and each chunk is embedded."""
import json
import os
import threading

import pytest

from inferd import FACTOR, MARK, Inferd
from upstream import Hang, Reply, close_to, int8s, vector, weights

KEY = "sk-" + MARK
MODELS = os.environ.get("INFERD_TEST_MODELS", "")
MODEL = "all-minilm-l6-v2"
# 192 characters in five sentences of 6, 5, 5, 4 and 21 words.
TEXT = ("The cat sat on the mat. It was a warm day! Did the dog see it? No, the dog slept. Birds sang "
        "all morning long near the old stone wall, and nobody in the village noticed them at all "
        "until noon.")
SENTENCES = {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1}
SPANS = [(0, 82), (62, 168), (118, 192)]
WORDS = {"strategy": "word", "max_chunk_size": 10, "overlap": 5}
EMBED = "/_inference/text_embedding/e"
MOST = 10000


def part(text, start, end):
    """A piece of a text by UTF-16 offsets, as Elasticsearch counts."""
    return text.encode("utf-16-le")[2 * start:2 * end].decode("utf-16-le")


def make(server, upstream, service="openai", task="text_embedding", chunking=SENTENCES, **settings):
    given = {"openai": {"model_id": "text-embedding-3-small"}, "cohere": {"model_id": "embed-v4.0"},
             "hugging_face": {"url": "https://hf.example/hf/sparse"}}[service]
    body = {"service": service, "service_settings": dict(given, api_key=KEY, **settings)}
    if chunking:
        body["chunking_settings"] = chunking
    answer = server.put(f"/_inference/{task}/e", body)
    assert answer.status == 200, answer
    upstream.clear()
    return f"/_inference/{task}/e"


def chunks_of(answer, member="text_embedding"):
    assert answer.status == 200, answer
    assert list(answer.json) == [member]
    assert all(list(item) == ["chunks"] for item in answer.json[member])
    return [item["chunks"] for item in answer.json[member]]


def spans(chunks):
    return [(c["start"], c["end"]) for c in chunks]


def test_each_chunk_is_embedded(server, upstream):
    path = make(server, upstream)
    (chunks,) = chunks_of(server.post(path + "?chunk=true", {"input": TEXT}))
    assert spans(chunks) == SPANS
    assert list(chunks[0]) == ["start", "end", "embedding"]
    for c in chunks:
        assert close_to(c["embedding"], vector(TEXT[c["start"]:c["end"]], len(c["embedding"])))
    (request,) = upstream.bodies()
    assert request["input"] == [TEXT[a:b] for a, b in SPANS]
    assert server.post("/_inference/e?chunk=true", {"input": TEXT}).json == {
        "text_embedding": [{"chunks": chunks}]}


def test_without_it_nothing_is_cut(server, upstream):
    path = make(server, upstream)
    for query in ("", "?chunk=false"):
        (item,) = server.post(path + query, {"input": TEXT}).json["text_embedding"]
        assert list(item) == ["embedding"]
        assert upstream.bodies()[-1]["input"] == [TEXT]


def test_inputs_keep_their_order(server, upstream):
    path = make(server, upstream)
    inputs = ["short", TEXT, "", "\U0001F600 " + TEXT]
    items = chunks_of(server.post(path + "?chunk=true", {"input": inputs}))
    assert [len(c) for c in items] == [1, 3, 1, 3]
    assert spans(items[0]) == [(0, 5)] and spans(items[2]) == [(0, 0)]
    assert spans(items[3]) == [(0, 85), (65, 171), (121, 195)]
    for text, chunks in zip(inputs, items):
        for c in chunks:
            wanted = vector(part(text, c["start"], c["end"]), len(c["embedding"]))
            assert close_to(c["embedding"], wanted)


@pytest.mark.parametrize("chunking, wanted", [
    (None, [(0, 192)]),
    ({"strategy": "none"}, [(0, 192)]),
    ({"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 0},
     [(0, 82), (82, 186), (138, 192)]),
    (WORDS, [(0, 37), (18, 58), (37, 80), (58, 109), (80, 133), (109, 160), (133, 186), (160, 192)]),
    # a piece that begins behind "word." counts that word too
    ({"strategy": "recursive", "max_chunk_size": 21, "separators": ["(?<=[.!?]) "]},
     [(0, 62), (62, 81), (81, 192)]),
])
def test_every_strategy(server, upstream, chunking, wanted):
    path = make(server, upstream, chunking=chunking)
    (chunks,) = chunks_of(server.post(path + "?chunk=true", {"input": TEXT}))
    assert spans(chunks) == wanted


def test_many_languages(server, upstream):
    path = make(server, upstream, chunking=WORDS)
    text = "Straße über Öl. 吾輩は猫である。名前はまだ無い。 שלום עולם, مرحبا بالعالم 👩‍👩‍👧 สวัสดีชาวโลก " * 3
    (chunks,) = chunks_of(server.post(path + "?chunk=true", {"input": text}))
    assert len(chunks) > 5
    assert chunks[0]["start"] == 0 and chunks[-1]["end"] == len(text.encode("utf-16-le")) // 2
    for c in chunks:
        wanted = vector(part(text, c["start"], c["end"]), len(c["embedding"]))
        assert close_to(c["embedding"], wanted)


def test_bytes_in_batches_of_the_provider(server, upstream):
    """Cohere takes 96 texts at once."""
    path = make(server, upstream, "cohere", chunking=WORDS, embedding_type="byte")
    long = " ".join(f"word{i}" for i in range(1000))
    one, two = chunks_of(server.post(path + "?chunk=true", {"input": [long, TEXT]}),
                         "text_embedding_bytes")
    assert len(one) > 190 and len(two) == 8
    for text, chunks in ((long, one), (TEXT, two)):
        assert all(c["embedding"] == int8s(text[c["start"]:c["end"]]) for c in chunks)
    sizes = sorted(len(b["texts"]) for b in upstream.bodies())
    assert sizes[1:] == [96, 96] and sum(sizes) == len(one) + len(two)


def test_sparse(server, upstream):
    path = make(server, upstream, "hugging_face", "sparse_embedding")
    (chunks,) = chunks_of(server.post(path + "?chunk=true", {"input": TEXT}), "sparse_embedding")
    assert spans(chunks) == SPANS
    for c in chunks:
        assert list(c) == ["start", "end", "is_truncated", "embedding"]
        assert c["is_truncated"] is False
        assert c["embedding"] == weights(TEXT[c["start"]:c["end"]])


def test_a_long_input(server, upstream):
    """More than the event loop cuts itself."""
    path = make(server, upstream, chunking={"strategy": "word", "max_chunk_size": 250, "overlap": 50})
    long = (TEXT + " ") * 1000
    (chunks,) = chunks_of(server.post(path + "?chunk=true&timeout=60s", {"input": long}))
    assert len(chunks) == 205
    assert all(a["start"] < b["start"] < a["end"] < b["end"] for a, b in zip(chunks, chunks[1:]))
    assert chunks[-1]["end"] == len(long)
    assert [t for b in upstream.bodies() for t in b["input"]] == [
        long[c["start"]:c["end"]] for c in chunks]


def test_retries_and_failures_are_those_of_any_call(server, upstream):
    path = make(server, upstream)
    upstream.script(Reply(500, {"error": {"message": "hiccup"}}))
    assert len(chunks_of(server.post(path + "?chunk=true", {"input": TEXT}))[0]) == 3
    upstream.script(Reply(401, {"error": {"message": "no such key"}}))
    answer = server.post(path + "?chunk=true", {"input": TEXT})
    assert answer.status == 401 and "no such key" in answer.reason


def test_the_cache_knows_the_chunks(server, upstream):
    path = make(server, upstream, cache={"max_size": "1mb", "ttl": "10m"})
    first = server.post(path + "?chunk=true", {"input": TEXT})
    assert server.post(path + "?chunk=true", {"input": TEXT}).json == first.json
    assert len(upstream.requests) == 1
    assert "chunks" not in server.post(path, {"input": TEXT}).json["text_embedding"][0]
    assert len(upstream.requests) == 2


def test_the_timeout(server, upstream):
    path = make(server, upstream)
    upstream.script(Hang())
    answer = server.post(path + "?chunk=true&timeout=200ms", {"input": TEXT})
    assert answer.status == 408 and answer.reason == "Request timed out after [200ms]"


@pytest.mark.parametrize("value", ["yes", "1", "TRUE"])
def test_only_true_and_false(server, upstream, value):
    path = make(server, upstream)
    answer = server.post(path + "?chunk=" + value, {"input": TEXT})
    assert answer.status == 400 and answer.type == "illegal_argument_exception"
    assert answer.reason == (
        f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def test_other_tasks_are_refused(server, upstream):
    server.make("rerank", "r", "cohere", {"api_key": KEY, "model_id": "rerank-v3.5"})
    server.make("completion", "c", "openai", {"api_key": KEY, "model_id": "gpt"})
    upstream.clear()
    for path, body in (("rerank/r", {"input": ["a"], "query": "q"}), ("completion/c", {"input": "a"})):
        answer = server.post(f"/_inference/{path}?chunk=true", body)
        assert answer.status == 400
        task = path.split("/")[0]
        assert answer.reason == (f"Field [chunk] cannot be specified for task type [{task}], only "
                                 "for [text_embedding, sparse_embedding]")
    assert upstream.requests == []


def test_streams_do_not_know_it(server, upstream):
    make(server, upstream)
    stream = server.stream(EMBED + "/_stream?chunk=true", {"input": TEXT})
    assert stream.status == 400
    ((name, data),) = stream.all()
    assert name == "error" and "unrecognized parameter: [chunk]" in json.loads(
        data)["error"]["reason"]


def test_more_chunks_than_a_call_may_make(server, upstream):
    path = make(server, upstream, "cohere", chunking=WORDS)
    for inputs in ([TEXT * 2000], ["x"] * (MOST + 1), ["x"] * (MOST - 2) + [TEXT]):
        answer = server.post(path + "?chunk=true&timeout=60s", {"input": inputs})
        assert answer.status == 400, answer
        assert answer.reason.startswith(f"The inputs make more than [{MOST}] chunks")
    assert upstream.requests == []


@pytest.mark.parametrize("separator, part_of_reason", [
    ("a(b", "[a(b] cannot be used as a regular expression: U_REGEX_MISMATCHED_PAREN"),
    ("(?:(a*)*)*b", "takes too"), ("(a+)+b", "takes too"), ("a" * 1001, "is too long"),
])
def test_hostile_separators(server, upstream, separator, part_of_reason):
    path = make(server, upstream, chunking={"strategy": "recursive", "max_chunk_size": 10,
                                            "separators": [separator]})
    answer = server.post(path + "?chunk=true&timeout=60s",
                         {"input": ["fine", ("a" * 60 + " ") * 40]})
    assert answer.status == 400 and answer.type == "illegal_argument_exception"
    assert answer.reason.startswith("input [1] cannot be cut into chunks: ")
    assert part_of_reason in answer.reason
    assert upstream.requests == []


def test_a_slow_separator_stops_nobody_else(server, upstream):
    make(server, upstream, chunking={"strategy": "recursive", "max_chunk_size": 10,
                                     "separators": ["(a+)+b"]})
    done = []
    slow = threading.Thread(target=lambda: done.append(
        server.post(EMBED + "?chunk=true&timeout=60s", {"input": ("a" * 60 + " ") * 40})))
    slow.start()
    for _ in range(20):
        assert server.get("/").status == 200
    slow.join()
    assert done[0].status == 400


def test_a_client_that_leaves_while_its_input_is_cut(server, upstream):
    make(server, upstream, chunking={"strategy": "recursive", "max_chunk_size": 10,
                                     "separators": ["(a+)+b"]})
    connection = server.connect()
    connection.request("POST", EMBED + "?chunk=true&timeout=60s",
                       *server.head({"input": ("a" * 60 + " ") * 40}, None, True))
    connection.close()
    for _ in range(3):
        answer = server.post(EMBED + "?chunk=true&timeout=60s", {"input": "short"})
        assert len(chunks_of(answer)[0]) == 1
    assert len(upstream.requests) == 3


# ---- a model of our own ----

needs_model = pytest.mark.skipif(
    not os.path.isfile(os.path.join(MODELS, MODEL, "model.safetensors")),
    reason=f"INFERD_TEST_MODELS names no folder with {MODEL}")


@needs_model
def test_a_chunk_is_embedded_as_the_same_text_alone(tmp_path):
    server = Inferd(tmp_path / "own", settings={"path.models": MODELS}).start()
    try:
        answer = server.put(EMBED + "?timeout=50s", {
            "service": "elasticsearch", "chunking_settings": SENTENCES,
            "service_settings": {"model_id": MODEL, "num_allocations": 1, "num_threads": 1}})
        assert answer.status == 200, answer
        text = TEXT * (20 if FACTOR == 1 else 2)
        (chunks,) = chunks_of(server.post(EMBED + "?chunk=true&timeout=50s", {"input": text}))
        assert len(chunks) > 3
        alone = server.post(EMBED + "?timeout=50s", {
            "input": [text[c["start"]:c["end"]] for c in chunks]}).json["text_embedding"]
        assert [c["embedding"] for c in chunks] == [item["embedding"] for item in alone]
        one = server.post(EMBED, {"input": text[chunks[1]["start"]:chunks[1]["end"]]}).json
        assert one["text_embedding"][0]["embedding"] == chunks[1]["embedding"]
    finally:
        server.stop(20)
