"""Every service and task type that is played by upstream_*.py: how an endpoint is made, and how the
official Python client asks it.

    story = Story(server, upstream)            # the fixture `story`; `alone`: on its own server
    story.make("mistral", "text_embedding")    # upstream.requests is empty afterwards
    story.ask(["a", "b"])                      # by the client's method for the task
    story.post({"input": "a"})                 # raw: statuses
    story.stream({...}), .words(), .chunks()   # event streams
"""
import functools
import inspect
import json
import re
import subprocess

import elasticsearch

import upstream_anthropic  # noqa: F401  each registers its paths
import upstream_aws
import upstream_copies  # noqa: F401
import upstream_custom  # noqa: F401
import upstream_google
import upstream_rankers  # noqa: F401
from inferd import MARK, PASSWORD
from upstream import close_to

KEY = "key-" + MARK
AWS = {"access_key": "AKIA" + MARK, "secret_key": "wJalrXUtnFEMI/K7MDENG+" + MARK}
upstream_aws.SECRETS[AWS["access_key"]] = AWS["secret_key"]
# Calls of the stories follow each other at once.
FAST = {"rate_limit": {"requests_per_minute": 600000}}


@functools.cache
def service_account():
    """A key file with a new key, whose public half the scripted provider gets."""
    pem = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt",
                          "rsa_keygen_bits:2048"], capture_output=True, check=True).stdout
    shown = subprocess.run(["openssl", "rsa", "-noout", "-modulus"], input=pem,
                           capture_output=True, check=True).stdout.decode()
    account = upstream_google.Account
    account.number = (int(shown.strip().split("=")[1], 16), 65537)
    account.email = "story@project.iam.gserviceaccount.com"
    account.key_id = "kid-" + MARK
    return json.dumps({"type": "service_account", "project_id": "p-1",
                       "client_email": account.email, "private_key_id": account.key_id,
                       "private_key": pem.decode(),
                       "token_uri": "https://oauth2.googleapis.com/token"})


class Recipe:
    """settings: of the service; a callable where they cannot be known beforehand. name: what the
    request is called in errors."""

    def __init__(self, service, task, settings, name, task_settings=None):
        self.service, self.task, self.name, self.task_settings = service, task, name, task_settings
        self._settings = settings

    @property
    def settings(self):
        return self._settings() if callable(self._settings) else dict(self._settings)

    @property
    def streams(self):
        return self.task in ("completion", "chat_completion") and \
            self.service not in ("alibabacloud-ai-search", "custom")

    def __repr__(self):
        return f"{self.service}-{self.task}"


BEARER = {"api_key": KEY, "model_id": "m-1", **FAST}
AZURE = {"api_key": KEY, "resource_name": "my-resource", "deployment_id": "my-deployment",
         "api_version": "2024-10-21", **FAST}
STUDIO = {"api_key": KEY, "target": "https://x.inference.ai.azure.com/token", "provider": "cohere",
          "endpoint_type": "token", **FAST}
BEDROCK = {**AWS, "region": "us-east-1", **FAST}
CLAUDE = {**BEDROCK, "provider": "anthropic", "model": "anthropic.claude-3-haiku-20240307-v1:0"}
SAGEMAKER = {**AWS, "region": "eu-west-1", "api": "elastic"}
ALIBABA = {"api_key": KEY, "host": "x.opensearch.aliyuncs.com", "workspace": "default",
           "service_id": "ops-1", **FAST}
WATSONX = {"api_key": KEY, "url": "us-south.ml.cloud.ibm.com", "api_version": "2024-05-02",
           "model_id": "ibm/m-1", "project_id": "p-1", **FAST}
CLAUDE_TASK = {"max_tokens": 64}


def custom(path, request, **parser):
    return {"url": "https://models.example/v1/" + path, "request": request, **FAST,
            "secret_parameters": {"the_key": KEY}, "response": {"json_parser": parser},
            "headers": {"Authorization": "Bearer ${the_key}"}}


