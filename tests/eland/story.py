"""Eland, unchanged, against a running inferd: imports tiny random models of every architecture and task it takes, and
the real MiniLM, starts them, asks `_infer`, and holds every answer to what PyTorch gives for the same text in this process.

    python tests/eland/story.py --binary build/inferd --minilm FOLDER [NAME...]

or with --url and --password against a server that runs already. NAME picks models ("bert/ner"). Tolerances: cosine of embeddings >= 0.99999; logits, weights and probabilities 2e-4
absolute (float32, other order of sums). Ends with the number of models that passed and failed.
"""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import tiny
import torch
from eland.ml.pytorch import PyTorchModel
from eland.ml.pytorch.transformers import TransformerModel
from elasticsearch import Elasticsearch

TEXTS = ["the quick brown fox jumps over the lazy dog", "john smith lives in paris", "What is the capital of France?",
         "Größe, naïve café 42!", "x"]
QUERY = "which city is the capital of france"
NEAR = 2e-4


class Wrong(Exception):
    pass


def near(have, want, what):
    have, want = np.asarray(have, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if have.shape != want.shape:
        raise Wrong(f"{what}: shape {have.shape}, want {want.shape}")
    worst = np.abs(have - want).max() if have.size else 0.0
    if not worst <= NEAR * max(1.0, np.abs(want).max() if want.size else 0):
        raise Wrong(f"{what}: off by {worst:.3g}")
    return worst


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Asked:
    """One model, as PyTorch has it."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def run(self, *texts):
        kinds = {"return_tensors": "pt"}
        inputs = self.tokenizer(*texts, **kinds)
        if isinstance(self.tokenizer, (tiny.tf.MPNetTokenizer, tiny.tf.RobertaTokenizer, tiny.tf.BartTokenizer,
                                       tiny.tf.XLMRobertaTokenizer)) or "DistilBert" in type(self.model).__name__:
            inputs.pop("token_type_ids", None)
        with torch.no_grad():
            out = self.model(**inputs)
        return inputs["input_ids"][0].tolist(), out


def infer(es, model_id, docs, config=None):
    body = {"docs": [{"text_field": d} for d in docs]}
    if config:
        body["inference_config"] = config
    return es.ml.infer_trained_model(model_id=model_id, timeout="60s", **body)["inference_results"]


def mean_pool(asked, text):
    _, out = asked.run(text)
    return out.last_hidden_state[0].mean(0).numpy()


def check_text_embedding(es, model_id, asked):
    for text, r in zip(TEXTS, infer(es, model_id, TEXTS)):
        _, out = asked.run(text)
        want = out.pooler_output[0].numpy() if "DPR" in type(asked.model).__name__ else mean_pool(asked, text)
        have = np.array(r["predicted_value"])
        cosine = have @ want / np.linalg.norm(have) / np.linalg.norm(want)
        if not cosine >= 0.99999:
            raise Wrong(f"cosine {cosine:.7f} for {text!r}")
        near(have, want, text)


def check_text_expansion(es, model_id, asked):
    for text, r in zip(TEXTS, infer(es, model_id, TEXTS)):
        _, out = asked.run(text)
        row = out.logits[0][0].numpy()
        want = {asked.tokenizer.convert_ids_to_tokens(i).replace(".", "__"): float(row[i]) for i in range(len(row))
                if row[i] > 0}
        have = r["predicted_value"]
        if set(have) ^ set(want):
            small = max(abs(want.get(k, have.get(k))) for k in set(have) ^ set(want))
            if small > NEAR:
                raise Wrong(f"tokens differ for {text!r}: {sorted(set(have) ^ set(want))[:5]}")
        both = sorted(set(have) & set(want))
        near([have[k] for k in both], [want[k] for k in both], text)
        if list(have.values()) != sorted(have.values(), reverse=True):
            raise Wrong("weights are not heaviest first")


def check_text_similarity(es, model_id, asked):
    results = infer(es, model_id, TEXTS, {"text_similarity": {"text": QUERY}})
    for text, r in zip(TEXTS, results):
        _, out = asked.run(QUERY, text)
        near(r["predicted_value"], float(out.logits[0][0]), text)


def check_text_classification(es, model_id, asked):
    names = tiny.LABELS["text_classification"]
    for text, r in zip(TEXTS, infer(es, model_id, TEXTS, {"text_classification": {"num_top_classes": 3}})):
        _, out = asked.run(text)
        p = softmax(out.logits[0].numpy())
        near([c["class_probability"] for c in r["top_classes"]], sorted(p, reverse=True), text)
        near(r["prediction_probability"], p.max(), text)
        near(p[names.index(r["predicted_value"])], p.max(), text)


def check_zero_shot_classification(es, model_id, asked):
    labels = ["sport", "science", "news"]
    for multi in (False, True):
        config = {"zero_shot_classification": {"labels": labels, "multi_label": multi}}
        for text, r in zip(TEXTS, infer(es, model_id, TEXTS, config)):
            rows = [asked.run(text, f"This example is {label}.")[1].logits[0].numpy() for label in labels]
            p = softmax(np.array([[r[2], r[0]] for r in rows]))[:, 0] if multi else softmax(np.array([r[2] for r in rows]))
            have = {c["class_name"]: c["class_probability"] for c in r["top_classes"]}
            near([have[label] for label in labels], p, text)


def check_fill_mask(es, model_id, asked):
    mask = asked.tokenizer.mask_token
    for text in (f"the quick brown {mask} jumps", f"john lives in {mask}"):
        ids, out = asked.run(text)
        row = softmax(out.logits[0][ids.index(asked.tokenizer.mask_token_id)].numpy().astype(np.float64))
        r, = infer(es, model_id, [text], {"fill_mask": {"num_top_classes": 5}})
        near([c["class_probability"] for c in r["top_classes"]], sorted(row, reverse=True)[:5], text)
        if r["predicted_value_sequence"] != text.replace(mask, r["predicted_value"]):
            raise Wrong(f"sequence {r['predicted_value_sequence']!r}")


def check_ner(es, model_id, asked):
    """Words that are one token each: their labels are the argmax, neighbours of one entity are joined."""
    names = [n.replace("-", "_") for n in tiny.LABELS["ner"]]
    for text in ("the quick brown fox", "john smith works in london"):
        ids, out = asked.run(text)
        words = text.split()
        if len(ids) != len(words) + 2:
            continue
        best = softmax(out.logits[0].numpy()).argmax(-1)[1:-1]
        want, last = [], None
        for word, b in zip(words, best):
            name = names[b]
            kind = name.split("_")[-1]
            if name != "O" and last == kind and not name.startswith("B"):
                want[-1][0] += " " + word
            elif name != "O":
                want.append([word, kind])
            last = None if name == "O" else kind
        r, = infer(es, model_id, [text])
        have = [[e["entity"], e["class_name"]] for e in r["entities"]]
        if have != want:
            raise Wrong(f"{text!r}: {have}, want {want}")


def check_question_answering(es, model_id, asked):
    context = "john smith lives in paris and works in london"
    r, = infer(es, model_id, [context], {"question_answering": {"question": "who lives in paris", "num_top_classes": 2}})
    ids, out = asked.run("who lives in paris", context)
    first = len(asked.tokenizer("who lives in paris")["input_ids"]) + \
        (1 if isinstance(asked.tokenizer, (tiny.tf.RobertaTokenizer, tiny.tf.XLMRobertaTokenizer,
                                           tiny.tf.MPNetTokenizer)) else 0)
    def masked(x):
        x = x[0].numpy().astype(np.float64).copy()
        keep = np.zeros(len(x), bool)
        keep[0] = True
        keep[first:len(ids) - 1] = True
        x[~keep] = -10000
        p = softmax(x)
        p[0] = 0
        return p
    s, e = masked(out.start_logits), masked(out.end_logits)
    best = max(s[i] * e[j] for i in range(len(s)) for j in range(i, min(i + 15, len(e))))
    near(r["prediction_probability"], best, "best span")
    if context[r["start_offset"]:r["end_offset"]].strip() != r["predicted_value"].strip():
        raise Wrong(f"{r['predicted_value']!r} is not at its offsets")


def check_pass_through(es, model_id, asked):
    for text, r in zip(TEXTS, infer(es, model_id, TEXTS)):
        _, out = asked.run(text)
        have = np.array(r["predicted_value"])
        near(have.reshape(-1), out.last_hidden_state[0].numpy().reshape(-1), text)


def one(es, folder, architecture, task, quantize=False):
    model_id = f"{architecture}_{task}".replace("_", "-")
    model, tokenizer = tiny.make(folder, architecture, task)
    tm = TransformerModel(model_id=str(folder), task_type=task, es_version=(9, 1, 0), quantize=quantize)
    model_path, config, vocab_path = tm.save(str(folder))
    ptm = PyTorchModel(es, model_id)
    ptm.import_model(model_path=model_path, config_path=None, vocab_path=vocab_path, config=config)
    ptm.start()
    try:
        globals()["check_" + task](es, model_id, Asked(model, tokenizer))
        stats = es.ml.get_trained_models_stats(model_id=model_id)["trained_model_stats"][0]
        if stats["deployment_stats"]["allocation_status"]["state"] != "fully_allocated":
            raise Wrong(f"allocation status {stats['deployment_stats']['allocation_status']}")
    finally:
        ptm.stop()
        ptm.delete()


def minilm(es, args):
    """Through the command, as people do it; compared with sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    st = SentenceTransformer(args.minilm, device="cpu")
    subprocess.run([str(Path(sys.executable).parent / "eland_import_hub_model"), "--url", args.url, "-u", args.user, "-p",
                    args.password, "--hub-model-id", args.minilm, "--es-model-id", "minilm", "--task-type",
                    "text_embedding", "--start", "--clear-previous"], check=True, capture_output=True)
    want = st.encode(TEXTS + ["a longer text. " * 30])
    have = [r["predicted_value"] for r in infer(es, "minilm", TEXTS + ["a longer text. " * 30])]
    for h, w in zip(np.array(have), want):
        cosine = h @ w / np.linalg.norm(h) / np.linalg.norm(w)
        if not cosine >= 0.99999:
            raise Wrong(f"cosine {cosine:.7f}")
    es.inference.put(task_type="text_embedding", inference_id="minilm-endpoint", inference_config={
        "service": "elasticsearch", "service_settings": {"model_id": "minilm", "num_threads": 1, "num_allocations": 1,
                                                         "deployment_id": "minilm"}})
    answer = es.inference.text_embedding(inference_id="minilm-endpoint", input=TEXTS)
    near([e["embedding"] for e in answer["text_embedding"]], want[:len(TEXTS)], "endpoint")
    es.inference.delete(inference_id="minilm-endpoint")
    es.ml.stop_trained_model_deployment(model_id="minilm")
    es.ml.delete_trained_model(model_id="minilm")
    return float(np.abs(np.array(have) - want).max())


class Server:
    """The binary with a data folder of its own; ends with the block, and well."""

    def __init__(self, args):
        self.args = args

    def __enter__(self):
        if self.args.url:
            return self
        self.folder = Path(tempfile.mkdtemp(prefix="inferd-"))
        self.args.password = secrets.token_hex(8)
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [self.args.binary, "-E", "http.port=0", "-E", f"path.data={self.folder}/data"], stderr=self.log,
            env={**os.environ, "ELASTIC_PASSWORD": self.args.password})
        port = self.folder / "data" / "http.port"
        for _ in range(200):
            if port.exists() and port.read_text(encoding="ascii").strip():
                break
            time.sleep(0.05)
        self.args.url = f"http://127.0.0.1:{port.read_text(encoding='ascii').strip()}"
        return self

    def __exit__(self, kind, value, trace):
        if not hasattr(self, "process"):
            return
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.log.close()
        if status != 0:
            print((self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:])
            raise SystemExit(f"the server ended with {status}")
        shutil.rmtree(self.folder)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", default="build/inferd")
    p.add_argument("--url")
    p.add_argument("--user", default="elastic")
    p.add_argument("--password")
    p.add_argument("--minilm")
    p.add_argument("--trace", action="store_true")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    with Server(a):
        return tell(a)


def tell(a):
    torch.set_num_threads(1)
    es = Elasticsearch(a.url, basic_auth=(a.user, a.password), request_timeout=300)
    passed = failed = 0
    jobs = [(f"{x}/{y}", x, y, False) for x, y in tiny.MODELS]
    for name, architecture, task, quantize in jobs:
        if a.names and name not in a.names and architecture not in a.names:
            continue
        folder = Path(tempfile.mkdtemp(prefix="eland-"))
        start = time.monotonic()
        try:
            one(es, folder, architecture, task, quantize)
            passed += 1
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED  {name}: {type(e).__name__} {str(e)[:400]}", flush=True)
            if a.trace:
                traceback.print_exc()
            es.options(ignore_status=[404]).ml.delete_trained_model(
                model_id=f"{architecture}_{task}".replace("_", "-"), force=True)
        finally:
            shutil.rmtree(folder)
    if a.minilm and (not a.names or "minilm" in a.names):
        try:
            print(f"ok      minilm: largest difference {minilm(es, a):.2e}", flush=True)
            passed += 1
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED  minilm: {type(e).__name__} {getattr(e, 'stderr', b'') or e}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
