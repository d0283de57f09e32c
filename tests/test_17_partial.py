"""?partial=true and ?chunk=true: one bad input fails alone."""
import json
import math

import pytest

from inferd import MARK
from upstream import Default, Hang, Reply, close_to, vector

KEY = "sk-" + MARK
BAD = "bad"
MOST = 32  # requests beyond those that the inputs need anyway
MANY = [f"text {i}" for i in range(64)]
CHUNKS = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
LONG = " ".join(f"w{i}" for i in range(25))  # three chunks


def refuse(status=400, bad=BAD, answer=None):
    """A provider that refuses every request that holds a bad text."""
    def choose(request):
        texts = request.json.get("input") or request.json.get("texts") or request.json["inputs"]
        if any(bad in t for t in texts):
            return Reply(status, answer or {"error": {"message": "no " + bad, "type": "t",
                                                      "param": None, "code": None}})
        return Default()
    return choose


@pytest.fixture
def path(server, upstream):
    server.make("text_embedding", "p", "openai",
                {"api_key": KEY, "model_id": "text-embedding-3-small"}, chunking_settings=CHUNKS)
    upstream.clear()
    upstream.choose = refuse()
    return "/_inference/text_embedding/p"


def rows(answer, member="text_embedding"):
    assert answer.status == 200, answer
    assert list(answer.json) == [member]
    return answer.json[member]


def check(items, texts, bad=BAD, status=400):
    """Each text has its embedding, each bad one its error."""
    assert len(items) == len(texts)
    for item, text in zip(items, texts):
        if bad in text:
            assert list(item) == ["error"] and list(item["error"]) == ["type", "reason", "status"]
            assert item["error"]["type"] == "status_exception" and item["error"]["status"] == status
            assert "no " + bad in item["error"]["reason"]
        else:
            assert list(item) == ["embedding"] and close_to(item["embedding"], vector(text))


def test_one_bad_input_stands_alone(server, upstream, path):
    texts = list(MANY)
    texts[37] = BAD
    answer = server.post(path + "?partial=true", {"input": texts}, check=False)
    check(rows(answer), texts)
    sizes = sorted(len(b["input"]) for b in upstream.bodies())
    assert sizes == sorted([64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1])
    (twice,) = server.post("/_inference/p?partial=true", {"input": ["x", BAD]},
                           check=False).json["text_embedding"][1:]
    assert twice["error"]["status"] == 400


@pytest.mark.parametrize("at", [[0], [63], [0, 63], [5, 6]])
def test_wherever_they_stand(server, upstream, path, at):
    texts = [BAD if i in at else t for i, t in enumerate(MANY)]
    check(rows(server.post(path + "?partial=true", {"input": texts}, check=False)), texts)
    assert len(upstream.requests) <= 1 + 2 * len(at) * math.ceil(math.log2(64))


def test_without_it_all_fail(server, upstream, path):
    for query in ("", "?partial=false"):
        answer = server.post(path + query, {"input": ["x", BAD]})
        assert answer.status == 400 and "no bad" in answer.reason
    assert len(upstream.requests) == 2


def test_no_failure_no_difference(server, upstream, path):
    assert rows(server.post(path + "?partial=true", {"input": MANY})) == rows(
        server.post(path, {"input": MANY}))
    assert len(upstream.requests) == 2


def test_all_bad_is_the_error_itself(server, upstream, path):
    answer = server.post(path + "?partial=true", {"input": [BAD + str(i) for i in range(64)]})
    assert answer.status == 400 and "no bad" in answer.reason
    assert len(upstream.requests) == 1 + MOST
    upstream.clear()
    upstream.choose = refuse()
    alone = server.post(path + "?partial=true", {"input": [BAD]})
    assert alone.status == 400 and len(upstream.requests) == 1


def test_requests_are_bounded(server, upstream, path):
    """What is refused when they are used up stays refused."""
    texts = [BAD if i % 4 == 0 else t for i, t in enumerate(MANY)]
    items = rows(server.post(path + "?partial=true", {"input": texts}, check=False))
    assert len(upstream.requests) == 1 + MOST
    for item, text in zip(items, texts):
        assert BAD not in text or list(item) == ["error"]
        assert list(item) == ["error"] or close_to(item["embedding"], vector(text))
    assert any("embedding" in item for item in items)


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_what_is_no_input_s_fault_is_not_tried_again(server, upstream, path, status):
    upstream.choose = refuse(status)
    answer = server.post(path + "?partial=true&timeout=5s", {"input": ["x", BAD]})
    assert answer.status == status
    assert {len(b["input"]) for b in upstream.bodies()} == {2}


@pytest.mark.parametrize("status", [413, 422])
def test_other_refusals_that_an_input_can_cause(server, upstream, path, status):
    upstream.choose = refuse(status)
    texts = ["x", BAD * 50]  # 413: it is shortened first, twice, alone
    items = rows(server.post(path + "?partial=true", {"input": texts}, check=False))
    check(items, texts, status=status)