def vertex():
    return {"service_account_json": service_account(), "project_id": "p-1",
            "location": "us-central1", "model_id": "m-1", **FAST}


def url(settings, path):
    return {**settings, "url": "https://models.example" + path}


def without_limit(settings):
    return {k: v for k, v in settings.items() if k != "rate_limit"}


T, S, R, C, CC = ("text_embedding", "sparse_embedding", "rerank", "completion", "chat_completion")

ALL = [Recipe(*row) for row in [
    ("ai21", C, BEARER, "AI21 chat completions"),
    ("ai21", CC, BEARER, "AI21 chat completions"),
    ("alibabacloud-ai-search", T, ALIBABA, "AlibabaCloud Search text embeddings"),
    ("alibabacloud-ai-search", S, ALIBABA, "AlibabaCloud Search sparse embeddings"),
    ("alibabacloud-ai-search", R, ALIBABA, "AlibabaCloud Search rerank"),
    ("alibabacloud-ai-search", C, ALIBABA, "AlibabaCloud Search completion"),
    ("amazon_sagemaker", T, {**SAGEMAKER, "endpoint_name": "elastic-float",
                             "element_type": "float"}, "Amazon SageMaker"),
    ("amazon_sagemaker", S, {**SAGEMAKER, "endpoint_name": "elastic-sparse"}, "Amazon SageMaker"),
    ("amazon_sagemaker", R, {**SAGEMAKER, "endpoint_name": "elastic-rerank"}, "Amazon SageMaker"),
    ("amazon_sagemaker", C, {**SAGEMAKER, "endpoint_name": "elastic-chat"}, "Amazon SageMaker"),
    ("amazon_sagemaker", CC, {**SAGEMAKER, "endpoint_name": "elastic-chat"}, "Amazon SageMaker"),
    ("amazonbedrock", T, {**BEDROCK, "provider": "cohere", "model": "cohere.embed-english-v3"},
     "Amazon Bedrock embeddings"),
    ("amazonbedrock", C, CLAUDE, "Amazon Bedrock completion"),
    ("amazonbedrock", CC, CLAUDE, "Amazon Bedrock completion"),
    ("anthropic", C, BEARER, "Anthropic chat completions", CLAUDE_TASK),
    ("anthropic", CC, BEARER, "Anthropic chat completions", CLAUDE_TASK),
    ("azureaistudio", T, STUDIO, "Azure AI Studio embeddings"),
    ("azureaistudio", R, STUDIO, "Azure AI Studio rerank"),
    ("azureaistudio", C, STUDIO, "Azure AI Studio completion"),
    ("azureaistudio", CC, STUDIO, "Azure AI Studio chat completion"),
    ("azureopenai", T, AZURE, "Azure OpenAI embeddings"),
    ("azureopenai", C, AZURE, "Azure OpenAI completion"),
    ("azureopenai", CC, AZURE, "Azure OpenAI chat completion"),
    ("contextualai", R, BEARER, "ContextualAI rerank"),
    ("custom", T, custom("embed", '{"texts": ${input}}',
                         text_embeddings="$.data.rows[*].numbers[*]"), "Custom"),
    ("custom", S, custom("sparse", '{"texts": ${input}}', token_path="$.rows[*].tokens[*].t",
                         weight_path="$.rows[*].tokens[*].w"), "Custom"),
    ("custom", R, custom("rank", '{"question": ${query}, "texts": ${input}}',
                         relevance_score="$.ranks[*].points", reranked_index="$.ranks[*].at"),
     "Custom"),
    ("custom", C, custom("say", '{"prompt": ${input}}', completion_result="$.said[*].text"),
     "Custom"),
    ("deepseek", C, without_limit(BEARER), "DeepSeek chat completions"),
    ("deepseek", CC, without_limit(BEARER), "DeepSeek chat completions"),
    ("fireworksai", T, BEARER, "FireworksAI embeddings"),
    ("fireworksai", C, BEARER, "FireworksAI chat completions"),
    ("fireworksai", CC, BEARER, "FireworksAI chat completions"),
    ("googleaistudio", T, BEARER, "Google AI Studio embeddings"),
    ("googleaistudio", C, BEARER, "Google AI Studio completion"),
    ("googlevertexai", T, vertex, "Google Vertex AI embeddings"),
    ("googlevertexai", R, vertex, "Google Vertex AI rerank"),
    ("googlevertexai", C, vertex, "Google Vertex AI chat completion"),
    ("googlevertexai", CC, vertex, "Google Vertex AI chat completion"),
    ("groq", C, BEARER, "Groq chat completions"),
    ("groq", CC, BEARER, "Groq chat completions"),
    ("jinaai", T, BEARER, "JinaAI embeddings"),
    ("jinaai", R, BEARER, "JinaAI rerank"),
    ("llama", T, url(BEARER, "/v1/inference/embeddings"), "Llama embeddings"),
    ("llama", C, url(BEARER, "/v1/openai/v1/chat/completions"), "Llama chat completions"),
    ("llama", CC, url(BEARER, "/v1/openai/v1/chat/completions"), "Llama chat completions"),
    ("mistral", T, {"api_key": KEY, "model": "m-1", **FAST}, "Mistral embeddings"),
    ("mistral", C, {"api_key": KEY, "model": "m-1", **FAST}, "Mistral chat completions"),
    ("mistral", CC, {"api_key": KEY, "model": "m-1", **FAST}, "Mistral chat completions"),
    ("mixedbread", T, BEARER, "Mixedbread embeddings"),
    ("mixedbread", R, BEARER, "Mixedbread rerank"),
    ("nvidia", T, BEARER, "NVIDIA embeddings"),
    ("nvidia", R, BEARER, "NVIDIA rerank"),
    ("nvidia", C, BEARER, "NVIDIA chat completions"),
    ("nvidia", CC, BEARER, "NVIDIA chat completions"),
    ("openshift_ai", T, url(BEARER, "/v1/embeddings"), "OpenShift AI embeddings"),
    ("openshift_ai", R, url(BEARER, "/v1/rerank"), "OpenShift AI rerank"),
    ("openshift_ai", C, url(BEARER, "/v1/chat/completions"), "OpenShift AI chat completions"),
    ("openshift_ai", CC, url(BEARER, "/v1/chat/completions"), "OpenShift AI chat completions"),
    ("voyageai", T, BEARER, "VoyageAI embeddings"),
    ("voyageai", R, BEARER, "VoyageAI rerank"),
    ("watsonxai", T, WATSONX, "IBM Watsonx embeddings"),
    ("watsonxai", R, WATSONX, "IBM Watsonx rerank"),
    ("watsonxai", C, WATSONX, "IBM Watsonx completions"),
    ("watsonxai", CC, WATSONX, "IBM Watsonx chat completions"),
]]
BY = {(r.service, r.task): r for r in ALL}

