"""Jina, Voyage, Contextual, Mixedbread and Alibaba: what is sent word by word, and what of the
answer is kept."""
import pytest

from services import BY, C, KEY, R, S, T, same_rows
from upstream import Reply, int8s, vector, weights

DOCUMENTS = ["the moon", "the capital", "x"]
SOURCED = ("jinaai", "voyageai")


@pytest.mark.parametrize("service, path, body", [
    ("jinaai", "/v1/embeddings", {"input": ["a"], "model": "m-1", "embedding_type": "float"}),
    ("voyageai", "/v1/embeddings", {"input": ["a"], "model": "m-1", "output_dtype": "float"}),
    ("mixedbread", "/v1/embeddings", {"input": ["a"], "model": "m-1"}),
    ("alibabacloud-ai-search", "/v3/openapi/workspaces/default/text-embedding/ops-1",
     {"input": ["a"]})])
def test_embeddings_word_by_word(story, service, path, body):
    story.make(service, T)
    assert same_rows(story.ask(["a"])["text_embedding"], [vector("a")])
    assert (story.request.method, story.request.target) == ("POST", f"/{service}{path}")
    assert story.request.headers["authorization"] == "Bearer " + KEY
    source = "unspecified:elasticsearch" if service in SOURCED else None
    assert story.request.headers.get("request-source") == source
    assert story.request.json == body


@pytest.mark.parametrize("service, name", [("jinaai", "dimensions"), ("mixedbread", "dimensions"),
                                           ("voyageai", "output_dimension")])
def test_dimensions_that_were_asked_for(story, service, name):
    story.make(service, T, dimensions=4)
    assert same_rows(story.ask(["a"])["text_embedding"], [vector("a", 4)])
    assert story.request.json[name] == 4


JINA = {"ingest": "retrieval.passage", "search": "retrieval.query",
        "classification": "classification", "clustering": "separation"}
OTHERS = {"ingest": "document", "search": "query"}


@pytest.mark.parametrize("service, name, words", [
    ("jinaai", "task", JINA), ("voyageai", "input_type", OTHERS),
    ("alibabacloud-ai-search", "input_type", OTHERS)])
def test_input_types(story, service, name, words):
    story.make(service, T, task_settings={"input_type": "ingest"})
    for given in ("ingest", "search", "classification", "clustering"):
        story.upstream.clear()
        answer = story.post({"input": "a", "input_type": given})
        if given in words:
            assert answer.status == 200 and story.request.json[name] == words[given]
        else:
            assert answer.status == 400 and f"[{given}]" in answer.reason
    story.ask(["a"])
    assert story.requests[-1].json[name] == words["ingest"], "the stored one"


@pytest.mark.parametrize("service, kind, sent, member", [
    ("jinaai", "bit", "binary", "text_embedding_bits"),
    ("jinaai", "binary", "binary", "text_embedding_bits"),
    ("voyageai", "int8", "int8", "text_embedding_bytes"),
    ("voyageai", "byte", "int8", "text_embedding_bytes"),
    ("voyageai", "bit", "binary", "text_embedding_bits"),
    ("voyageai", "binary", "binary", "text_embedding_bits")])
def test_bytes_and_bits(story, service, kind, sent, member):
    story.make(service, T, embedding_type=kind)
    assert story.ask(["a", "b"]) == {member: [{"embedding": int8s("a")}, {"embedding": int8s("b")}]}
    assert story.request.json.get("embedding_type", story.request.json.get("output_dtype")) == sent
    story.upstream.script(*[Reply(200, {"data": [{"index": 0, "embedding": [1, 200]}]})] * 3)
    answer = story.post({"input": "a"})
    assert answer.status == 500 and "Value [200] is out of range for a byte" in answer.text


# ---- Jina ----

def test_late_chunking(story):
    story.make("jinaai", T, task_settings={"late_chunking": True})
    story.ask(["a b"])
    story.ask(["word " * 5501])
    assert [r.json["late_chunking"] for r in story.requests] == [True, False]


def test_clip_has_one_task(story):
    story.make("jinaai", T, model_id="jina-clip-v2")
    for given in ("search", "ingest", "clustering"):
        story.ask(["a"], input_type=given)
    assert [r.json.get("task") for r in story.requests] == ["retrieval.query", None, None]


# ---- Voyage, Mixedbread ----

def test_a_multimodal_model(story):
    story.make("voyageai", T, model_id="voyage-multimodal-3", task_settings={"truncation": False})
    assert same_rows(story.ask(["a", "b"], input_type="search")["text_embedding"],
                     [vector("a"), vector("b")])
    assert story.request.target == "/voyageai/v1/multimodalembeddings"
    assert story.request.json == {"inputs": [{"content": [{"type": "text", "text": t}]} for t in "ab"],
                                  "model": "voyage-multimodal-3", "input_type": "query",
                                  "truncation": False}


def test_what_mixedbread_is_told(story):
    story.make("mixedbread", T, task_settings={"prompt": "p", "normalized": False})
    story.ask(["a"])
    assert story.request.json == {"input": ["a"], "model": "m-1", "prompt": "p", "normalized": False}


