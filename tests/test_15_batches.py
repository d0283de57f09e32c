"""More inputs than a provider takes in one request: several requests, one answer."""
from inferd import MARK
from upstream import Reply, close_to, int8s, vector

KEY = "co-" + MARK
MANY = [f"text {i}" for i in range(200)]


def make(server, upstream, **settings):
    server.make("text_embedding", "c", "cohere",
                dict({"api_key": KEY, "model_id": "embed-v4.0"}, **settings))
    upstream.clear()
    return "/_inference/text_embedding/c"


def test_every_input_goes_once_and_comes_back_in_its_place(server, upstream):
    path = make(server, upstream)
    rows = server.post(path, {"input": MANY}).json["text_embedding"]
    assert len(rows) == len(MANY)
    assert all(close_to(r["embedding"], vector(t)) for r, t in zip(rows, MANY))
    sizes = sorted(len(b["texts"]) for b in upstream.bodies())
    assert sizes == [8, 96, 96]
    assert sorted(t for b in upstream.bodies() for t in b["texts"]) == sorted(MANY)


def test_a_full_batch_is_one_request(server, upstream):
    path = make(server, upstream)
    assert server.post(path, {"input": MANY[:96]}).status == 200
    assert len(upstream.requests) == 1


def test_bytes(server, upstream):
    path = make(server, upstream, embedding_type="byte")
    answer = server.post(path, {"input": MANY[:100]}).json
    assert answer == {"text_embedding_bytes": [{"embedding": int8s(t)} for t in MANY[:100]]}


def test_sparse(server, upstream):
    server.make("sparse_embedding", "h", "hugging_face",
                {"api_key": KEY, "url": "https://hf.example/hf/sparse"})
    upstream.clear()
    answer = server.post("/_inference/sparse_embedding/h", {"input": MANY[:45]}).json
    alone = server.post("/_inference/sparse_embedding/h", {"input": MANY[44]}).json
    assert len(answer["sparse_embedding"]) == 45
    assert answer["sparse_embedding"][44] == alone["sparse_embedding"][0]
    assert sorted(len(b["inputs"]) for b in upstream.bodies()) == [1, 5, 20, 20]


def test_a_part_is_retried_alone(server, upstream):
    path = make(server, upstream)
    upstream.script(Reply(500, {"message": "hiccup"}))
    rows = server.post(path, {"input": MANY}).json["text_embedding"]
    assert all(close_to(r["embedding"], vector(t)) for r, t in zip(rows, MANY))
    assert len(upstream.requests) == 4


def test_one_failing_part_is_the_answer(server, upstream):
    path = make(server, upstream)
    upstream.script(Reply(401, {"message": "no such key"}))
    answer = server.post(path, {"input": MANY})
    assert answer.status == 401
    assert "no such key" in answer.reason
    assert server.post(path, {"input": MANY}).status == 200


def test_the_queue_bounds_parts_too(spawn, upstream):
    server = spawn({"xpack.inference.http.request_executor.queue_capacity": 1})
    server.make("text_embedding", "c", "cohere",
                {"api_key": KEY, "model_id": "e", "rate_limit": {"requests_per_minute": 60}})
    answer = server.post("/_inference/text_embedding/c?timeout=5s", {"input": MANY * 3})
    assert answer.status == 429
    assert "queue is full" in answer.reason
