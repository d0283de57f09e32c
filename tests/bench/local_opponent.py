"""One opponent of ./bench local, in a process of its own: Python, no HTTP, tokenization included.

    local_opponent.py onnxruntime|torch SNAPSHOT THREADS

Reads one JSON object a line and answers with one:
    {"texts": [...]}                                      -> {"embeddings": [[...]]}
    {"batches": [[text ...] ...], "clients": N, "seconds": S}
        -> {"batches": how many ran, "us": wall time, "p50":, "p99": microseconds of one}
    clients > 1: that many Python threads, each running batch after batch on the one session.
"""
import json
import os
import sys
import tempfile
import threading
import time

import numpy as np


def tokenizer_of(folder):
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    t.enable_truncation(256)
    t.enable_padding()
    return t


class OnnxRuntime:
    def __init__(self, folder, threads):
        import minilm_onnx
        import onnxruntime as ort
        self.tokenizer = tokenizer_of(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "minilm.onnx")
            minilm_onnx.write(folder, path)
            self.session = ort.InferenceSession(path, options,
                                                providers=["CPUExecutionProvider"])
        self.version = "onnxruntime " + ort.__version__

    def embed(self, texts):
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], np.int32)
        mask = np.array([e.attention_mask for e in encoded], np.int32)
        return self.session.run(None, {"ids": ids, "mask": mask, "types": np.zeros_like(ids)})[0]


class Torch:
    """BERT by hand on torch.nn.functional: less overhead than the model classes of libraries."""

    def __init__(self, folder, threads):
        import torch
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_grad_enabled(False)
        self.torch, self.f = torch, torch.nn.functional
        self.tokenizer = tokenizer_of(folder)
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        self.weights = {n: torch.from_numpy(a.copy()) for n, a in self.tensors(folder)}
        for i in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{i}.attention.self."
            for kind in ("weight", "bias"):
                self.weights[f"{at}qkv.{kind}"] = torch.cat(
                    [self.weights[f"{at}{n}.{kind}"] for n in ("query", "key", "value")])
        self.version = "torch " + torch.__version__

    @staticmethod
    def tensors(folder):
        import struct
        with open(os.path.join(folder, "model.safetensors"), "rb") as f:
            head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            data = f.read()
        for name, t in head.items():
            if name != "__metadata__" and t["dtype"] == "F32":
                begin, end = t["data_offsets"]
                yield name, np.frombuffer(data[begin:end], "<f4").reshape(t["shape"])

    def linear(self, x, at):
        return self.f.linear(x, self.weights[at + ".weight"], self.weights[at + ".bias"])

    def norm(self, x, at):
        return self.f.layer_norm(x, x.shape[-1:], self.weights[at + ".weight"],
                                 self.weights[at + ".bias"], self.config["layer_norm_eps"])

    def layer(self, x, i, mask):
        at = f"encoder.layer.{i}."
        batch, length, hidden = x.shape
        heads = self.config["num_attention_heads"]
        qkv = self.linear(x, at + "attention.self.qkv")
        q, k, v = qkv.view(batch, length, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        a = self.f.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        a = a.transpose(1, 2).reshape(batch, length, hidden)
        x = self.norm(x + self.linear(a, at + "attention.output.dense"),
                      at + "attention.output.LayerNorm")
        h = self.linear(self.f.gelu(self.linear(x, at + "intermediate.dense")),
                        at + "output.dense")
        return self.norm(x + h, at + "output.LayerNorm")

    def embed(self, texts):
        torch = self.torch
        with torch.inference_mode():  # per thread
            encoded = self.tokenizer.encode_batch(texts)
            ids = torch.tensor([e.ids for e in encoded])
            mask = torch.tensor([e.attention_mask for e in encoded])
            w = self.weights
            x = w["embeddings.word_embeddings.weight"][ids] \
                + w["embeddings.position_embeddings.weight"][:ids.shape[1]] \
                + w["embeddings.token_type_embeddings.weight"][0]
            x = self.norm(x, "embeddings.LayerNorm")
            padded = bool((mask == 0).any())
            attend = mask.bool()[:, None, None, :] if padded else None
            for i in range(self.config["num_hidden_layers"]):
                x = self.layer(x, i, attend)
            m = mask[:, :, None].float()
            return self.f.normalize((x * m).sum(1) / m.sum(1)).numpy()


def run(engine, batches, clients, seconds):
    times, lock = [], threading.Lock()
    end = time.perf_counter() + seconds

    def client(at):
        mine = []
        while True:
            begin = time.perf_counter()
            if begin >= end:
                break
            engine.embed(batches[at % len(batches)])
            mine.append(time.perf_counter() - begin)
            at += 1
        with lock:
            times.extend(mine)
    begin = time.perf_counter()
    if clients == 1:
        client(0)
    else:
        threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    us = (time.perf_counter() - begin) * 1e6
    p50, p99 = np.percentile(np.array(times) * 1e6, [50, 99])
    return {"batches": len(times), "us": us, "p50": p50, "p99": p99}


def main():
    kind, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    engine = {"onnxruntime": OnnxRuntime, "torch": Torch}[kind](folder, threads)
    print(json.dumps({"version": engine.version}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        if "texts" in ask:
            answer = {"embeddings": engine.embed(ask["texts"]).tolist()}
        else:
            answer = run(engine, ask["batches"], ask["clients"], ask["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
