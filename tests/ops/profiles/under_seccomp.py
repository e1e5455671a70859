# SPDX-License-Identifier: Apache-2.0
"""deploy/profiles/seccomp: the programs do their work under the profiles, and what a hole in them would
be used for is refused.

pgpud runs as its container does: no capability, everything but its directories read-only. A system call
that a profile has not would end the program here, where a node only refuses it: so what is missing is
seen.
"""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tarfile

import node

UNDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run_under.py")
PROFILES = os.path.join(node.source_dir(), "deploy/profiles/seccomp")


def profile(name):
    return os.path.join(PROFILES, name + ".json")


def under(name, program, *options):
    # a sanitizer's own system calls are nobody's business
    with open(program, "rb") as f:
        action = "log" if b"__asan_init" in f.read() else "kill"
    return [sys.executable, "-B", UNDER, "--default", action, *options, profile(name)]


def as_on_a_node(name, *options):
    """What the profile has not is refused; the program goes on."""
    return [sys.executable, "-B", UNDER, *options, profile(name)]


def refusals():
    """What each profile refuses, asked of the kernel."""
    allowed = {
        "pgpud": {"socket AF_INET", "socket AF_UNIX", "clone a thread", "memfd_create"},
        "pgpu-hwd": {"socket AF_NETLINK", "socket AF_UNIX", "socketpair", "clone a thread", "clone a process"}}
    for name, through in allowed.items():
        done = subprocess.run([sys.executable, "-B", UNDER, "--probe", profile(name)], check=False,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode == node.SKIPPED:
            print(done.stdout)
            sys.exit(node.SKIPPED)
        out = done.stdout.splitlines()
        answers = dict(line.split(": ") for line in out)
        got = {k for k, v in answers.items() if v == "through"}
        if len(answers) < 25 or got != through:
            raise node.Failed("%s: %s get through, not %s" % (name, sorted(got), sorted(through)))
        print("%s: %d of %d probes refused" % (name, len(answers) - len(got), len(answers)))


def work():
    """Arming, handing out, use, release, a fault and its cure, restarts of everybody, metrics."""
    b = node.bin_dir()
    n = node.Node(gpus=2)
    n.pgpud_config["http"] = {"listen": "unix:" + n.path("state/http.sock")}
    n.wrap = {"pgpud": under("pgpud", b + "/daemon/pgpud", "--drop-capabilities", "--read-only",
                             "--writable", n.dir),
              "hwd": under("pgpu-hwd", b + "/hwd/pgpu-hwd")}
    with n:
        try:
            story(n, b)
        except (node.Failed, OSError):
            for name, process in n.process.items():
                if process.poll() == -signal.SIGSYS:
                    raise node.Failed("%s made a system call that its profile has not; the kernel's "
                                      "log says which (type=1326 ... syscall=)" % name) from None
            raise
    print("the node did its work under both profiles")


def story(n, b):
    n.wait_healthy("nvidia.com/pgpu", 2)
    device = n.kubelet("run default/a nvidia.com/pgpu=1")["granted"][0]["ids"][0]
    n.runtime("run-pod default a kata-qemu-nvidia-gpu-snp kata")
    n.runtime("create-container default/a main")
    n.wait_unit(device, state="in_use")
    probes(n, b)
    n.kubelet("end default/a")
    n.runtime("stop-pod default/a")
    n.wait_healthy("nvidia.com/pgpu", 2)
    n.restart("kubelet")
    n.wait_healthy("nvidia.com/pgpu", 2)
    n.restart("hwd")
    n.restart("pgpud")
    n.wait_healthy("nvidia.com/pgpu", 2)
    n.restart("runtime")
    node.wait_for("the new runtime's session",
                  lambda: n.status()["nri"]["sessions"][0]["up"])


def fetch(path):
    """/metrics on a unix socket; one request a connection."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(node.PATIENCE)
        s.connect(path)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        text = b""
        while part := s.recv(65536):
            text += part
        return text.decode()


def probes(n, b):
    """Metrics; and pgpuctl as a probe or by `kubectl exec`: under the profile of its container."""
    if "pgpud_build_info" not in fetch(n.path("state/http.sock")):
        raise node.Failed("no metrics")
    where = ["--control", n.pgpud_config["control_socket"], "--hwd", n.pgpud_config["hwd_socket"]]
    for name, words in (("pgpud", ["health", "live"]), ("pgpud", ["health", "ready"]),
                        ("pgpud", ["status"]), ("pgpu-hwd", ["health", "hwd"])):
        done = subprocess.run(under(name, b + "/cli/pgpuctl") + [b + "/cli/pgpuctl", *where, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0 or (words[0] != "health" and not done.stdout):
            raise node.Failed("pgpuctl %s: %d %s%s" % (words, done.returncode, done.stdout, done.stderr))
    support_dump(n, b, where)


def support_dump(n, b, where):
    """As by `kubectl exec`: the root is read-only, /run/pgpu is not. doctor looks at the bus from a process of
    its own, which pgpud's profile has not: it says so, and the rest is there."""
    archive = n.path("state/x.tar.gz")
    line = as_on_a_node("pgpud", "--drop-capabilities", "--read-only", "--writable", n.dir)
    line += [b + "/cli/pgpuctl", *where, "support-dump", "--config", n.path("pgpud.yaml"), "--output"]
    for out in (archive, "-"):
        done = subprocess.run(line + [out], capture_output=True, check=False)
        if done.returncode != 0:
            raise node.Failed("pgpuctl support-dump: %d %s" % (done.returncode, done.stderr.decode()))
    if not done.stdout.startswith(b"\x1f\x8b"):
        raise node.Failed("on standard output: %r" % done.stdout[:100])
    with tarfile.open(archive) as tar:
        text = {m.name.split("/", 1)[1]: tar.extractfile(m).read().decode() for m in tar if m.isfile()}
    os.unlink(archive)
    manifest = json.loads(text["MANIFEST.json"])
    missing = {f["name"]: f["missing"] for f in manifest["files"] if "missing" in f}
    kinds = {json.loads(line)["kind"] for line in text["events.jsonl"].splitlines()}
    checks = {c["area"]: c["severity"] for c in json.loads(text["doctor.json"])}
    looks = {"units": len(json.loads(text["status.json"])["units"]) == 2,
             "devices": len(json.loads(text["devices.json"])) == 2,
             "events": {"start", "allocate"} <= kinds,
             "audit": json.loads(text["audit/verify.json"])["ok"] and text["audit/tail.jsonl"].count("\n") > 5,
             "doctor": len(checks) > 5, "cdi": '"nvidia.com/pgpu"' in text["cdi/nvidia.com-pgpu.json"],
             "config": n.dir in text["config/pgpud.yaml"]}
    if not all(looks.values()):
        raise node.Failed("support-dump: %s; events %s; checks %s; %s" % (
            looks, sorted(kinds), checks, text["audit/verify.json"]))
    if {k for k in missing if not k.startswith(("sysfs/", "lockdown", "cmdline", "os-release"))}:
        raise node.Failed("support-dump lacks: %s" % missing)


def main():
    node.require_simulation()
    if platform.machine() != "x86_64":
        node.skip("the probes have x86-64's numbers")
    refusals()
    work()


if __name__ == "__main__":
    try:
        main()
    except node.Failed as e:
        sys.exit("FAILED: %s" % e)
