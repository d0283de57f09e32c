"""./bench local: inferd's own engine beside ONNX Runtime, and PyTorch with --torch.

One machine, one run, one model (all-MiniLM-L6-v2, fp32), the same texts, the same number of
threads. Four ways: inferd over HTTP (wrk sends, JSON both ways); inferd's engine and tokenizer in a
bare C loop; ONNX Runtime and PyTorch inside a Python process, without HTTP or JSON, which favours
them. Everyone tokenizes its own texts. inferd packs texts end to end, the others pad to the longest
of the batch, as is usual; only real tokens are counted. Before anything is measured, all of them
must agree on the embeddings. Rounds are interleaved; medians are shown.
"""
import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
from tokenizers import Tokenizer

from lab import BASIC, Failed, Lab, call, machine, median, put_endpoint, revision, spread, table

LENGTHS = (16, 64, 200)
HERE = os.path.dirname(os.path.abspath(__file__))


# ---- texts ----

class Texts:
    """Plain English words in no order, cut to a number of tokens (special ones included)."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as f:
            words = [w.strip() for w in f]
        self.words = [w for w in words[1996:9000] if w.isalpha() and w.isascii()]
        self.rng = random.Random(7)

    def count(self, texts):
        return sum(len(e.ids) for e in self.tokenizer.encode_batch(texts))

    def text(self, n_tokens):
        words = []
        while self.count([" ".join(words)]) < n_tokens:
            words.append(self.rng.choice(self.words))
        return " ".join(words)

    def batch(self, n, around):
        """n texts whose lengths lie within a fifth of `around`."""
        return [self.text(round(around * self.rng.uniform(0.8, 1.2))) for _ in range(n)]


class Workload:
    def __init__(self, name, batches, clients, texts):
        self.name, self.batches, self.clients = name, batches, clients
        counts = [[texts.count([t]) for t in b] for b in batches]
        self.tokens = sum(map(sum, counts)) / len(batches)  # of one batch
        self.padded = sum(len(c) * max(c) for c in counts) / sum(map(sum, counts))
        self.latency = len(batches[0]) == 1 and clients == 1


def workloads(texts):
    short = [[texts.text(10)] for _ in range(16)]
    yield Workload("1 text of 10 tokens", short, 1, texts)
    yield Workload("16 clients, 1 text of 10", short, 16, texts)
    for n in LENGTHS:
        yield Workload(f"32 texts of ~{n}", [texts.batch(32, n) for _ in range(4)], 1, texts)


# ---- contenders: start, embed, run ----

class Served:
    """inferd over HTTP."""
    name = "inferd, HTTP"

    def __init__(self, lab, options, threads):
        self.lab = lab
        cores = lab.server_cores if threads == 1 else lab.all_cores
        self.process = lab.start_inferd(options.inferd, f"data-{threads}", {
            "http.loops": 1, "node.processors": threads, "path.models": options.models}, cores)
        put_endpoint(self.process.port, "text_embedding", "minilm", {
            "service": "elasticsearch", "service_settings": {
                "model_id": "all-minilm-l6-v2", "num_allocations": 1, "num_threads": threads}},
            timeout="60s")
        self.version = f"inferd {revision()}"

    def embed(self, texts):
        status, body = call(self.process.port, "POST", "/_inference/text_embedding/minilm",
                            {"input": texts})
        if status != 200:
            raise Failed(f"inferd: {status} {body[:500]}")
        return [r["embedding"] for r in json.loads(body)["text_embedding"]]

    def run(self, workload, seconds):
        bodies = [json.dumps({"input": b}) for b in workload.batches]
        if len(workload.batches[0]) > 1:
            return self.run_long(bodies, seconds)
        url = f"http://127.0.0.1:{self.process.port}/_inference/text_embedding/minilm"
        load = self.lab.wrk(url, bodies, workload.clients, seconds)
        return {**load, "batches": load["requests"]}

    def run_long(self, bodies, seconds):
        """Large batches are few: wrk would cut off the last. The client costs well under a
        millisecond of them."""
        c = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=60)
        times = []
        begin = now = time.perf_counter()
        while now < begin + seconds:
            c.request("POST", "/_inference/text_embedding/minilm", bodies[len(times) % len(bodies)],
                      {"Content-Type": "application/json", "Authorization": BASIC})
            response = c.getresponse()
            response.read()
            if response.status != 200:
                raise Failed(f"inferd: {response.status}")
            times.append(time.perf_counter() - now)
            now = time.perf_counter()
        c.close()
        p50, p99 = np.percentile(np.array(times) * 1e6, [50, 99])
        return {"batches": len(times), "us": (now - begin) * 1e6, "p50": p50, "p99": p99}

    def rss_mib(self):
        return self.process.rss_kb() / 1024


class Child:
    """A process that reads work and answers with JSON lines."""

    def __init__(self, lab, name, argv, threads):
        self.name = name
        cores = lab.server_cores if threads == 1 else lab.all_cores
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self.process = lab.start(argv, cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 text=True, env=env)
        self.version = self.answer()["version"]

    def answer(self):
        line = self.process.popen.stdout.readline()
        if not line:
            self.process.popen.wait(10)
            self.process.check_alive()
        return json.loads(line)

    def ask(self, text):
        self.process.popen.stdin.write(text)
        self.process.popen.stdin.flush()
        return self.answer()

    def rss_mib(self):
        return self.process.rss_kb() / 1024


class InPython(Child):
    def __init__(self, lab, python, kind, options, threads):
        super().__init__(lab, kind, [python, os.path.join(HERE, "local_opponent.py"), kind,
                                     options.snapshot, str(threads)], threads)

    def embed(self, texts):
        return self.ask(json.dumps({"texts": texts}) + "\n")["embeddings"]

    def run(self, workload, seconds):
        return self.ask(json.dumps({"batches": workload.batches, "clients": workload.clients,
                                    "seconds": seconds}) + "\n")


class Engine(Child):
    """No embed: it is the engine that serves, and runs one batch at a time."""

    def __init__(self, lab, options, threads):
        super().__init__(lab, "inferd, engine", [options.driver, options.snapshot, str(threads)],
                         threads)

    def run(self, workload, seconds):
        if workload.clients > 1:
            return None
        lines = [f"{seconds} {len(workload.batches)}"]
        for batch in workload.batches:
            lines += [str(len(batch)), *batch]
        return self.ask("\n".join(lines) + "\n")


def contenders(lab, options, threads):
    yield Served(lab, options, threads)
    yield Engine(lab, options, threads)
    yield InPython(lab, sys.executable, "onnxruntime", options, threads)
    if options.torch:
        yield InPython(lab, options.torch_python, "torch", options, threads)


# ---- agreement ----

def check_agreement(all_of_them, works):
    texts = [t for w in works for t in w.batches[0]]
    texts += ["", "Ünïcödé 東京 \U0001f600 and \"quotes\"", "word " * 400]
    able = [c for c in all_of_them if hasattr(c, "embed")]
    got = {c.name: np.array([v for i in range(0, len(texts), 32)
                             for v in c.embed(texts[i:i + 32])]) for c in able}
    ours = got[able[0].name]
    for name, theirs in got.items():
        cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) \
            / np.linalg.norm(theirs, axis=1)
        if cosine.min() < 0.9999:
            raise Failed(f"{name} disagrees: cosine {cosine.min()} on "
                         f"{texts[int(cosine.argmin())][:80]!r}")
        if name != able[0].name:
            print(f"{len(texts)} embeddings agree with {name}: least cosine {cosine.min():.7f}, "
                  f"largest difference {np.abs(ours - theirs).max():.1e}", flush=True)


# ---- measuring ----

def measure(all_of_them, workload, options):
    got = {c.name: [] for c in all_of_them}
    for _ in range(options.rounds):
        for c in all_of_them:
            before = c.process.cpu_ns()
            r = c.run(workload, options.seconds)
            if r:
                r["cpu"] = (c.process.cpu_ns() - before) / r["batches"]
                r["tokens_per_s"] = workload.tokens * r["batches"] / (r["us"] / 1e6)
                got[c.name].append(r)
    return {name: r for name, r in got.items() if r}


def rows_of(workload, got):
    """One row per contender; the ratios are that contender's figures to inferd-over-HTTP's."""
    served = got[Served.name]
    for i, (name, rounds) in enumerate(got.items()):
        faster = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(served, rounds)]
        cheaper = [b["cpu"] / a["cpu"] for a, b in zip(served, rounds)]
        mid = {k: median([r[k] for r in rounds]) for k in ("tokens_per_s", "p50", "p99", "cpu")}
        yield [workload.name if i == 0 else "", name, f"{mid['tokens_per_s']:.0f}",
               f"{mid['p50'] / 1000:.2f}", f"{mid['p99'] / 1000:.2f}", f"{mid['cpu'] / 1e6:.2f}",
               *(("", "") if name == Served.name else (spread(faster), spread(cheaper)))]


def run(lab, options):
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n"
          f"rounds of {options.seconds} s: {options.rounds}\n", flush=True)
    texts = Texts(options.snapshot)
    works = list(workloads(texts))
    print("tokens that the others compute for one of text: "
          + ", ".join(f"{w.name}: {w.padded:.2f}" for w in works if w.padded > 1) + "\n")
    for threads in options.threads:
        if threads > len(lab.all_cores):
            print(f"{threads} threads: left out, there are {len(lab.all_cores)} cores\n")
            continue
        group = list(contenders(lab, options, threads))
        print(f"threads: {threads}. " + "; ".join(c.version for c in group))
        check_agreement(group, works)
        print("\np50, p99 and CPU (of the contender's whole process) are milliseconds per batch. The "
              "last columns say how\nmuch faster inferd over HTTP is than the row, and how much less "
              "CPU it takes: median of the rounds\n(least-most). On a busy machine the CPU is the "
              "figure to look at.\n")
        rows = []
        for w in works:
            rows += rows_of(w, measure(group, w, options))
        table(["workload", "who", "tokens/s", "p50", "p99", "CPU", "faster", "less CPU"], rows)
        print("RSS at the end: " + ", ".join(f"{c.name} {c.rss_mib():.0f} MiB" for c in group)
              + "\n", flush=True)
        for c in group:
            c.process.stop()


def main():
    p = argparse.ArgumentParser(prog="./bench local", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--inferd", "--driver", "--models"):
        p.add_argument(name, required=True, help=argparse.SUPPRESS)
    p.add_argument("--torch-python", help=argparse.SUPPRESS)
    p.add_argument("--torch", action="store_true",
                   help="PyTorch too; installs it first, with gigabytes of CUDA packages that it "
                        "cannot be loaded without")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--threads", type=lambda s: [int(t) for t in s.split(",")], default=[1, 2],
                   metavar="N,N")
    options = p.parse_args()
    options.snapshot = os.path.join(options.models, "all-minilm-l6-v2")
    if not options.torch:
        print("PyTorch is left out (--torch installs and measures it)")
    try:
        with Lab() as lab:
            run(lab, options)
    except Failed as e:
        sys.exit(f"bench: {e}")


if __name__ == "__main__":
    main()
