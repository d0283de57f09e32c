"""./bench day: a day in minutes on the real MiniLM, through the official client.

Idle, steps, a burst, idle again, a first request, and then 200 times to zero and back. Asks as a Poisson process,
watches `_stats`, writes a CSV that tools/scaler_picture.py draws. Every request must be answered; intervals and times
to zero are shortened so that the day fits into minutes.
"""
import argparse
import csv
import random
import sys
import threading
import time

from elasticsearch import Elasticsearch

from lab import PASSWORD, Failed, Lab, machine, revision

# seconds, requests a second
DAY = [(25, 0), (30, 3), (30, 12), (30, 35), (12, 70), (40, 8), (30, 0), (10, 2)]
ID = "minilm"
TEXT = "A man is eating food while somebody plays the violin on a bridge over the river number {}."


class Day:
    def __init__(self, es, file):
        self.es, self.file = es, file
        self.lock = threading.Lock()
        self.failed, self.answered, self.worst, self.rate, self.ended = [], 0, 0.0, 0, False

    def ask(self, i):
        start = time.monotonic()
        try:
            self.es.inference.text_embedding(inference_id=ID, input=" ".join([TEXT.format(i)] * 11))
        except Exception as e:  # pylint: disable=broad-except
            with self.lock:
                self.failed.append(repr(e)[:300])
            return
        with self.lock:
            self.answered += 1
            self.worst = max(self.worst, time.monotonic() - start)

    def stats(self):
        return self.es.ml.get_trained_models_stats(model_id="all-minilm-l6-v2")["trained_model_stats"][0]["deployment_stats"]

    def watch(self):
        begin = time.monotonic()
        writer = csv.writer(self.file)
        writer.writerow(["second", "rate", "allocations", "needed", "waiting", "worst_latency"])
        while not self.ended:
            time.sleep(0.5)
            s = self.stats()
            with self.lock:
                worst, self.worst = self.worst, 0.0
            writer.writerow([f"{time.monotonic() - begin:.1f}", self.rate, s["allocation_status"]["allocation_count"],
                             s["scaling"]["needed_number_of_allocations"],
                             sum(n.get("number_of_pending_requests", 0) for n in s["nodes"]), f"{worst:.4f}"])

    def play(self):
        rng, threads, i = random.Random(5), [], 0
        for seconds, rate in DAY:
            self.rate = rate
            end = at = time.monotonic()
            end += seconds
            while rate and at < end:
                at += rng.expovariate(rate)
                time.sleep(max(0, at - time.monotonic()))
                threads.append(threading.Thread(target=self.ask, args=(i,)))
                threads[-1].start()
                i += 1
            time.sleep(max(0, end - time.monotonic()))
            print(f"{rate:4d} a second for {seconds} s: {self.stats()['allocation_status']['allocation_count']} "
                  f"allocations, {self.answered} answered, {len(self.failed)} failed", flush=True)
        for t in threads:
            t.join()


def first_requests(es, day, n):
    worst = []
    for i in range(n):
        end = time.monotonic() + 60
        while day.stats()["allocation_status"]["allocation_count"] and time.monotonic() < end:
            time.sleep(0.02)
        start = time.monotonic()
        es.inference.text_embedding(inference_id=ID, input=TEXT.format(-i))
        worst.append(time.monotonic() - start)
    worst.sort()
    print(f"{n} of {n} first requests after zero: median {worst[n // 2] * 1000:.0f} ms, most {worst[-1] * 1000:.0f} ms")


def serve(lab, options, zero_after, cooldown, interval):
    server = lab.start_inferd(options.inferd, "data", {
        "path.models": options.models, "inference.local.scaling_interval": interval,
        "xpack.ml.trained_models.adaptive_allocations.scale_to_zero_time": zero_after,
        "xpack.ml.trained_models.adaptive_allocations.scale_up_cooldown_time": cooldown}, lab.all_cores)
    es = Elasticsearch(f"http://127.0.0.1:{server.port}", basic_auth=("elastic", PASSWORD), request_timeout=60,
                       connections_per_node=64)
    return server, es


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inferd", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--csv", default="day.csv")
    p.add_argument("--first", type=int, default=200)
    options = p.parse_args()
    print(f"inferd {revision()}; {machine()}\n")
    with Lab() as lab, open(options.csv, "w", newline="", encoding="utf-8") as file:
        server, es = serve(lab, options, "10s", "8s", "1s")
        es.inference.put(task_type="text_embedding", inference_id=ID, inference_config={
            "service": "elasticsearch", "service_settings": {
                "model_id": "all-minilm-l6-v2", "num_threads": 1, "adaptive_allocations": {
                    "enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 4}}})
        day = Day(es, file)
        watcher = threading.Thread(target=day.watch)
        watcher.start()
        try:
            day.play()
        finally:
            day.ended = True
            watcher.join()
        server.stop()
        server, es = serve(lab, options, "100ms", "1ms", "100ms")
        day.es = es
        first_requests(es, day, options.first)
    if day.failed:
        raise Failed(f"{len(day.failed)} requests failed: {day.failed[:3]}")
    print(f"{day.answered} requests, none failed")


if __name__ == "__main__":
    sys.exit(main())
