"""./bench scaling: what is left of a local model's throughput when more is asked than it can do, and what a
light key waits beside a heavy one.

Goodput is answers that came within the deadline. First the capacity: as many connections as keep one
allocation busy, each asking again at once. Then requests come as a Poisson process at 1 and at 3 times
that rate, whatever the answers, each with the deadline as its `timeout`. Then one key sends batches as fast
as they are answered while another sends single texts now and then; its latency alone stands beside.
One machine, one run: only the ratios mean anything.
"""
import argparse
import asyncio
import json
import random
import time

from lab import BASIC, Failed, Lab, call, machine, median, put_endpoint, revision, table

PATH = "/_inference/text_embedding/minilm"
WORDS = ("the model answers a question about cities rivers mountains and the people who live there while a server "
         "waits for the next request in its queue and counts what it has done so far").split()


def text(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


class Connection:
    """One keep-alive connection that asks one question at a time."""

    def __init__(self, port, authorization):
        self.port, self.authorization, self.reader, self.writer = port, authorization, None, None

    async def ask(self, body, deadline_s=None):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        query = f"?timeout={int(deadline_s * 1000)}ms" if deadline_s else ""
        self.writer.write(f"POST {PATH}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {self.authorization}\r\n"
                          f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self.reader.readexactly(length)
        return status

    def close(self):
        if self.writer:
            self.writer.close()


async def closed_loop(port, bodies, connections, seconds, authorization=BASIC):
    """Answers a second when everyone asks again at once."""
    end, done = time.monotonic() + seconds, 0

    async def worker(i):
        nonlocal done
        c = Connection(port, authorization)
        while time.monotonic() < end:
            if await c.ask(bodies[(done + i) % len(bodies)]) != 200:
                raise Failed("an error while the capacity was measured")
            done += time.monotonic() < end
        c.close()
    await asyncio.gather(*(worker(i) for i in range(connections)))
    return done / seconds


async def open_loop(port, bodies, rate, deadline_s, seconds, rng):
    """{status: number} and the answers within the deadline a second, however many come."""
    idle, statuses, good, tasks = [], {}, 0, set()

    async def one(body):
        nonlocal good
        c = idle.pop() if idle else Connection(port, BASIC)
        start = time.monotonic()
        try:
            status = await c.ask(body, deadline_s)
        except (OSError, asyncio.IncompleteReadError):
            status = 0
            c = None
        good += status == 200 and time.monotonic() - start <= deadline_s
        statuses[status] = statuses.get(status, 0) + 1
        if c:
            idle.append(c)
    now = begin = time.monotonic()
    at = begin
    while now < begin + seconds:
        at += rng.expovariate(rate)
        await asyncio.sleep(max(0, at - time.monotonic()))
        now = time.monotonic()
        task = asyncio.ensure_future(one(rng.choice(bodies)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    took = time.monotonic() - begin
    await asyncio.gather(*tasks)
    for c in idle:
        c.close()
    return statuses, good / took, sum(statuses.values()) / took


async def light_latency(port, bodies, authorization, seconds, rng):
    c, times, end = Connection(port, authorization), [], time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(rng.expovariate(10))
        start = time.perf_counter()
        if await c.ask(rng.choice(bodies)) != 200:
            raise Failed("an error for the light key")
        times.append((time.perf_counter() - start) * 1000)
    c.close()
    return sorted(times)


async def beside(port, light, heavy, keys, seconds, rng):
    async def press(i):
        c, end = Connection(port, keys["heavy"]), time.monotonic() + seconds + 0.5
        while time.monotonic() < end:
            status = await c.ask(heavy[i % len(heavy)])
            if status not in (200, 429):
                raise Failed(f"{status} for the heavy key")
        c.close()
    pressing = [asyncio.ensure_future(press(i)) for i in range(8)]
    await asyncio.sleep(0.5)
    times = await light_latency(port, light, keys["light"], seconds, rng)
    await asyncio.gather(*pressing)
    return times


def make_key(port, name):
    status, body = call(port, "POST", "/_security/api_key", {"name": name})
    if status != 200:
        raise Failed(f"no key: {status} {body[:300]}")
    return "ApiKey " + json.loads(body)["encoded"]


def percentile(values, p):
    return values[min(len(values) - 1, int(len(values) * p))]


def measure(port, options):
    rng = random.Random(11)
    bodies = [json.dumps({"input": text(rng, 40)}).encode() for _ in range(64)]
    batches = [json.dumps({"input": [text(rng, 40) for _ in range(32)]}).encode() for _ in range(8)]
    short = [json.dumps({"input": text(rng, 8)}).encode() for _ in range(64)]
    rows, at_capacity, over = [], [], []
    for _ in range(options.rounds):
        capacity = asyncio.run(closed_loop(port, bodies, 16, options.seconds))
        good = {}
        for times in (1, 3):
            statuses, goodput, offered = asyncio.run(
                open_loop(port, bodies, capacity * times, options.deadline, options.seconds, rng))
            good[times] = goodput
            rows.append((f"{times} x capacity", f"{offered:.0f}", f"{goodput:.0f}", statuses.get(429, 0),
                         statuses.get(408, 0), f"{goodput / capacity:.2f}"))
        at_capacity.append(good[1])
        over.append(good[3] / good[1])
    print(f"capacity (16 connections, texts of 40 words): {capacity:.0f} answers/s; deadline {options.deadline} s\n")
    table(["offered", "requests/s", "goodput/s", "429", "408", "of capacity"], rows)
    print(f"goodput at 3 x capacity over goodput at capacity: {median(over):.2f} "
          f"({min(over):.2f}-{max(over):.2f})\n")
    keys = {name: make_key(port, name) for name in ("light", "heavy")}
    rows = []
    for _ in range(options.rounds):
        alone = asyncio.run(light_latency(port, short, keys["light"], options.seconds, rng))
        shared = asyncio.run(beside(port, short, batches, keys, options.seconds, rng))
        rows.append((len(alone), f"{percentile(alone, .5):.1f}", f"{percentile(alone, .99):.1f}",
                     f"{percentile(shared, .5):.1f}", f"{percentile(shared, .99):.1f}"))
    table(["light key, texts of 8 words", "alone p50 ms", "p99", "beside 8 x 32 texts p50", "p99"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inferd", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--deadline", type=float, default=1.0)
    options = p.parse_args()
    with Lab() as lab:
        print(f"inferd {revision()}; {machine()}\n")
        server = lab.start_inferd(options.inferd, "data", {"http.loops": 1, "node.processors": 1,
                                                           "path.models": options.models}, lab.server_cores)
        put_endpoint(server.port, "text_embedding", "minilm", {
            "service": "elasticsearch",
            "service_settings": {"model_id": "all-minilm-l6-v2", "num_allocations": 1, "num_threads": 1}}, timeout="60s")
        measure(server.port, options)


if __name__ == "__main__":
    main()
