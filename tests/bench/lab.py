"""What the benchmarks share: processes on chosen cores, their CPU time and memory, load, tables.

    with Lab() as lab:
        server = lab.start(["nginx", ...], cores=lab.server_cores)
        before = server.cpu_ns()
        load = lab.wrk(url, bodies, connections=64, seconds=3)
        server.cpu_ns() - before, load["requests"], server.rss_kb()

CPU time is what the scheduler counted for every thread of the process and of its children, in
nanoseconds, so it includes the kernel's work on its behalf in system calls.
Everything started is ended by its process id when the Lab is left. All traffic is on loopback.
"""
import base64
import contextlib
import http.client
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
PASSWORD = "bench-password"
BASIC = "Basic " + base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()


class Failed(Exception):
    """The benchmark cannot say anything: a wrong answer, an error under load, a dead server."""


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def read(path):
    with open(path) as f:
        return f.read()


class Process:
    def __init__(self, argv, cores, log, **popen):
        self.name = os.path.basename(argv[0])
        self.log = log
        self.popen = subprocess.Popen(
            argv, stderr=open(log, "ab"), preexec_fn=lambda: os.sched_setaffinity(0, cores),
            **popen)
        self.pid = self.popen.pid

    def family(self):
        """The process and its children: nginx works in a child."""
        pids = [self.pid]
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                    pids += [int(p) for p in read(f"/proc/{pid}/task/{task}/children").split()]
        return pids

    def cpu_ns(self):
        """The clock of clock_getcpuclockid(3), which counts threads that have ended too."""
        return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in self.family())

    def rss_kb(self):
        """Of the process that does the work: nginx's master is not counted."""
        return int(read(f"/proc/{self.family()[-1]}/status").split("VmRSS:")[1].split()[0])

    def check_alive(self):
        if self.popen.poll() is not None:
            raise Failed(f"{self.name} ended with {self.popen.returncode}: "
                         + read(self.log)[-2000:])

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Lab:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="inferd-bench-")
        os.chmod(self.folder, 0o755)  # nginx's worker is another user
        self.processes = []
        cores = sorted(os.sched_getaffinity(0))
        self.all_cores = set(cores)
        self.server_cores = {cores[0]}
        self.load_cores = set(cores[1:]) or {cores[0]}
        self.files = 0

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of __exit__
        return self

    def __exit__(self, *_):
        for p in reversed(self.processes):
            p.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "w") as f:
            f.write(data)
        return self.path(name)

    def start(self, argv, cores, **popen):
        name = os.path.basename(argv[0])
        p = Process(argv, cores, self.path(f"{name}-{len(self.processes)}.log"), **popen)
        self.processes.append(p)
        return p

    def start_inferd(self, binary, data, settings, cores):
        """On a free port; gives (process, port) when it answers."""
        port_file = os.path.join(self.path(data), "http.port")
        if os.path.exists(port_file):
            os.unlink(port_file)
        argv = [binary, "-E", "http.port=0", "-E", f"path.data={self.path(data)}",
                "-E", "logger.level=warn"]
        for name, value in settings.items():
            argv += ["-E", f"{name}={value}"]
        p = self.start(argv, cores, env={**os.environ, "ELASTIC_PASSWORD": PASSWORD})

        def port():
            p.check_alive()
            return os.path.exists(port_file) and read(port_file).strip()
        p.port = int(wait_for(port, "inferd did not listen"))
        wait_for(lambda: answers(p.port), "inferd did not answer")
        return p

    def wrk(self, url, bodies, connections, seconds, authorization=BASIC):
        """wrk's figures; any error under load ends the benchmark."""
        self.files += 1
        file = self.write(f"bodies-{self.files}", "".join(b + "\n" for b in bodies))
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s",
                "-s", os.path.join(HERE, "load.lua"), url, "--", file, authorization]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60,
                              preexec_fn=lambda: os.sched_setaffinity(0, self.load_cores))
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise Failed(f"wrk failed: {done.stdout} {done.stderr}")
        figures = json.loads(lines[-1])
        if figures["errors"] or not figures["requests"]:
            raise Failed(f"errors under load at {url}: {figures}")
        figures["per_s"] = figures["requests"] / (figures["us"] / 1e6)
        return figures


def answers(port):
    try:
        return call(port, "GET", "/_health", None, {})[0] == 200
    except OSError:
        return False


def call(port, method, path, body, headers=None):
    """(status, body) of one request on a connection of its own; inferd's credentials by default."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if headers is None:
            headers = {"Authorization": BASIC}
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
            body = body if isinstance(body, str) else json.dumps(body)
        c.request(method, path, body, headers)
        response = c.getresponse()
        return response.status, response.read()
    finally:
        c.close()


def put_endpoint(port, task, name, settings, timeout=None):
    path = f"/_inference/{task}/{name}" + (f"?timeout={timeout}" if timeout else "")
    status, body = call(port, "PUT", path, settings)
    if status != 200:
        raise Failed(f"PUT {path}: {status} {body[:500]}")


def compile_c(lab, source, name):
    out = lab.path(name)
    subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror",
                    "-o", out, os.path.join(HERE, source)], check=True)
    return out


median = statistics.median


def spread(values):
    """median, and how far the rounds lay apart."""
    values = sorted(values)
    if len(values) == 1 or values[0] == values[-1]:
        return f"{median(values):.2f}"
    return f"{median(values):.2f} ({values[0]:.2f}-{values[-1]:.2f})"


def machine():
    cpu = next((line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines()
                if line.startswith("model name")), platform.machine())
    flags = next((line for line in read("/proc/cpuinfo").splitlines()
                  if line.startswith("flags")), "")
    simd = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    memory = int(read("/proc/meminfo").split("MemTotal:")[1].split()[0]) // (1 << 20)
    return (f"{len(os.sched_getaffinity(0))} cores, {cpu} ({' '.join(simd)}), {memory} GiB, "
            f"Linux {platform.release()}, load {os.getloadavg()[0]:.2f}")


def revision():
    git = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                         capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def version(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].strip()


def table(head, rows):
    """Markdown, numbers to the right."""
    cells = [head] + [[str(c) for c in row] for row in rows]
    width = [max(len(r[i]) for r in cells) for i in range(len(head))]

    def line(row):
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w)
                                 for i, (c, w) in enumerate(zip(row, width))) + " |"
    print(line(cells[0]))
    print("|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":")
                         for i, w in enumerate(width)) + "|")
    for row in cells[1:]:
        print(line(row))
    print(flush=True)