# ---- rerank ----

RANKERS = {"jinaai": ("/v1/rerank", "documents", "top_n", "return_documents"),
           "voyageai": ("/v1/rerank", "documents", "top_k", "return_documents"),
           "mixedbread": ("/v1/reranking", "input", "top_k", "return_input")}


@pytest.mark.parametrize("service", RANKERS)
def test_rerank_word_by_word(story, service):
    path, documents, top, texts = RANKERS[service]
    stored = {"top_k" if service == "voyageai" else "top_n": 2, "return_documents": True}
    story.make(service, R, task_settings=stored)
    answer = story.ask("the capital", DOCUMENTS)
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital"), (0, "the moon")]
    assert story.request.target == f"/{service}{path}"
    base = {"model": "m-1", "query": "the capital", documents: DOCUMENTS}
    assert story.request.json == {**base, top: 2, texts: True}
    answer = story.ask("the capital", DOCUMENTS, top_n=1, return_documents=False)
    assert [list(r) for r in answer] == [["index", "relevance_score"]]
    assert story.requests[1].json == {**base, top: 1, texts: False}


def test_jinas_documents_as_texts(story):
    story.make("jinaai", R, task_settings={"return_documents": True})
    story.upstream.script(Reply(200, {"results": [
        {"index": 1, "relevance_score": 0.5, "document": "b"},
        {"index": 0, "relevance_score": 0.25, "document": {"text": "a"}}]}))
    assert [r["text"] for r in story.ask("q", ["a", "b"])] == ["b", "a"]


def test_instructions_for_contextual(story):
    story.make("contextualai", R, task_settings={"top_k": 2, "instruction": "newest first"})
    answer = story.ask("the capital", DOCUMENTS, return_documents=True)
    assert [list(r) for r in answer] == [["index", "relevance_score"]] * 2
    assert story.request.target == "/contextualai/v1/rerank"
    assert story.request.json == {"query": "the capital", "documents": DOCUMENTS, "model": "m-1",
                                  "top_n": 2, "instruction": "newest first"}


@pytest.mark.parametrize("service", [*RANKERS, "contextualai", "alibabacloud-ai-search"])
def test_a_rank_of_no_document(story, service):
    story.make(service, R)
    row = {"index": 9, "relevance_score": 1, "score": 1}
    story.upstream.script(*[Reply(200, {"results": [row], "data": [row],
                                        "result": {"scores": [row]}})] * 3)
    answer = story.post()
    assert answer.status == 500 and "[9]" in answer.text


# ---- Alibaba ----

ALIBABA = "alibabacloud-ai-search"


def test_numbers_of_tokens(story):
    story.make(ALIBABA, S)
    (row,) = story.ask(["the moon"])
    assert row == {"is_truncated": False, "embedding": pytest.approx(
        {str(sum(w.encode())): v for w, v in weights("the moon").items()})}
    assert story.request.json == {"input": ["the moon"]}
    story.ask(["a"], task_settings={"return_token": True, "input_type": "search"})
    assert story.requests[1].json == {"input": ["a"], "input_type": "query", "return_token": True}


def test_a_talk_in_turns(story):
    story.make(ALIBABA, C, task_settings={"parameters": {"top_p": 0.5, "search": {"a": [1]}}})
    assert story.ask(["one", "two", "three"]) == [{"result": "Echo: three"}]
    assert story.request.json == {"parameters": {"top_p": 0.5, "search": {"a": [1]}}, "messages": [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"}]}


def test_rerank_of_alibaba_cuts_nothing(story):
    story.make(ALIBABA, R)
    story.ask("q", DOCUMENTS)
    assert story.request.target == f"/{ALIBABA}/v3/openapi/workspaces/default/ranker/ops-1"
    assert story.request.json == {"query": "q", "docs": DOCUMENTS}


def test_the_similarity_is_theirs(story):
    made = story.make(ALIBABA, T, similarity="cosine")
    assert made["service_settings"]["similarity"] == "dot_product"


@pytest.mark.parametrize("change, text", [
    ({"host": "evil.example/x?"}, "[host] is not a host"),
    ({"host": "a@evil.example"}, "[host] is not a host"),
    ({"http_schema": "ftp"}, "Invalid value for [http_schema]. Must be one of [https, http]")])
def test_hosts_that_are_none(story, change, text):
    answer = story.server.put(f"/_inference/{T}/x", {"service": ALIBABA, "service_settings": {
        **BY[ALIBABA, T].settings, **change}})
    assert answer.status == 400 and text in answer.text
    assert story.upstream.requests == []


def test_a_workspace_is_one_segment(story):
    story.make(ALIBABA, T, workspace="a/../b", service_id="c?d")
    story.ask(["a"])
    assert story.request.target == (f"/{ALIBABA}/v3/openapi/workspaces/a%2F..%2Fb/text-embedding/"
                                    "c%3Fd")
