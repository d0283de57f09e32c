"""The elasticsearch service on tiny random models of every kind: what comes back is what PyTorch
made of the same ids (src/engine/fixtures), through the server, its tokenizer and its batches.
"""
import json
import os
import shutil

import pytest

from inferd import Inferd, wait_until

FIXTURES = os.path.join(os.path.dirname(__file__), "..", "src", "engine", "fixtures")
EMBEDDINGS = ["distilbert", "electra", "mpnet", "roberta"]
RERANKERS = ["bert_rerank", "distilbert_rerank", "electra_rerank", "mpnet_rerank",
             "roberta_rerank", "xlm_roberta_rerank"]
SPARSE = ["bert_sparse", "bert_sparse_untied", "distilbert_sparse", "electra_sparse",
          "mpnet_sparse", "roberta_sparse"]
CLS, SEP = 2, 3
TOLERANCE = 2e-5  # theirs, and the printed digits


def vocabulary(folder):
    with open(os.path.join(folder, "config.json")) as f:
        size = json.load(f)["vocab_size"]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."] + [f"w{i}" for i in range(6, size)]


def model(models, name, as_name=None, **files):
    """A folder that has everything but a tokenizer, and one whose words are ids."""
    folder = os.path.join(models, as_name or name)
    shutil.copytree(os.path.join(FIXTURES, name), folder)
    words = vocabulary(folder)
    with open(os.path.join(folder, "vocab.txt"), "w") as f:
        f.write("\n".join(words) + "\n")
    for file, value in files.items():
        with open(os.path.join(folder, file + ".json"), "w") as f:
            json.dump(value, f)
    return words


def cases(name):
    with open(os.path.join(FIXTURES, name, "cases.json")) as f:
        for case in json.load(f)["cases"]:
            yield from zip(case["ids"], case["expected"])


def create(server, task, name, as_id=None, **more):
    return server.put(f"/_inference/{task}/{as_id or name}?timeout=50s", {
        "service": "elasticsearch",
        "service_settings": {"model_id": name, "num_allocations": 1, "num_threads": 2}, **more})


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    models = str(tmp_path_factory.mktemp("kinds_models"))
    s = Inferd(tmp_path_factory.mktemp("kinds"), settings={
        "path.models": models, "node.processors": "128", "http.loops": "2"}).start()
    s.models = models
    s.words = {n: model(models, n) for n in EMBEDDINGS + RERANKERS + SPARSE}
    model(models, "bert_rerank", "two_labels")
    path = os.path.join(models, "two_labels", "config.json")
    with open(path) as f:
        config = json.load(f)
    config["id2label"] = {"0": "NO", "1": "YES"}
    with open(path, "w") as f:
        json.dump(config, f)
    yield s
    s.stop(20)


def near(got, expected):
    return len(got) == len(expected) and max(
        abs(a - b) for a, b in zip(got, expected)) < TOLERANCE


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_families_embed(kinds, name):
    made = create(kinds, "text_embedding", name)
    assert made.status == 200, made
    assert made.json["service_settings"]["dimensions"] == 32
    answer = kinds.post(f"/_inference/{name}", {"input": ["w9 w10 w11", "w12", "w9 w10 w11"]})
    one, other, again = [e["embedding"] for e in answer.json["text_embedding"]]
    assert one == again and one != other and len(one) == 32
    assert kinds.delete(f"/_inference/{name}").status == 200


@pytest.mark.parametrize("name", RERANKERS)
def test_rerank_scores_are_logits(kinds, name):
    made = create(kinds, "rerank", name)
    assert made.status == 200, made
    assert made.json == {
        "inference_id": name, "task_type": "rerank", "service": "elasticsearch",
        "service_settings": {"num_allocations": 1, "num_threads": 2, "model_id": name},
        "task_settings": {"return_documents": True}}
    words = kinds.words[name]
    for ids, (score,) in cases(name):
        middle = ids.index(SEP)
        query = " ".join(words[i] for i in ids[1:middle])
        document = " ".join(words[i] for i in ids[middle + 1:-1])
        answer = kinds.post(f"/_inference/rerank/{name}", {"query": query, "input": [document]})
        assert answer.status == 200, answer
        (item,) = answer.json["rerank"]
        assert abs(item["relevance_score"] - score) < TOLERANCE
        assert item == {"index": 0, "relevance_score": item["relevance_score"], "text": document}
    assert kinds.delete(f"/_inference/{name}").status == 200


@pytest.fixture(scope="module")
def reranker(kinds):
    assert create(kinds, "rerank", "bert_rerank").status == 200
    yield lambda **body: kinds.post("/_inference/rerank/bert_rerank", body)
    assert kinds.delete("/_inference/bert_rerank").status == 200


