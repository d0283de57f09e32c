"""The demo's client: makes an endpoint on the local model and ranks sentences with it.

Only the standard library, so that nothing has to be installed.
"""
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ["DEMO_URL"]
AUTH = base64.b64encode(("elastic:" + os.environ["DEMO_PASSWORD"]).encode()).decode()
ENDPOINT = "/_inference/text_embedding/minilm"

QUERY = "How can I keep my plants alive while I travel?"
TEXTS = [
    "The stock market fell sharply on Tuesday.",
    "A drip irrigation kit waters pots for two weeks without anyone at home.",
    "Our flight to Lisbon leaves at seven in the morning.",
    "Ask a neighbour to water the flowers during your holiday.",
    "The recipe needs two eggs and a cup of flour.",
]


def call(method, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(URL + path, data=data, method=method)
    request.add_header("Authorization", "Basic " + AUTH)
    if data:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def wait_for_server():
    for _ in range(300):
        try:
            return call("GET", "/_health")
        except (urllib.error.URLError, ConnectionError):
            if not alive(int(os.environ["DEMO_PID"])):
                sys.exit("the server has ended; its last lines say why")
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def make_endpoint():
    try:
        return call("GET", ENDPOINT)["endpoints"][0]
    except urllib.error.HTTPError as e:
        if e.code != 404:
            raise
    settings = {"model_id": "all-minilm-l6-v2", "num_allocations": 1, "num_threads": 1}
    return call("PUT", ENDPOINT, {"service": "elasticsearch", "service_settings": settings})


def embed(texts):
    items = call("POST", ENDPOINT, {"input": texts})["text_embedding"]
    return [item["embedding"] for item in items]


def main():
    wait_for_server()
    print("\nGET /\n", json.dumps(call("GET", "/"), indent=1)[:400])
    print("\nPUT", ENDPOINT, "\n", json.dumps(make_endpoint()))
    query, *rows = embed([QUERY] + TEXTS)
    scores = [sum(a * b for a, b in zip(query, row)) for row in rows]
    print("\n" + QUERY)
    ranking = sorted(zip(scores, TEXTS), reverse=True)
    for score, text in ranking:
        print("  %6.3f  %s" % (score, text))
    best = {text for _, text in ranking[:2]}
    if best != {TEXTS[1], TEXTS[3]}:
        sys.exit("the ranking is wrong: the two sentences about watering should come first")


if __name__ == "__main__":
    try:
        main()
    except urllib.error.HTTPError as e:
        sys.exit("%s: %s" % (e, e.read().decode(errors="replace")))
