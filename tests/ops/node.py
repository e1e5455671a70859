# SPDX-License-Identifier: Apache-2.0
"""A simulated node for tests of what operators use: every program as a process of its own, all
below one private directory. Python 3, nothing but its library.

    with node.Node(gpus=8, pgpud={"mode": "on"}) as n:
        n.wait_healthy("nvidia.com/pgpu", 8)
        n.node("fault 0000:18:00.0 fsp-silent")
        n.wait_unit("0000:18:00.0", state="quarantined")
        done = n.pgpuctl("why", "0000:18:00.0")          # CompletedProcess, text

Programs come from PGPU_BIN_DIR (a build directory); `programs` names others, as those that a
package installed. With PGPU_TEST_KEEP in the environment the directory is left for a look.
"""

import ctypes
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Waits end as soon as what is waited for has come: the limit is for a loaded, emulated machine.
PATIENCE = float(os.environ.get("PGPU_TEST_PATIENCE", "30"))

SKIPPED = 77
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """Something did not happen; the text says what, and where the logs are."""


def skip(why):
    """Ends the test as skipped."""
    print("SKIP: " + why)
    sys.exit(SKIPPED)


def require_simulation():
    """Ends the test as skipped where the simulated node cannot run."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("the simulated node needs /dev/fuse and root")


def bin_dir():
    return os.environ.get("PGPU_BIN_DIR", ".")


def source_dir():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("PGPU_SOURCE_DIR", os.path.dirname(os.path.dirname(here)))


def wait_for(what, check, limit=None, pause=0.05):
    """Calls `check` until it returns something true, and returns that. `what` is for the failure,
    a text or a callable that makes one."""
    end = time.monotonic() + (PATIENCE if limit is None else limit)
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed("did not happen in time: " + (what() if callable(what) else what))
        time.sleep(pause)


def ask(path, line, limit=None):
    """One request line to a control socket; the whole answer as text."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as s:
        s.settimeout(PATIENCE if limit is None else limit)
        s.connect(path)
        s.sendall(line.encode() + b"\n")
        out = b""
        while True:
            part = s.recv(65536)
            if not part:
                return out.decode()
            out += part


def merged(base, over):
    """`base` with what `over` says; dicts are merged key by key."""
    out = dict(base)
    for k, v in (over or {}).items():
        out[k] = merged(out[k], v) if isinstance(v, dict) and isinstance(out.get(k), dict) else v
    return out


