"""Holds answers against the API description in openapi/.

    schema.check("PUT", "/_inference/completion/x", 200, body)

Known rough edges of that description are left alone: streams (declared as JSON), _services,
.diagnostics and whatever has no path there, and errors (no schema).
"""
import json
import os
import re

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = os.path.join(os.path.dirname(__file__), "openapi", "openapi-inference.json")
NAME = "urn:openapi"

# Settings objects of a service, which the response schema leaves open.
SERVICE_SCHEMAS = {
    "openai": ("OpenAI", ["api_key"]),
    "cohere": ("Cohere", ["api_key"]),
    "hugging_face": ("HuggingFace", ["api_key"]),
    "elasticsearch": ("Elasticsearch", []),
}
NOT_CHECKED = re.compile(r"/_stream|/_unified|/_simulate|/_inference/_services|/_inference/\.diagnostics")


def modern(node):
    """OpenAPI 3.0's `nullable` as JSON Schema says it; what is one of several scalars is any of them."""
    if isinstance(node, list):
        return [modern(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {k: modern(v) for k, v in node.items() if k not in ("discriminator", "default")}
    if all(set(n) <= {"type", "nullable", "anyOf"} for n in node.get("oneOf", [{"$ref": ""}])):
        node["anyOf"] = node.pop("oneOf")  # scalars: numbers are declared twice, texts too
    if node.pop("nullable", False):
        node = {"anyOf": [node, {"type": "null"}]}
    return node


with open(PATH) as f:
    DOCUMENT = modern(json.load(f))
REGISTRY = Registry().with_resource(NAME, Resource(contents=DOCUMENT, specification=DRAFT202012))
VALIDATORS = {}


def validator(pointer):
    if pointer not in VALIDATORS:
        VALIDATORS[pointer] = Draft202012Validator({"$ref": f"{NAME}#{pointer}"}, registry=REGISTRY)
    return VALIDATORS[pointer]


def escape(part):
    return part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


def find_path(method, path):
    """The described path that fits best: the one with the fewest parameters, then the generic."""
    parts = [p for p in path.split("/") if p]
    best = None
    for template, operations in DOCUMENT["paths"].items():
        names = [p for p in template.split("/") if p]
        if len(names) != len(parts) or method.lower() not in operations:
            continue
        if not all(n.startswith("{") or n == p for n, p in zip(names, parts)):
            continue
        rank = (sum(n.startswith("{") for n in names), names[-1:] != ["{inference_id}"])
        if best is None or rank < best[0]:
            best = (rank, template)
    return best and best[1]


def pointer_of(method, path):
    template = find_path(method, path)
    if not template:
        return None
    response = DOCUMENT["paths"][template][method.lower()].get("responses", {}).get("200")
    if not response:
        return None
    pointer = f"/paths/{escape(template)}/{method.lower()}/responses/200"
    if "$ref" in response:
        pointer = response["$ref"].lstrip("#")
        name = pointer.rsplit("/", 1)[1]
        response = DOCUMENT["components"]["responses"][name]
    if "application/json" not in response.get("content", {}):
        return None
    return pointer + "/content/application~1json/schema"


def validate(pointer, body, what):
    errors = sorted(validator(pointer).iter_errors(body), key=lambda e: len(e.path))
    assert not errors, "%s does not fit %s: %s" % (
        what, pointer, "; ".join(f"{list(e.path)}: {e.message[:300]}" for e in errors[:5]))


def check_endpoint(endpoint, what):
    """The service settings, by the schema of the service; that of task settings describes requests
    and asks for members that an endpoint need not have."""
    name, secrets = SERVICE_SCHEMAS.get(endpoint["service"], (None, []))
    if not name:
        return
    settings = dict(endpoint["service_settings"], **{s: "x" for s in secrets})
    validate(f"/components/schemas/inference._types.{name}ServiceSettings", settings, what)


def without_wrongly_declared(body):
    """Members of metadata are declared as objects only; some texts as oneOf two kinds of text."""
    if isinstance(body, list):
        return [without_wrongly_declared(v) for v in body]
    if not isinstance(body, dict):
        return body
    return {k: {} if k in ("metadata", "transient_metadata") else
            None if k in ("full_name", "email", "reason") else without_wrongly_declared(v)
            for k, v in body.items()}


def check(method, path, status, body):
    """True when there was something to hold the answer against."""
    if status != 200 or NOT_CHECKED.search(path):
        return False
    if path == "/_security/_authenticate":  # declares metadata as objects only
        body = dict(body, metadata={})
    if path.startswith("/_security"):
        body = without_wrongly_declared(body)
    pointer = pointer_of(method, path)
    if not pointer:
        return False
    what = f"the answer of {method} {path}"
    validate(pointer, body, what)
    if method in ("GET", "PUT") and path.startswith("/_inference"):
        for endpoint in body.get("endpoints", [body]):
            check_endpoint(endpoint, what)
    return True
