# SPDX-License-Identifier: Apache-2.0
"""Debian's Prometheus for tests: found or fetched, and run on a configuration of the test's.

Nothing is installed, so that no service of the machine starts: where `prometheus` and `promtool`
are not there, Debian's package is fetched by apt (from the machine's own sources, checked by it)
and unpacked into the cache."""

import fcntl
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import node

PACKAGE = "prometheus"


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(os.environ.get("PGPU_CACHE_DIR") or base + "/pgpu", "prometheus")


def apt(*words, cwd=None):
    done = subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root"] + list(words),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, cwd=cwd)
    return done.returncode == 0, done.stdout.strip()


def fetch(to):
    """Unpacks the package into the folder `to`; returns why not, or None."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "no apt and dpkg here"
    work = to + ".new"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    good, said = apt("download", PACKAGE, cwd=work)
    if not good and os.geteuid() == 0:  # no lists yet, or old ones
        apt("update")
        good, said = apt("download", PACKAGE, cwd=work)
    if not good:
        return "apt-get download %s: %s" % (PACKAGE, said.splitlines()[-1] if said else "failed")
    deb = glob.glob(work + "/*.deb")[0]
    subprocess.run(["dpkg-deb", "-x", deb, work + "/x"], check=True)
    os.makedirs(work + "/bin")
    for name in ("prometheus", "promtool"):
        os.rename("%s/x/usr/bin/%s" % (work, name), "%s/bin/%s" % (work, name))
    shutil.rmtree(work + "/x")
    os.unlink(deb)
    shutil.rmtree(to, ignore_errors=True)
    os.rename(work, to)
    return None


def programs():
    """Paths of prometheus and promtool; ends the test as skipped where they cannot be had."""
    found = [shutil.which(n) for n in ("prometheus", "promtool")]
    if all(found):
        return found
    to = os.path.join(cache_dir(), "debian")
    os.makedirs(cache_dir(), exist_ok=True)
    with open(to + ".lock", "w", encoding="utf-8") as lock:  # tests may run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.access(to + "/bin/promtool", os.X_OK):
            why = fetch(to)
            if why:
                node.skip("Prometheus is not here and cannot be fetched: " + why)
    return [to + "/bin/prometheus", to + "/bin/promtool"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def promtool(*words, text=None):
    """Runs promtool; returns exit status and everything that it printed."""
    done = subprocess.run([programs()[1]] + list(words), input=text or "", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


class Prometheus:
    """A Prometheus that scrapes `target` ("127.0.0.1:9407") as the job "pgpu", with the rules of a
    file, below the folder `where`."""

    def __init__(self, where, target, rules=None, interval="1s"):
        self.where, self.port = where, free_port()
        os.makedirs(where, exist_ok=True)
        self.log = where + "/prometheus.log"
        config = {"global": {"scrape_interval": interval, "evaluation_interval": interval},
                  "rule_files": [rules] if rules else [],
                  "scrape_configs": [{"job_name": "pgpu", "static_configs": [
                      {"targets": [target], "labels": {"instance": "node-1"}}]}]}
        with open(where + "/prometheus.yml", "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.process = None

    def __enter__(self):
        line = [programs()[0], "--config.file=" + self.where + "/prometheus.yml",
                "--storage.tsdb.path=" + self.where + "/data", "--log.level=warn",
                "--web.listen-address=127.0.0.1:%d" % self.port]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(line), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            node.wait_for(lambda: "Prometheus to answer, see " + self.log, self.answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *what):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(node.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answers(self):
        if self.process.poll() is not None:
            raise node.Failed("Prometheus ended, see " + self.log)
        try:
            return self.get("/-/ready") is not None
        except OSError:
            return False

    def command(self, line):
        """How it is started."""
        return line

    def url(self, path, **query):
        url = "http://127.0.0.1:%d%s" % (self.port, path)
        return url + "?" + urllib.parse.urlencode(query) if query else url

    def get(self, path, **query):
        with urllib.request.urlopen(self.url(path, **query), timeout=node.PATIENCE) as r:
            return r.read().decode()

    def query(self, expr):
        """Instant query: a list of (labels, value). Raises Failed if Prometheus refuses it."""
        try:
            got = json.loads(self.get("/api/v1/query", query=expr))
        except urllib.error.HTTPError as e:
            raise node.Failed("%s: %s" % (expr, e.read().decode())) from None
        data = got["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(r["metric"], float(r["value"][1])) for r in data["result"]]

    def alerts(self, name=None):
        """Active alerts (pending or firing), of all rules or of one."""
        every = json.loads(self.get("/api/v1/alerts"))["data"]["alerts"]
        return [a for a in every if name in (None, a["labels"]["alertname"])]

    def wait_alert(self, name, limit=None, **labels):
        """Until the alert fires with these labels; returns it."""
        def look():
            for a in self.alerts(name):
                if a["state"] == "firing" and labels.items() <= a["labels"].items():
                    return a
            return None
        return node.wait_for(lambda: "alert %s %s; there are %s" % (
            name, labels, [a["labels"] for a in self.alerts()]), look, limit)