# Where the client's method is not put_<service>.
METHODS = {"alibabacloud-ai-search": "put_alibabacloud", "amazon_sagemaker": "put_amazonsagemaker",
           "watsonxai": "put_watsonx"}


def questions(task):
    """A good body for the task."""
    if task == R:
        return {"input": ["the moon", "Washington is the capital"], "query": "the capital"}
    if task == CC:
        return {"messages": [{"role": "user", "content": "tell me more"}]}
    return {"input": "tell me more" if task == C else ["a", "b"]}


def client(server):
    """The official client. It tells refusals as they are."""
    return elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                       retry_on_status=(), max_retries=0)


class Story:
    def __init__(self, server, upstream):
        self.server, self.upstream, self.es = server, upstream, client(server)
        self.recipe = None

    def make(self, service, task, name="e", task_settings=None, **changes):
        """PUTs an endpoint with the client's own method for the service, where it has one. A change
        to None leaves a setting out."""
        recipe = self.recipe = BY[service, task]
        settings = {k: v for k, v in {**recipe.settings, **changes}.items() if v is not None}
        task_settings = {**(recipe.task_settings or {}), **(task_settings or {})}
        more = {"task_settings": task_settings} if task_settings else {}
        self.server.delete(f"/_inference/{name}?force=true")
        put = getattr(self.es.inference, METHODS.get(service, "put_" + service), None)
        known = inspect.signature(put).parameters if put else {}
        if put and set(more) <= set(known):
            ids = [p for p in known if p.endswith("_inference_id")]
            made = put(task_type=task, service=service, service_settings=settings,
                       **{ids[0]: name}, **more)
        else:
            made = self.es.inference.put(task_type=task, inference_id=name, inference_config={
                "service": service, "service_settings": settings, **more})
        assert (made["inference_id"], made["task_type"], made["service"]) == (name, task, service)
        self.name, self.task = name, task
        self.path = f"/_inference/{task}/{name}"
        assert self.server.get(self.path).json["endpoints"] == [dict(made)]
        self.upstream.clear()
        return dict(made)

    def restart(self):
        """The server forgets its tokens, and nothing else."""
        self.server.restart()
        self.es = client(self.server)
        self.upstream.clear()

    def ask(self, *args, **more):
        """The answer to the client's method for the task, without the outer name."""
        inference = self.es.inference
        if self.task == R:
            return inference.rerank(inference_id=self.name, query=args[0], input=args[1],
                                    **more)["rerank"]
        if self.task == S:
            return inference.sparse_embedding(inference_id=self.name, input=args[0],
                                              **more)["sparse_embedding"]
        if self.task == C:
            return inference.completion(inference_id=self.name, input=args[0],
                                        **more)["completion"]
        return inference.text_embedding(inference_id=self.name, input=args[0], **more)

    def post(self, body=None, query="", **kw):
        """Raw; chats are answered as streams only, so they are read whole."""
        body = questions(self.task) if body is None else body
        return self.server.post(self.path + query, body, **kw)

    def stream(self, body=None, query=""):
        body = questions(self.task) if body is None else body
        return self.server.stream(f"{self.path}/_stream{query}", body)

    def words(self, body=None):
        """The pieces of a completion's stream, which must end well."""
        events = self.stream(body).all()
        assert events[-1] == ("message", "[DONE]"), events
        return deltas(events[:-1])

    def chunks(self, body=None):
        """The chunks of a chat, which must end well."""
        events = self.stream(body).all()
        assert events[-1] == ("message", "[DONE]"), events
        return [json.loads(data) for _, data in events[:-1]]

    @property
    def requests(self):
        """Those for answers, not for tokens."""
        return [r for r in self.upstream.requests
                if not re.search(r"/token$", r.path)]

    @property
    def request(self):
        (request,) = self.requests
        return request


def deltas(events):
    """The texts of a stream's messages, of either task."""
    found = []
    for name, data in events:
        if name != "message" or data == "[DONE]":
            continue
        data = json.loads(data)
        if "completion" in data:
            found += [d["delta"] for d in data["completion"]]
        else:
            found += [c["delta"]["content"] for c in data.get("choices", [])
                      if c["delta"].get("content")]
    return found


def said(chunks):
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


def tool_calls(chunks):
    """[(name, arguments)] as a client puts them together: by the choice's and the call's index."""
    calls = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                at = calls.setdefault((choice["index"], call["index"]), [None, None, ""])
                at[0] = call.get("id") or at[0]
                at[1] = call.get("function", {}).get("name") or at[1]
                at[2] += call.get("function", {}).get("arguments") or ""
    return [tuple(c) for c in calls.values()]


def finish_reasons(chunks):
    return [c["finish_reason"] for chunk in chunks for c in chunk["choices"]
            if "finish_reason" in c]


def same_rows(rows, wanted):
    return len(rows) == len(wanted) and all(close_to(r["embedding"], w)
                                            for r, w in zip(rows, wanted))
