"""A service that no table knows, for the service `custom`: its own names for everything."""
from upstream import Reply, expect, int8s, members, reply_text, route, texts, vector, weights
from upstream_copies import ranked


@route("custom", "/v1/embed")
def embed(request):
    body = request.json
    members(body, ["texts"], ["texts", "purpose", "size", "kind", "extra"])
    make = int8s if body.get("kind") == "bytes" else vector
    return Reply(200, {"data": {"rows": [{"numbers": make(t, body.get("size", 8))}
                                         for t in texts(body, "texts")]}})


@route("custom", "/v1/sparse")
def sparse(request):
    members(request.json, ["texts"], ["texts"])
    return Reply(200, {"rows": [{"tokens": [{"t": t, "w": w} for t, w in weights(text).items()]}
                                for text in texts(request.json, "texts")]})


@route("custom", "/v1/rank")
def rank(request):
    body = request.json
    members(body, ["question", "texts"], ["question", "texts", "most", "with_texts"])
    return Reply(200, {"ranks": [{"at": i, "points": s, "text": body["texts"][i]} for s, i in ranked(
        body["question"], texts(body, "texts"), body.get("most"))]})


@route("custom", "/v1/say")
def say(request):
    expect(isinstance(request.json["prompt"], str), "[prompt]")
    return Reply(200, {"said": [{"text": reply_text(request.json["prompt"])}]})


@route("custom", "/v1/echo/(.*)", lambda request: None, "text/x-own")
def echo(request, path):
    """Whatever its head; the body is shown back."""
    return Reply(200, {"said": request.body.decode()})