class Node:
    """Owns the directory and the processes. Starts node, hwd, kubelet, runtime and pgpud (those of
    `start`); leaving the context ends all of them.

    pgpud, hwd: dicts laid over the configurations; time_scale: of the GPUs' own delays (1 = as
    long as on hardware); node_args and the like: more words for `pgpu-sim`; wrap: words before a
    program's command line ({"pgpud": ["strace", "-f"]}), log_level of pgpud."""

    ALL = ("node", "hwd", "kubelet", "runtime", "pgpud")

    def __init__(self, gpus=8, start=ALL, pgpud=None, hwd=None, time_scale=0.02, node_args=(),
                 kubelet_args=(), runtime_args=(), programs=None, wrap=None, log_level="info",
                 env=None):
        self.dir = tempfile.mkdtemp(prefix="pgpu-ops.")
        self.gpus, self.time_scale = gpus, time_scale
        self.args = {"node": list(node_args), "kubelet": list(kubelet_args),
                     "runtime": list(runtime_args)}
        b = bin_dir()
        self.programs = merged({"pgpud": b + "/daemon/pgpud", "pgpu-hwd": b + "/hwd/pgpu-hwd",
                                "pgpuctl": b + "/cli/pgpuctl", "pgpu-sim": b + "/sim/pgpu-sim"},
                               programs)
        self.wrap, self.env = wrap or {}, env
        self.process = {}
        self.to_start = start
        self.pgpud_config = merged({
            "kubelet": {"plugin_dir": self.path("kubelet/device-plugins"),
                        "pod_resources": self.path("kubelet/pod-resources/kubelet.sock")},
            "cdi_dir": self.path("cdi"), "state_dir": self.path("state"),
            "hwd_socket": self.path("hwd/hwd.sock"),
            "control_socket": self.path("state/control.sock"),
            "nri": {"sockets": [self.path("nri.sock")]}, "log": {"level": log_level},
            "http": {"listen": "unix:" + self.path("http.sock")},
            "audit": {"file": self.path("audit.log")},
            "nfd": {"dir": self.path("features.d")},
            "validations": {"dir": self.path("validations")},
            "pod_poll": "200ms", "kubelet_settle": "500ms", "unseen_grace": "1s",
            "recovery_delay": "50ms"}, pgpud)
        self.hwd_config = hwd or {}

    # ---- starting and ending ----

    def __enter__(self):
        for d in ("root", "kubelet/device-plugins", "kubelet/pod-resources", "cdi", "nvram",
                  "features.d", "validations"):
            os.makedirs(self.path(d), mode=0o700)
        try:
            for name in self.ALL:
                if name in self.to_start:
                    self.run(name)
        except BaseException:
            self.close(quiet=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind and not issubclass(kind, SystemExit):
            self.tell_logs()
        self.close(quiet=kind is not None)

    def path(self, name):
        return os.path.join(self.dir, name)

    def command(self, name):
        p, d = self.programs, self.path
        if name == "node":
            return [p["pgpu-sim"], "node", "--mount", d("root"), "--control", d("node.sock"),
                    "--uevents", d("uevents.sock"), "--state", d("nvram"), "--time-scale",
                    str(self.time_scale), "--gpus", str(self.gpus)] + self.args["node"]
        if name == "kubelet":
            return [p["pgpu-sim"], "kubelet", "--dir", d("kubelet"), "--control",
                    d("kubelet.sock")] + self.args["kubelet"]
        if name == "runtime":
            return [p["pgpu-sim"], "runtime", "--nri", d("nri.sock"), "--control",
                    d("runtime.sock"), "--root", d("root"), "--cdi-dir", d("cdi"),
                    "--pod-resources",
                    d("kubelet/pod-resources/kubelet.sock")] + self.args["runtime"]
        if name == "hwd":
            return [p["pgpu-hwd"], "--root", d("root"), "--socket", d("hwd/hwd.sock"), "--config",
                    d("hwd.yaml"), "--uevent-socket", d("uevents.sock")]
        return [p["pgpud"], "--config", d("pgpud.yaml")]

    def write_configs(self):
        """Also JSON is YAML. Change pgpud_config or hwd_config, write, and restart or reload."""
        for name, conf in (("pgpud.yaml", self.pgpud_config), ("hwd.yaml", self.hwd_config)):
            with open(self.path(name), "w", encoding="utf-8") as f:
                json.dump(conf, f, indent=1)

    def run(self, name):
        """Starts a program and waits until it serves."""
        assert name not in self.process, name + " runs already"
        self.write_configs()
        ours, theirs = os.pipe()
        # the number stays what it is in the child, whatever it is
        line = self.wrap.get(name, []) + self.command(name) + ["--ready-fd", str(theirs)]
        libc, parent = ctypes.CDLL(None), os.getpid()
        # the node must unmount; the others need no farewell if this program is killed
        sig = signal.SIGTERM if name == "node" else signal.SIGKILL

        def child():
            libc.prctl(PR_SET_PDEATHSIG, sig)
            if os.getppid() != parent:
                os._exit(1)

        with open(self.log(name), "ab") as log:
            self.process[name] = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs],
                preexec_fn=child, env={**os.environ, **(self.env or {})})
        os.close(theirs)
        ready = select.select([ours], [], [], PATIENCE)[0] and os.read(ours, 64)
        os.close(ours)
        if not ready:
            raise Failed("%s did not become ready, see %s" % (name, self.log(name)))

    def stop(self, name, sig=signal.SIGTERM):
        """Ends a program and returns its exit status (negative: the signal)."""
        p = self.process.pop(name)
        p.send_signal(sig)
        try:
            return p.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise Failed("%s did not end by signal %d, see %s" % (name, sig, self.log(name)))

    def restart(self, name, sig=signal.SIGTERM):
        if name in self.process:
            self.stop(name, sig)
        self.run(name)

    def close(self, quiet=False):
        bad = []
        for name in reversed(self.ALL):
            if name not in self.process:
                continue
            try:
                status = self.stop(name)
                if status != 0:
                    bad.append("%s ended with %d, see %s" % (name, status, self.log(name)))
            except Failed as e:
                bad.append(str(e))
        if os.path.ismount(self.path("root")):
            subprocess.run(["umount", "-l", self.path("root")], check=False)
            bad.append("pgpu-sim left %s mounted" % self.path("root"))
        if not quiet and bad:
            self.tell_logs()
        if "PGPU_TEST_KEEP" not in os.environ:
            shutil.rmtree(self.dir, ignore_errors=True)
        if not quiet and bad:
            raise Failed("; ".join(bad))

    def log(self, name):
        return self.path(name + ".log")

    def tell_logs(self, lines=25):
        """The ends of the logs, for a failed test."""
        for name in self.ALL:
            if os.path.exists(self.log(name)):
                with open(self.log(name), encoding="utf-8", errors="replace") as f:
                    for line in f.readlines()[-lines:]:
                        sys.stderr.write("%s: %s" % (name, line))

    # ---- talking ----

    def node(self, line):
        """A command to the simulated hardware (`pgpu-sim ctl`); the answer without its "ok"."""
        head, _, rest = ask(self.path("node.sock"), line).partition("\n")
        if not head.startswith("ok"):
            raise Failed("node command %r: %s" % (line, head))
        return rest

    def _json(self, who, line):
        text = ask(self.path(who + ".sock"), line)
        try:
            return json.loads(text)
        except ValueError:
            raise Failed("%s command %r: %s" % (who, line, text)) from None

    def kubelet(self, line):
        """A command to the kubelet stand-in; its answer, decoded."""
        return self._json("kubelet", line)

    def runtime(self, line):
        """A command to the container runtime stand-in; its answer, decoded."""
        return self._json("runtime", line)

    def control(self, line):
        """A request to pgpud's control socket, as text."""
        return ask(self.pgpud_config["control_socket"], line)

    def status(self):
        return json.loads(self.control("status"))

    def unit(self, device):
        for u in self.status()["units"]:
            if u["id"] == device:
                return u
        raise Failed("pgpud knows no " + device)

    def units(self):
        return self.status()["units"]

    def pgpuctl(self, *words, check=None, root=True, **more):
        """Runs pgpuctl against this node. check: the exit status that is wanted."""
        line = [self.programs["pgpuctl"]]
        line += ["--root", self.path("root")] if root else []
        line += ["--control", self.pgpud_config["control_socket"], "--hwd",
                 self.pgpud_config["hwd_socket"]]
        done = subprocess.run(line + list(words), stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=2 * PATIENCE,
                              env={**os.environ, **(self.env or {})}, check=False, **more)
        if check is not None and done.returncode != check:
            raise Failed("pgpuctl %s: exit status %d instead of %d\n%s%s" % (
                " ".join(words), done.returncode, check, done.stdout, done.stderr))
        return done

    def http(self, path, method="GET", **headers):
        """A request to pgpud's HTTP server, TCP or unix socket: (status, headers, text)."""
        at = self.pgpud_config["http"]["listen"]
        if at.startswith("unix:"):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(PATIENCE)
            s.connect(at[len("unix:"):])
        else:
            host, port = at.rsplit(":", 1)
            s = socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), PATIENCE)
        with s:
            lines = ["%s %s HTTP/1.1" % (method, path), "Host: node"]
            lines += ["%s: %s" % (k.replace("_", "-"), v) for k, v in headers.items()]
            s.sendall("\r\n".join(lines + ["", ""]).encode())
            answer = http.client.HTTPResponse(s, method=method)
            answer.begin()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

    # ---- waiting ----

    def alive(self):
        """Fails if a program has ended by itself."""
        for name, p in self.process.items():
            if p.poll() is not None:
                raise Failed("%s ended with %d, see %s" % (name, p.returncode, self.log(name)))

    def wait_for(self, what, check, limit=None):
        """wait_for, as long as all programs live."""
        def look():
            self.alive()
            return check()
        return wait_for(what, look, limit)

    def wait_healthy(self, resource, count, limit=None):
        """Until the kubelet sees `count` Healthy devices of the resource."""
        last = []

        def look():
            found = [r for r in self.kubelet("status")["resources"] if r["name"] == resource]
            last[:] = [r["allocatable"] for r in found]
            return last == [count]

        self.wait_for(lambda: "%d Healthy %s; there are %s" % (count, resource, last or "none"), look,
                 limit)

    def wait_unit(self, device, limit=None, **values):
        """Until pgpud's status shows the device with these values: state="ready", reason="NONE"."""
        last = {}

        def look():
            last.clear()
            last.update(self.unit(device))
            return all(last.get(k) == v for k, v in values.items())

        self.wait_for(lambda: "%s with %s; it is %s" % (
            device, values, {k: last.get(k) for k in {*values, "state", "reason", "why"}}), look,
                 limit)

    # ---- pods ----

    def admit(self, pod, **resources):
        """Admits the pod "NS/NAME" with the kubelet: resources as pgpu=2 or
        **{"nvidia.com/nvswitch": 4}. Fails if it is refused."""
        words = ["%s=%d" % (k if "/" in k else "nvidia.com/" + k, v) for k, v in resources.items()]
        got = self.kubelet("run %s %s" % (pod, " ".join(words)))
        if not got.get("ok"):
            raise Failed("pod %s was not admitted: %s" % (pod, got))
        return got

    def end(self, pod):
        return self.kubelet("end " + pod)
