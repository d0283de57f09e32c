"""What calls on local models cost an API key: exactly the tokens that Hugging Face counts.

The stories of MiniLM need INFERD_TEST_MODELS, as test_20_local does. fixtures/minilm_token_counts.py
made the numbers.
"""
import json
import os

import openai
import pytest

from inferd import Inferd
from test_08_key_limits import KEYS, MONTH, used
from test_19_usage import usage
from test_20_local import MODEL, MODELS, PATH, SETTINGS, needs_model
from test_21_local_kinds import cases, create, model

with open(os.path.join(os.path.dirname(__file__), "fixtures", "minilm_token_counts.json")) as f:
    COUNTS = json.load(f)
TEXTS = [t["text"] for t in COUNTS["texts"]]
FULL = [t for t in COUNTS["texts"] if t["text"]]  # _infer and the door take no empty text for one


class Key:
    """An API key, and what it has used since it was last asked."""

    def __init__(self, server):
        self.server = server
        made = server.post(KEYS, {"name": "counted"}).json
        self.id, self.auth, self.encoded = made["id"], "ApiKey " + made["encoded"], made["encoded"]
        self.seen = 0

    def tokens(self, endpoint):
        row = used(self.server, self.id)["usage"][MONTH()]["endpoints"][endpoint]["tokens"]
        assert row["out"] == 0
        before, self.seen = self.seen, row["in"]
        return row["in"] - before


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    s = Inferd(tmp_path_factory.mktemp("counts"), settings={"path.models": MODELS}).start()
    answer = s.put(PATH + "?timeout=50s", {
        "service": "elasticsearch", "service_settings": SETTINGS,
        "chunking_settings": {"strategy": "word", "max_chunk_size": COUNTS["chunked"]["words"],
                              "overlap": COUNTS["chunked"]["overlap"]}})
    assert answer.status == 200, answer
    yield s
    s.stop(20)


@needs_model
def test_an_endpoints_calls(local):
    key = Key(local)
    for t in COUNTS["texts"]:
        assert local.post(PATH, {"input": t["text"]}, auth=key.auth).status == 200
        assert key.tokens("minilm") == t["tokens"], t["text"]


@needs_model
def test_many_texts_of_one_call(local):
    key, few = Key(local), COUNTS["texts"][:9]
    sum_of = lambda texts: sum(t["tokens"] for t in texts)
    ask = lambda query, texts: local.post(f"{PATH}?timeout=100s{query}", {"input": texts},
                                          auth=key.auth).status
    assert ask("", TEXTS) == 200
    assert key.tokens("minilm") == sum_of(COUNTS["texts"])
    assert ask("", TEXTS[:9] * 2) == 200
    assert key.tokens("minilm") == 2 * sum_of(few), "each was run"
    assert ask("&partial=true", TEXTS[:9]) == 200
    assert key.tokens("minilm") == sum_of(few)


@needs_model
def test_chunks_of_a_text(local):
    key, chunked = Key(local), COUNTS["chunked"]
    answer = local.post(PATH + "?chunk=true", {"input": chunked["text"]}, auth=key.auth,
                        check=False)
    assert len(answer.json["text_embedding"][0]["chunks"]) == chunked["chunks"]
    assert key.tokens("minilm") == chunked["tokens"]


@needs_model
def test_the_second_front_door_says_the_same(local):
    key = Key(local)
    with openai.OpenAI(base_url=local.url + "/v1", api_key=key.encoded, max_retries=0) as client:
        for texts in ([FULL[0]], FULL):
            answer = client.embeddings.create(model="minilm", input=[t["text"] for t in texts])
            exact = sum(t["tokens"] for t in texts)
            assert answer.usage.prompt_tokens == answer.usage.total_tokens == exact
            assert key.tokens("minilm") == exact


@needs_model
def test_infer(local):
    key = Key(local)
    for texts in ([FULL[3]], FULL):
        answer = local.post("/_ml/trained_models/minilm/_infer?timeout=100s",
                            {"docs": [{"text_field": t["text"]} for t in texts]}, auth=key.auth,
                            check=False)
        assert answer.status == 200, answer
        assert key.tokens("minilm") == sum(t["tokens"] for t in texts)


@needs_model
def test_diagnostics_count_them_too(local):
    tokens = lambda: usage(local, "minilm")["tokens"]["in"]
    before = tokens()
    assert local.post(PATH, {"input": TEXTS[:3]}).status == 200
    assert tokens() - before == sum(t["tokens"] for t in COUNTS["texts"][:3])


@needs_model
def test_a_budget_ends_with_the_exact_number(local):
    text = COUNTS["texts"][4]
    key = local.post(KEYS, {"name": "k", "role_descriptors": {"r": {"cluster": ["all"], "metadata": {
        "inferd": {"limits": {"tokens_per_month": 2 * text["tokens"]}}}}}}).json
    ask = lambda: local.post(PATH, {"input": text["text"]}, auth="ApiKey " + key["encoded"]).status
    assert [ask() for _ in range(3)] == [200, 200, 429]


@needs_model
def test_answers_of_the_endpoints_cache_cost_none(local):
    assert local.put("/_inference/text_embedding/cached?timeout=50s", {
        "service": "elasticsearch", "service_settings": {
            **SETTINGS, "cache": {"max_size": "1mb", "ttl": "10m"}}}).status == 200
    key, text = Key(local), COUNTS["texts"][4]
    with openai.OpenAI(base_url=local.url + "/v1", api_key=key.encoded, max_retries=0) as client:
        ask = lambda: client.embeddings.create(model="cached", input=text["text"]).usage
        assert ask().prompt_tokens == text["tokens"] == key.tokens("cached")
        assert ask().prompt_tokens == text["tokens"], "the answer is the same"
        assert key.tokens("cached") == 0
    local.delete("/_inference/cached")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    models = str(tmp_path_factory.mktemp("counted_models"))
    s = Inferd(tmp_path_factory.mktemp("counted_kinds"), settings={"path.models": models}).start()
    s.words = {n: model(models, n) for n in ("bert_rerank", "bert_sparse")}
    yield s
    s.stop(20)


def test_rerank(kinds):
    """A query and a document are read together: the ids of the pair, for each document."""
    assert create(kinds, "rerank", "bert_rerank").status == 200
    key, words = Key(kinds), kinds.words["bert_rerank"]
    text = lambda ids: " ".join(words[i] for i in ids)
    for ids, _ in cases("bert_rerank"):
        middle = ids.index(3)
        body = {"query": text(ids[1:middle]), "input": [text(ids[middle + 1:-1])] * 3}
        assert kinds.post("/_inference/rerank/bert_rerank", body, auth=key.auth).status == 200
        assert key.tokens("bert_rerank") == 3 * len(ids)
    assert kinds.delete("/_inference/bert_rerank").status == 200


def test_sparse_embedding(kinds):
    assert create(kinds, "sparse_embedding", "bert_sparse").status == 200
    key, words = Key(kinds), kinds.words["bert_sparse"]
    rows = [ids for ids, _ in cases("bert_sparse")]
    body = {"input": [" ".join(words[i] for i in ids[1:-1]) for ids in rows]}
    assert kinds.post("/_inference/bert_sparse", body, auth=key.auth).status == 200
    assert key.tokens("bert_sparse") == sum(map(len, rows))
    assert kinds.delete("/_inference/bert_sparse").status == 200
