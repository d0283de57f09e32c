"""Jina, Voyage, Contextual, Mixedbread and Alibaba: embeddings and ranking in shapes of their own.
As upstream.py plays the others."""
from upstream import (Reply, bearer, expect, int8s, members, reply_text, route, texts, vector,
                      weights)
from upstream_copies import cohere_like_rerank, floats, ranked


def sourced(request):
    bearer(request)
    expect(request.headers.get("request-source") == "unspecified:elasticsearch", "Request-Source")


@route("jinaai", "/v1/embeddings", sourced)
def jina_embeddings(request):
    body = request.json
    members(body, ["input", "model"], ["input", "model", "embedding_type", "task", "late_chunking",
                                       "dimensions"])
    expect(body.get("embedding_type") in (None, "float", "binary"), "[embedding_type]")
    expect(body.get("task") in (None, "retrieval.passage", "retrieval.query", "classification",
                                "separation"), "[task]")
    make = int8s if body.get("embedding_type") == "binary" else vector
    return floats([make(t, body.get("dimensions", 8)) for t in texts(body, "input")])


@route("jinaai", "/v1/rerank", sourced)
def jina_rerank(request):
    return cohere_like_rerank(request, ["model", "query", "documents"],
                              ["model", "query", "documents", "top_n", "return_documents"])


@route("voyageai", "/v1/embeddings", sourced)
def voyage_embeddings(request):
    body = request.json
    members(body, ["input", "model"], ["input", "model", "input_type", "truncation",
                                       "output_dimension", "output_dtype"])
    expect(body.get("input_type") in (None, "document", "query"), "[input_type]")
    expect(body.get("output_dtype") in (None, "float", "int8", "binary"), "[output_dtype]")
    make = vector if body.get("output_dtype") in (None, "float") else int8s
    return floats([make(t, body.get("output_dimension", 8)) for t in texts(body, "input")])


@route("voyageai", "/v1/multimodalembeddings", sourced)
def voyage_multimodal(request):
    body = request.json
    members(body, ["inputs", "model"], ["inputs", "model", "input_type", "truncation"])
    for item in body["inputs"]:
        expect(len(item["content"]) == 1 and item["content"][0]["type"] == "text", "[inputs]")
    return floats([vector(i["content"][0]["text"]) for i in body["inputs"]])


@route("voyageai", "/v1/rerank", sourced)
def voyage_rerank(request):
    body = request.json
    members(body, ["model", "query", "documents"],
            ["model", "query", "documents", "return_documents", "top_k", "truncation"])
    documents = texts(body, "documents")
    return Reply(200, {"object": "list", "model": "m", "usage": {"total_tokens": 9}, "data": [
        {"index": i, "relevance_score": s,
         **({"document": documents[i]} if body.get("return_documents") else {})}
        for s, i in ranked(body["query"], documents, body.get("top_k"))]})


@route("contextualai", "/v1/rerank")
def contextual_rerank(request):
    body = request.json
    members(body, ["model", "query", "documents"],
            ["model", "query", "documents", "top_n", "instruction"])
    return Reply(200, {"results": [
        {"index": i, "relevance_score": s}
        for s, i in ranked(body["query"], texts(body, "documents"), body.get("top_n"))]})


@route("mixedbread", "/v1/embeddings")
def mixedbread_embeddings(request):
    body = request.json
    members(body, ["input", "model"], ["input", "model", "dimensions", "prompt", "normalized"])
    return floats([vector(t, body.get("dimensions", 8)) for t in texts(body, "input")])


@route("mixedbread", "/v1/reranking")
def mixedbread_rerank(request):
    body = request.json
    members(body, ["model", "query", "input"], ["model", "query", "input", "top_k", "return_input"])
    documents = texts(body, "input")
    return Reply(200, {"object": "list", "model": "m", "usage": {"total_tokens": 9}, "data": [
        {"index": i, "score": s, "object": "rank_result",
         "input": documents[i] if body.get("return_input") else None}
        for s, i in ranked(body["query"], documents, body.get("top_k"))]})


# ---- Alibaba ----

def alibaba(path):
    return route("alibabacloud-ai-search", f"/v3/openapi/workspaces/([^/]+)/{path}/([^/]+)")


def alibaba_inputs(body, more=()):
    members(body, ["input"], ["input", "input_type", *more])
    expect(body.get("input_type") in (None, "document", "query"), "[input_type]")
    return texts(body, "input")


@alibaba("text-embedding")
def alibaba_embeddings(request, workspace, service):
    return Reply(200, {"request_id": "r-1", "latency": 38, "usage": {"token_count": 5}, "result": {
        "embeddings": [{"index": i, "embedding": vector(t)}
                       for i, t in enumerate(alibaba_inputs(request.json))]}})


@alibaba("text-sparse-embedding")
def alibaba_sparse(request, workspace, service):
    """Numbers of tokens, unless their words are asked for; and entries that must be left out."""
    body = request.json
    rows = []
    for i, text in enumerate(alibaba_inputs(body, ["return_token"])):
        row = [{"token_id": sum(w.encode()), "weight": v,
                **({"token": w} if body.get("return_token") else {})}
               for w, v in weights(text).items()]
        row += [{"token_id": 1, "token": "", "weight": 1}, {"token_id": 2, "token": "a.b", "weight": 1},
                {"token_id": 3, "weight": 0}, {"token_id": 4, "weight": -1}]
        rows.append({"index": i, "embedding": row})
    return Reply(200, {"request_id": "r-2", "latency": 22, "usage": {"token_count": 11},
                       "result": {"sparse_embeddings": rows}})


@alibaba("ranker")
def alibaba_rerank(request, workspace, service):
    members(request.json, ["query", "docs"], ["query", "docs"])
    return Reply(200, {"request_id": "r-3", "usage": {"doc_count": 2}, "result": {"scores": [
        {"index": i, "score": s}
        for s, i in ranked(request.json["query"], texts(request.json, "docs"))]}})


@alibaba("text-generation")
def alibaba_completion(request, workspace, service):
    body = request.json
    members(body, ["messages"], ["messages", "parameters"])
    expect([m["role"] for m in body["messages"]] ==
           ["user", "assistant"] * (len(body["messages"]) // 2) + ["user"], "the roles")
    return Reply(200, {"request_id": "r-4", "result": {
        "text": reply_text(body["messages"][-1]["content"])},
        "usage": {"output_tokens": 12, "input_tokens": 35, "total_tokens": 47}})
