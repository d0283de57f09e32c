"""Starting: options, mistakes in them, who may listen where, and the end."""
import os
import re
import signal
import socket
import subprocess

import pytest

import inferd

CONFIG_MISTAKE = 78
CONTRACT = [
    "http.host", "http.port", "http.max_content_length", "path.data", "path.models",
    "xpack.security.enabled", "xpack.inference.http.retry.initial_delay",
    "xpack.inference.http.retry.max_delay_bound", "xpack.inference.http.retry.timeout",
    "xpack.inference.http.max_response_size", "xpack.inference.http.connect_timeout",
    "inference.upstream.allow_private", "node.processors", "node.shutdown_grace", "store",
    "logger.level", "logger.format",
]


def run(*args, env=None, cwd=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("INFERD_", "ELASTIC_"))}
    return subprocess.run([inferd.binary(), *args], env=dict(clean, **(env or {})), cwd=cwd,
                          capture_output=True, text=True, timeout=20 * inferd.FACTOR)


def ended(server):
    """A server that should not start: its exit status and its log."""
    server.launch()
    status = server.wait_exit(10)
    return status, server.log()


def test_help_settings_lists_every_setting_with_its_default():
    result = run("--help-settings")
    assert result.returncode == 0
    for name in CONTRACT:
        assert re.search(rf"(?m)^{re.escape(name)} ", result.stdout), name
    assert re.search(r"(?m)^http.port \(.*9200\)", result.stdout)
    assert "inference.upstream.<service>.base_url" in result.stdout


def test_help_and_version():
    assert run("--help").returncode == 0
    assert run("--version").stdout.startswith("inferd ")
    assert run("--no-such-option").returncode not in (0, 1)


def test_check_config_accepts_a_good_file(tmp_path):
    good = tmp_path / "good.yml"
    good.write_text("http.port: 9300\nlogger:\n  level: debug\nhttp:\n  host: 127.0.0.1\n"
                    "inference.upstream.openai.base_url: http://127.0.0.1:1\n")
    result = run("--check-config", "--config", str(good))
    assert (result.returncode, result.stderr) == (0, "")