def test_a_part_that_fails_for_good_takes_its_inputs_with_it(server, upstream):
    """Cohere takes 96 at once: the first 96 are let down by the service, the others are not."""
    server.make("text_embedding", "c", "cohere", {"api_key": KEY, "model_id": "embed-v4.0"})
    upstream.clear()
    upstream.choose = lambda r: (Reply(401, {"message": "no key"}) if "text 0" in r.json["texts"]
                                 else Default())
    texts = [f"text {i}" for i in range(100)]
    items = rows(server.post("/_inference/text_embedding/c?partial=true", {"input": texts},
                             check=False))
    assert [list(i)[0] for i in items] == ["error"] * 96 + ["embedding"] * 4
    assert items[0]["error"]["status"] == 401


def test_a_long_input_does_not_shorten_the_others(server, upstream, path):
    """OpenAI's refusal of too many tokens makes inferd send less of the text: of that text only."""
    long = "long " * 50

    def choose(request):
        if any(len(t) > 150 for t in request.json["input"]):
            return Reply(400, {"error": {"message": "This model's maximum context length is 8192 "
                                                    "tokens, Please reduce your prompt; or "
                                                    "completion length."}})
        return Default()
    upstream.choose = choose
    items = rows(server.post(path + "?partial=true", {"input": ["short one", long]}))
    assert close_to(items[0]["embedding"], vector("short one"))
    assert close_to(items[1]["embedding"], vector(long[:125]))


def test_chunks(server, upstream, path):
    answer = server.post(path + "?chunk=true", {"input": ["one", LONG + " " + BAD, LONG]})
    items = rows(answer)
    assert [list(i) for i in items] == [["chunks"], ["error"], ["chunks"]]
    assert [len(i["chunks"]) for i in items[::2]] == [1, 3]
    assert "no bad" in items[1]["error"]["reason"]
    for c in items[2]["chunks"]:
        assert close_to(c["embedding"], vector(LONG[c["start"]:c["end"]]))
    whole = server.post(path + "?chunk=true&partial=false", {"input": ["one", BAD]})
    assert whole.status == 400


def test_chunks_all_bad(server, upstream, path):
    """Some chunks are good, no input is."""
    answer = server.post(path + "?chunk=true", {"input": [LONG + " " + BAD, BAD + " " + LONG]})
    assert answer.status == 400 and "no bad" in answer.reason


def test_sparse(server, upstream):
    server.make("sparse_embedding", "h", "hugging_face",
                {"api_key": KEY, "url": "https://hf.example/hf/sparse"})
    upstream.clear()
    upstream.choose = refuse(422, answer={"error": "no bad"})
    items = rows(server.post("/_inference/sparse_embedding/h?partial=true",
                             {"input": ["a b", BAD, "c"]}, check=False), "sparse_embedding")
    assert [list(i) for i in items] == [["is_truncated", "embedding"], ["error"],
                                        ["is_truncated", "embedding"]]


def test_a_partial_answer_is_not_kept(server, upstream):
    server.make("text_embedding", "k", "openai",
                {"api_key": KEY, "model_id": "m", "cache": {"max_size": "1mb", "ttl": "10m"}})
    upstream.clear()
    upstream.choose = refuse()
    path = "/_inference/text_embedding/k?partial=true"
    assert "error" in rows(server.post(path, {"input": ["x", BAD]}, check=False))[1]
    upstream.choose = None
    assert "embedding" in rows(server.post(path, {"input": ["x", BAD]}))[1]


def test_it_counts_as_a_call_with_a_failure(server, upstream, path):
    server.post(path + "?partial=true", {"input": ["x", BAD]}, check=False)
    (node,) = server.get("/_inference/.diagnostics", check=False).json.values()
    told = node["inference_endpoints"]["p"]
    assert told["failures"]["refused"] == 1


def test_the_timeout_ends_all(server, upstream, path):
    upstream.script(Reply(400, {"error": {"message": "no"}}), Hang(), Hang())
    answer = server.post(path + "?partial=true&timeout=300ms", {"input": ["x", "y"]})
    assert answer.status == 408
    upstream.choose = None
    assert server.post(path, {"input": "x"}).status == 200


def test_only_embeddings(server, upstream):
    server.make("completion", "c", "openai", {"api_key": KEY, "model_id": "gpt"})
    upstream.clear()
    answer = server.post("/_inference/completion/c?partial=true", {"input": "a"})
    assert answer.status == 400
    assert answer.reason == ("Field [partial] cannot be specified for task type [completion], only "
                             "for [text_embedding, sparse_embedding]")
    assert upstream.requests == []


def test_streams_do_not_know_it(server, upstream, path):
    stream = server.stream(path + "/_stream?partial=true", {"input": "x"})
    ((name, data),) = stream.all()
    assert name == "error" and "unrecognized parameter: [partial]" in json.loads(
        data)["error"]["reason"]