DOCUMENTS = ["w9 w10", "", "w11 . w12 w40", "w9 w10", "w20 w21 w22 w23 w24"]


def test_rerank_sorts(reranker):
    items = reranker(query="w9 w33", input=DOCUMENTS).json["rerank"]
    assert sorted(i["index"] for i in items) == [0, 1, 2, 3, 4]
    assert all(i["text"] == DOCUMENTS[i["index"]] for i in items)
    scores = [i["relevance_score"] for i in items]
    assert scores == sorted(scores, reverse=True)
    places = [i["index"] for i in items]
    assert places.index(3) == places.index(0) + 1, "equal scores keep their order"
    best = reranker(query="w9 w33", input=DOCUMENTS, top_n=2).json["rerank"]
    assert best == items[:2]
    for more in ({"return_documents": False}, {"task_settings": {"return_documents": False}}):
        bare = reranker(query="w9 w33", input=DOCUMENTS, **more).json["rerank"]
        assert bare == [{k: i[k] for k in ("index", "relevance_score")} for i in items]


def test_rerank_cuts_the_longer_of_the_two(reranker):
    long = " ".join(["w30", "w31"] * 40)
    (one,) = reranker(query="w9", input=[long]).json["rerank"]
    (same,) = reranker(query="w9", input=[long + " w50" * 200]).json["rerank"]
    (other,) = reranker(query="w10", input=[long]).json["rerank"]
    assert one["relevance_score"] == same["relevance_score"] != other["relevance_score"]
    many = reranker(query="w9", input=[long, "w9"] * 300)
    assert many.status == 200 and len(many.json["rerank"]) == 600


def test_rerank_needs_a_query(reranker):
    assert reranker(input=["w9"]).status == 400


def test_settings_of_a_reranker(kinds):
    made = create(kinds, "rerank", "roberta_rerank", task_settings={"return_documents": False})
    assert made.json["task_settings"] == {"return_documents": False}
    answer = kinds.post("/_inference/roberta_rerank", {"query": "w9", "input": ["w9"]})
    assert list(answer.json["rerank"][0]) == ["index", "relevance_score"]
    answer = kinds.post("/_inference/rerank/roberta_rerank", {
        "query": "w9", "input": ["w9"], "return_documents": True})
    assert answer.json["rerank"][0]["text"] == "w9"
    assert kinds.delete("/_inference/roberta_rerank").status == 200


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_weights_are_those_of_splade(kinds, name):
    made = create(kinds, "sparse_embedding", name)
    assert made.status == 200, made
    assert made.json == {
        "inference_id": name, "task_type": "sparse_embedding", "service": "elasticsearch",
        "service_settings": {"num_allocations": 1, "num_threads": 2, "model_id": name},
        "chunking_settings": {"strategy": "sentence", "max_chunk_size": 250,
                              "sentence_overlap": 1}}
    words = kinds.words[name]
    rows = list(cases(name))
    answer = kinds.post(f"/_inference/sparse_embedding/{name}", {
        "input": [" ".join(words[i] for i in ids[1:-1]) for ids, _ in rows]})
    assert answer.status == 200, answer
    for (ids, expected), item in zip(rows, answer.json["sparse_embedding"]):
        assert item["is_truncated"] is False
        got = item["embedding"]
        assert list(got.values()) == sorted(got.values(), reverse=True)
        wanted = {w.replace(".", "__"): x for w, x in zip(words, expected)}
        assert all(abs(wanted[w] - x) < TOLERANCE for w, x in got.items())
        assert all(w in got for w, x in wanted.items() if x > TOLERANCE)
        assert all(x > 0 for x in got.values())
    long = kinds.post(f"/_inference/{name}", {"input": ["w9 " * 500, "w9"]})
    assert [i["is_truncated"] for i in long.json["sparse_embedding"]] == [True, False]
    assert kinds.delete(f"/_inference/{name}").status == 200