def test_check_config_says_each_mistake_with_file_and_line(tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text("# comment\nhttp.port: 70000\nlogger.level: loud\n\nno.such: 1\n"
                   "xpack:\n  security:\n    enabled: maybe\n"
                   "node.shutdown_grace: 5 parsecs\n")
    result = run("--check-config", "--config", str(bad))
    assert result.returncode == CONFIG_MISTAKE
    for line, word in ((2, "http.port"), (3, "logger.level"), (5, "no.such"),
                       (8, "xpack.security.enabled"), (9, "node.shutdown_grace")):
        assert re.search(rf"(?m)^{re.escape(str(bad))}:{line}: .*{re.escape(word)}",
                         result.stderr), (line, result.stderr)
    assert len(result.stderr.splitlines()) == 5


@pytest.mark.parametrize("text, line", [
    ("http.port: [1, 2]\n", 1),
    ("a: b: c\n", 1),
    ("http.port: 1\nhttp.port: 2\n", 2),
    ("http.port: 1\nhttp:\n  port: 2\n", 3),
    ("\t\thttp.port: 1\n", 1),
    ("just text\n", 1),
])
def test_check_config_on_what_is_no_settings_file(tmp_path, text, line):
    bad = tmp_path / "bad.yml"
    bad.write_text(text)
    result = run("--check-config", "--config", str(bad))
    assert result.returncode == CONFIG_MISTAKE
    assert result.stderr.startswith(f"{bad}:{line}: ")


def test_a_missing_file_is_a_mistake(tmp_path):
    result = run("--check-config", "--config", str(tmp_path / "none.yml"))
    assert result.returncode == CONFIG_MISTAKE
    assert "none.yml" in result.stderr


def test_mistakes_of_the_command_line_and_the_environment():
    result = run("--check-config", "-E", "http.port=x", "-E", "foo", "-E", "no.such=1",
                 env={"INFERD_LOGGER_LEVEL": "loud"})
    assert result.returncode == CONFIG_MISTAKE
    for word in ("-E http.port=x: ", "-E foo: ", "-E no.such=1: ", "INFERD_LOGGER_LEVEL: "):
        assert word in result.stderr
    for url in ("ftp://x", "http://", "https://a b", "http://x?y=1"):
        result = run("--check-config", "-E", f"inference.upstream.openai.base_url={url}")
        assert result.returncode == CONFIG_MISTAKE, url


def test_command_line_over_environment_over_file(tmp_path):
    """The last one standing is the only one that is read, mistakes of the others included."""
    config = tmp_path / "c.yml"
    config.write_text("node.name: from-file\ncluster.name: from-file\nhttp.port: 0\n")
    server = inferd.Inferd(tmp_path / "s", settings={"node.name": "from-line"},
                           env={"INFERD_NODE_NAME": "from-env", "cluster.name": "from-env"},
                           config=str(config)).start()
    try:
        root = server.get("/").json
        assert (root["name"], root["cluster_name"]) == ("from-line", "from-env")
    finally:
        server.stop()


def test_a_mistake_keeps_the_server_from_starting(spawn):
    server = spawn({"logger.level": "loud"}, start=False)
    status, log = ended(server)
    assert status == CONFIG_MISTAKE
    assert "logger.level" in log
    assert not os.path.exists(os.path.join(server.data, "http.port"))


def test_port_zero_is_told_in_the_log_and_in_a_file(spawn):
    server = spawn()
    lines = [l for l in server.log_lines() if l["message"] == "listening"]
    assert len(lines) == 1
    assert lines[0]["http.port"] == server.port > 0
    assert lines[0]["http.host"] == "127.0.0.1"
    assert lines[0]["log.level"] == "INFO" and "@timestamp" in lines[0]


def test_health_needs_no_credentials(spawn):
    answer = spawn().get("/_health", auth=None)
    assert answer.status == 200


def test_a_second_server_on_the_same_data_is_refused(spawn):
    first = spawn()
    second = inferd.Inferd(first.folder)
    second.logs = 10
    os.rename(os.path.join(first.data, "http.port"), os.path.join(first.data, "kept"))
    second.launch()
    os.rename(os.path.join(first.data, "kept"), os.path.join(first.data, "http.port"))
    assert second.wait_exit(10) == 1, second.log()
    entry = [l for l in second.log_lines() if l["log.level"] == "ERROR"]
    assert entry and first.data in second.log()
    assert first.get("/").status == 200
    with open(os.path.join(first.data, "http.port")) as f:
        assert int(f.read()) == first.port, "the refused server wrote over the port file"


def test_a_second_server_on_the_same_port_is_refused(spawn):
    first = spawn()
    second = spawn({"http.port": str(first.port)}, name="b", start=False)
    status, log = ended(second)
    assert status == 1
    assert "use" in log and str(first.port) in log
    assert first.get("/").status == 200


def test_a_port_that_another_program_has_is_refused(spawn):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, log = ended(spawn({"http.port": str(port)}, start=False))
    assert status == 1
    assert str(port) in log


def test_a_data_path_that_cannot_be_is_refused(spawn, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    status, log = ended(spawn({"path.data": str(file / "data")}, start=False))
    assert status == 1
    assert "ERROR" in log and "file" in log


def test_no_security_only_where_no_one_else_reaches(spawn):
    status, log = ended(spawn({"xpack.security.enabled": "false", "http.host": "0.0.0.0"},
                              start=False))
    assert status == 1
    assert "security.allow_insecure" in log
    server = spawn({"xpack.security.enabled": "false"}, name="b")
    assert server.get("/", auth=None).status == 200
    assert server.get("/_xpack", auth=None).json["features"]["security"]["enabled"] is False
    server = spawn({"xpack.security.enabled": "false", "http.host": "0.0.0.0",
                    "security.allow_insecure": "true"}, name="c")
    assert server.get("/", auth=None).status == 200


def test_data_is_for_the_owner_alone(spawn):
    server = spawn()
    for folder, _, files in os.walk(server.data):
        for name in files:
            if name == "http.port":
                continue
            mode = os.stat(os.path.join(folder, name)).st_mode
            assert mode & 0o077 == 0, f"{name} has mode {mode & 0o777:o}"


def test_the_memory_store_forgets(spawn):
    server = spawn({"store": "memory"})
    server.make("completion", "x", "openai", {"api_key": inferd.MARK, "model_id": "m"})
    server.restart()
    assert server.get("/_inference/x").status == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_status_zero(spawn, number):
    server = spawn()
    server.signal(number)
    assert server.wait_exit(5) == 0
    assert server.log_lines()[-1]["message"] == "stopped"


def test_hangup_reads_the_log_level_again(spawn, tmp_path):
    config = tmp_path / "c.yml"
    config.write_text("logger.level: error\n")
    server = spawn(config=str(config))
    assert server.log_lines() == []
    config.write_text("logger.level: debug\n")
    server.signal(signal.SIGHUP)
    inferd.wait_until(lambda: any(l["message"] == "reloaded" for l in server.log_lines()), 5)
    server.get("/")
    inferd.wait_until(lambda: any(l["message"] == "request" for l in server.log_lines()), 5)
    config.write_text("logger.level: loud\n")
    server.signal(signal.SIGHUP)
    inferd.wait_until(lambda: any("c.yml:1: " in l.get("mistakes", "") for l in server.log_lines()), 5)
    assert server.alive() and server.get("/").status == 200


def test_plain_log(spawn):
    server = spawn({"logger.format": "plain"}, start=False)
    server.launch()
    server.wait_ready()
    log = server.log()
    assert "listening" in log and not log.startswith("{")
    server.signal(signal.SIGTERM)
    assert server.wait_exit(5) == 0