@pytest.mark.parametrize("pooling, activation, reason", [
    ("max", "relu", None),
    ("sum", "relu", "[1_SpladePooling/config.json]: [pooling_strategy] is [sum]; only [max] is known"),
    ("max", "log1p_relu", "[1_SpladePooling/config.json]: [activation_function] is [log1p_relu]; "
     "only [relu] is known"),
])
def test_a_sparse_encoder_of_sentence_transformers(kinds, pooling, activation, reason):
    name = f"encoder_{pooling}_{activation}"
    home = "sentence_transformers.sparse_encoder.models."
    model(kinds.models, "bert_sparse", name, modules=[
        {"idx": 0, "name": "0", "path": "", "type": home + "MLMTransformer"},
        {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": home + "SpladePooling"}])
    os.mkdir(os.path.join(kinds.models, name, "1_SpladePooling"))
    with open(os.path.join(kinds.models, name, "1_SpladePooling", "config.json"), "w") as f:
        json.dump({"pooling_strategy": pooling, "activation_function": activation,
                   "word_embedding_dimension": None}, f)
    made = create(kinds, "sparse_embedding", name)
    if reason:
        assert (made.status, made.reason) == (400, reason)
        return
    answer = kinds.post(f"/_inference/{name}", {"input": "w9"})
    assert len(answer.json["sparse_embedding"][0]["embedding"]) > 1
    assert kinds.delete(f"/_inference/{name}").status == 200


@pytest.mark.parametrize("name, task, reason", [
    ("bert_rerank", "text_embedding", "Deployed model [bert_rerank] with type [rerank] does not "
     "match the requested task type [text_embedding]"),
    ("bert_sparse", "rerank", "Deployed model [bert_sparse] with type [sparse_embedding] does not "
     "match the requested task type [rerank]"),
    ("mpnet", "sparse_embedding", "Deployed model [mpnet] with type [text_embedding] does not "
     "match the requested task type [sparse_embedding]"),
    ("two_labels", "rerank", "Deployed model [two_labels] does not map to any supported task "
     "types"),
])
def test_a_model_does_its_own_task_only(kinds, name, task, reason):
    answer = create(kinds, task, name, "other")
    assert (answer.status, answer.reason) == (400, reason)
    assert kinds.get("/_inference/other").status == 404


# ---- tokenizers that come with RoBERTa's kind ----

def byte_level():
    """A tokenizer.json whose tokens are letters, and what writes ids as text."""
    letters = [chr(c) for c in range(ord("A"), ord("A") + 59)]
    vocab = {"<s>": CLS, "<pad>": 1, "</s>": SEP, "<unk>": 0}
    vocab.update({letters[i - 5]: i for i in range(5, 5 + len(letters))})
    tokenizer = {
        "version": "1.0", "added_tokens": [
            {"id": v, "content": k, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for k, v in vocab.items() if k[0] == "<" and len(k) > 1],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", SEP], "cls": ["<s>", CLS],
                           "trim_offsets": True, "add_prefix_space": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "merges": [],
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "vocab": {**vocab, "Ġ": 4}}}
    return tokenizer, lambda part: "".join(letters[i - 5] for i in part)


def unigram():
    """The same of a sentencepiece model; its words are written apart."""
    tokens = ["<unk>", "<pad>", "<s>", "</s>", "▁"] + [f"▁w{i}" for i in range(5, 64)]
    tokenizer = {
        "version": "1.0", "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True,
                          "prepend_scheme": "always"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                     {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [CLS], "tokens": ["<s>"]},
                               "</s>": {"id": "</s>", "ids": [SEP], "tokens": ["</s>"]}}},
        "model": {"type": "Unigram", "unk_id": 0,
                  "vocab": [[t, 0.0 if i < 4 else -float(len(t))] for i, t in enumerate(tokens)]}}
    return tokenizer, lambda part: " ".join(f"w{i}" for i in part)


def with_tokenizer(models, name, as_name, kind):
    tokenizer, text_of = kind()
    model(models, name, as_name, tokenizer=tokenizer)
    os.unlink(os.path.join(models, as_name, "vocab.txt"))
    return text_of


def test_byte_level_tokens(kinds):
    text_of = with_tokenizer(kinds.models, "roberta_sparse", "letters", byte_level)
    made = create(kinds, "sparse_embedding", "letters")
    assert made.status == 200, made
    for ids, expected in cases("roberta_sparse"):
        answer = kinds.post("/_inference/letters", {"input": text_of(ids[1:-1])})
        got = answer.json["sparse_embedding"][0]["embedding"]
        wanted = sorted((x for x in expected if x > TOLERANCE), reverse=True)
        assert near([x for x in got.values() if x > TOLERANCE], wanted)
    assert kinds.delete("/_inference/letters").status == 200


def test_unigram_tokens(kinds):
    text_of = with_tokenizer(kinds.models, "xlm_roberta_rerank", "sentences", unigram)
    made = create(kinds, "rerank", "sentences")
    assert made.status == 200, made
    for ids, (score,) in cases("xlm_roberta_rerank"):
        middle = ids.index(SEP)
        answer = kinds.post("/_inference/sentences", {
            "query": text_of(ids[1:middle]), "input": [text_of(ids[middle + 1:-1])]})
        assert abs(answer.json["rerank"][0]["relevance_score"] - score) < TOLERANCE
    assert kinds.delete("/_inference/sentences").status == 200


# ---- a folder that changes its kind ----

def test_a_replaced_folder_does_another_task(kinds, tmp_path):
    models = str(tmp_path / "models")
    model(models, "bert_rerank", "changing")
    server = Inferd(tmp_path / "own", settings={"path.models": models}).start()
    assert create(server, "rerank", "changing").status == 200
    server.stop(20)
    shutil.rmtree(os.path.join(models, "changing"))
    model(models, "bert_sparse", "changing")
    server.start()
    answer = wait_until(lambda: server.post("/_inference/changing", {
        "query": "w9", "input": ["w10", "w11"]}), 20)
    assert answer.status == 400
    assert answer.reason == "model [changing] cannot do [rerank] with [2] inputs"
    server.stop(20)


# ---- one bad input ----

def test_an_input_without_tokens_fails_alone(kinds):
    """A tokenizer that puts nothing around texts makes nothing of an empty one."""
    model(kinds.models, "distilbert", "bare", tokenizer={
        "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
        "decoder": {"type": "ByteLevel"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "model": {"type": "BPE", "merges": [],
                  "vocab": {c: i for i, c in enumerate("abcdefghi\u0120")}}})
    assert create(kinds, "text_embedding", "bare").status == 200
    texts = ["a", "", "bb a", "c", "", "dad " * 100]
    answer = kinds.post("/_inference/bare", {"input": texts})
    assert answer.status == 400 and answer.reason == "input [1] has no tokens"
    answer = kinds.post("/_inference/text_embedding/bare?partial=true", {"input": texts},
                        check=False)
    assert answer.status == 200, answer
    items = answer.json["text_embedding"]
    error = {"error": {"type": "illegal_argument_exception", "reason": "the input has no tokens",
                       "status": 400}}
    for text, item in zip(texts, items):
        if text:
            assert item["embedding"] == embed(kinds, "bare", text)
        else:
            assert item == error
    chunks = kinds.post("/_inference/text_embedding/bare?chunk=true", {"input": ["a", ""]})
    assert chunks.json["text_embedding"][1] == error
    assert kinds.post("/_inference/text_embedding/bare?partial=true",
                      {"input": ["", ""]}).status == 400
    assert kinds.delete("/_inference/bare").status == 200


# ---- what stands in front of a text ----

def embed(server, name, text, **more):
    answer = server.post(f"/_inference/{name}", {"input": text, **more})
    assert answer.status == 200, answer
    return answer.json["text_embedding"][0]["embedding"]


def test_prompts_by_input_type(kinds):
    model(kinds.models, "distilbert", "prompted", config_sentence_transformers={
        "prompts": {"query": "w7 w8 ", "passage": "w20 ", "other": "w30 "}})
    model(kinds.models, "distilbert", "standard", config_sentence_transformers={
        "prompts": {"query": "w7 w8 ", "other": "w30 "}, "default_prompt_name": "other"})
    for name in ("prompted", "standard", "distilbert"):
        assert create(kinds, "text_embedding", name).status == 200

    def plain(text):
        return embed(kinds, "distilbert", text, input_type="search")
    assert plain("w9") == embed(kinds, "distilbert", "w9")
    assert embed(kinds, "prompted", "w9", input_type="search") == plain("w7 w8 w9")
    assert embed(kinds, "prompted", "w9", input_type="ingest") == plain("w20 w9")
    assert embed(kinds, "prompted", "w9", input_type="clustering") == plain("w9")
    assert embed(kinds, "prompted", "w9") == plain("w9")
    assert embed(kinds, "standard", "w9", input_type="search") == plain("w7 w8 w9")
    assert embed(kinds, "standard", "w9", input_type="ingest") == plain("w30 w9")
    assert embed(kinds, "standard", "w9") == plain("w30 w9")
    for name in ("prompted", "standard", "distilbert"):
        assert kinds.delete(f"/_inference/{name}").status == 200


@pytest.mark.parametrize("prompts", [{"query": 5}, {"query": "w7 " * 2000}, {"passage": ["x"]}])
def test_prompts_that_are_none(kinds, prompts):
    name = f"bad-prompts-{len(str(prompts))}"
    model(kinds.models, "distilbert", name, config_sentence_transformers={"prompts": prompts})
    answer = create(kinds, "text_embedding", name)
    assert answer.status == 400 and "[config_sentence_transformers.json]" in answer.reason
