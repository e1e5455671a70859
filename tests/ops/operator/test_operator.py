# SPDX-License-Identifier: Apache-2.0
"""A new operator's day, on a fresh Debian root with a real systemd and the simulated node: the packages are
installed, doctor finds the host wrong and says how to cure it, then green; a real Prometheus watches; a pod
gets a GPU; a GPU breaks; the alert fires; `why` names cause and cure; cured, everything is green again, and
the audit log tells the story and can be verified."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import debroot
import node
import prometheus
from debroot import Failed, wait_for

GPU = "0000:18:00.0"
HOST = "/srv/host"  # what doctor takes for the host: its /proc, /etc, /opt are simulated
RULES = os.path.join(debroot.source_dir(), "deploy", "monitoring", "rules.prometheus.yaml")


def want(truth, what):
    if not truth:
        raise Failed(what)


def step(text):
    print("== " + text, flush=True)


def build(out):
    script = os.path.join(debroot.source_dir(), "deploy/deb/build")
    done = subprocess.run([script, "--build", debroot.bin_dir(), "--out", out], stdout=subprocess.PIPE,
                          text=True, check=True)
    return done.stdout.split()


# ---- Prometheus in the node's network ----

class Inside(prometheus.Prometheus):
    """It runs with this machine's files and the root's network, where pgpud listens on 127.0.0.1."""

    def __init__(self, root, where, rules):
        super().__init__(where, "127.0.0.1:9407", rules)
        self.root = root

    def command(self, line):
        return ["nsenter", "-t", str(self.root.pid), "-n"] + line

    def get(self, path, **query):
        fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
        done = subprocess.run(self.command([sys.executable, "-c", fetch, self.url(path, **query)]),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer")
        return done.stdout


def impatient_rules(where):
    """The shipped rules; only how long a condition must last, and is looked back for, is shorter."""
    with open(RULES, encoding="utf-8") as f:
        text = re.sub(r"(?m)^(\s*for:).*$", r"\1 2s", f.read())
    text = re.sub(r"\[2m\]", "[6s]", text)
    path = os.path.join(where, "rules.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


# ---- doctor ----

def prepare_host(r):
    """The host around the GPUs, as `pgpu-sim host` has it, with the root's own sockets and directories."""
    r.run("pgpu-sim", "host", "--dir", HOST)
    r.sh("set -e; cp %(h)s/var/lib/kubelet/config.yaml /var/lib/kubelet/\n"
         "for d in run var/lib/kubelet var/log etc/pgpu; do\n"
         "    mkdir -p %(h)s/$d; mount --bind /$d %(h)s/$d\n"
         "done\n"
         "mkdir -p %(h)s/var; [ -e %(h)s/var/run ] || ln -s ../run %(h)s/var/run" % {"h": HOST})


def doctor(r, check=None):
    done = r.run("pgpuctl", "--root", debroot.NODE + "/node", "--hwd", "/run/pgpu-hwd/hwd.sock",
                 "doctor", "--host", HOST, "--json", check=None)
    found = json.loads(done.stdout)
    bad = {f["code"]: f for f in found if f["severity"] in ("warning", "error")}
    if check is not None and done.returncode != check:
        raise Failed("doctor: exit status %d instead of %d: %s" % (done.returncode, check, json.dumps(
            list(bad.values()), indent=1)))
    want(all(f["cure"] and f["why"] for f in bad.values()), "a finding has no cure: %s" % bad)
    return done.returncode, bad


def wait_green(r):
    """Until doctor finds nothing; told what it found if that does not happen."""
    last = {}

    def green():
        status, last["bad"] = doctor(r)
        return status == 0
    wait_for(lambda: "doctor green; it finds:\n" + json.dumps(list(last["bad"].values()), indent=1), green)


def one_line(text):
    return " ".join(text.split())


# ---- the day ----

def install(r, debs):
    step("a fresh Debian; before anything is installed there is no pgpu")
    r.boot()
    want(r.run("sh", "-c", "command -v pgpuctl", check=None).returncode != 0, "pgpuctl is there already")
    step("packages installed; the GPUs, kubelet and containerd of the simulated node come up")
    r.install(*debs)
    r.simulate(gpus=4, node_args="--host snp")
    r.sh("systemctl start pgpu-hwd.service pgpud.service")
    for unit in ("pgpu-hwd.service", "pgpud.service"):
        r.wait_active(unit)
    r.wait_healthy(4)
    prepare_host(r)


def find_misconfiguration(r):
    step("doctor: a host that breaks SEV-SNP, found and cured")
    wait_green(r)
    r.sh("sed -i 's/$/ iommu=pt/' %s/proc/cmdline" % HOST)
    status, bad = doctor(r)
    want(status in (1, 2) and any("iommu=pt" in f["seen"] for f in bad.values()),
         "iommu=pt is not found: %s" % bad)
    code = next(c for c, f in bad.items() if "iommu=pt" in f["seen"])
    text = r.run("pgpuctl", "doctor", "--explain", code).stdout
    want("SEV-SNP" in text and "cure" in text, "--explain %s: %s" % (code, text))
    r.sh("sed -i 's/ iommu=pt//' %s/proc/cmdline" % HOST)
    wait_green(r)


def run_pod(r):
    step("a pod gets a GPU, its sandbox runs")
    r.ctl("kubelet", "run default/model nvidia.com/pgpu=1")
    r.ctl("runtime", "run-pod default model kata-qemu-nvidia-gpu-snp kata")
    used = wait_for("a GPU in use", lambda: [
        u for u in r.status()["units"] if u["state"] == "in_use" and u["pod"] == "model"])
    text = one_line(r.run("pgpuctl", "why", "default/model").stdout)
    want(used[0]["id"] in text, "why default/model: " + text)
    return used[0]["id"]


def break_and_cure(r, p, taken):
    victim = next(u["id"] for u in r.status()["units"] if u["id"] != taken)
    step("the firmware of %s falls silent: quarantined, and the alert fires" % victim)
    want(not p.alerts("PgpuDeviceQuarantined"), "the alert is there before its cause")
    r.ctl("node", "fault %s no-reply" % victim)
    said = r.ctl("kubelet", "run default/unlucky nvidia.com/pgpu=3")
    want('"ok":false' in said and victim in said, "the pod was admitted: " + said)
    wait_for("quarantine", lambda: any(u["id"] == victim and u["state"] == "quarantined"
                                       for u in r.status()["units"]))
    p.wait_alert("PgpuDeviceQuarantined", device=victim)
    step("cause and cure by one command")
    text = one_line(r.run("pgpuctl", "why", victim).stdout)
    print("   " + text)
    want("FSP_SILENT" in text or "security processor" in text, "why %s: %s" % (victim, text))
    want("power-cycle" in text, "why says no cure: " + text)
    text = one_line(r.run("pgpuctl", "why", "default/unlucky", check=None).stdout)
    want(victim in text, "why default/unlucky does not lead to the GPU: " + text)
    status, bad = doctor(r)
    want(status != 0 and any(victim in f["object"] for f in bad.values()), "doctor: %s" % bad)
    want(any(u["id"] == taken and u["state"] == "in_use" and u["healthy"] and u["mode_active"] == "on"
             for u in r.status()["units"]), "the GPU in use was touched")
    step("cured: back in service, the alert is over, doctor is green")
    r.ctl("node", "fault %s clear" % victim)
    wait_for("recovery of " + victim, lambda: any(u["id"] == victim and u["healthy"]
                                                  for u in r.status()["units"]))
    wait_for("the end of the alert", lambda: not p.alerts("PgpuDeviceQuarantined"))
    r.ctl("runtime", "stop-pod default/model")
    r.ctl("kubelet", "end default/model")
    r.wait_healthy(4)
    wait_green(r)


def the_record(r, taken):
    step("the audit log tells it, and is whole")
    r.run("pgpuctl", "audit", "verify")
    lines = [json.loads(line) for line in r.read("/var/log/pgpu/audit.log").splitlines()]
    kinds = {line.get("kind") for line in lines}
    want({"start", "allocate", "state", "operation"} <= kinds, "kinds in the audit log: %s" % kinds)
    want(any(taken in json.dumps(line) for line in lines if line.get("kind") == "allocate"),
         "the allocation of %s is not in the audit log" % taken)
    log = os.path.join(r.path, "var/log/pgpu/audit.log")
    with open(log, encoding="utf-8") as f:
        text = f.read()
    with open(log, "w", encoding="utf-8") as f:
        f.write(text.replace(taken, "0000:99:00.0", 1))
    done = r.run("pgpuctl", "audit", "verify", check=1)
    want("audit.log" in done.stdout + done.stderr, "the edit is not located: " + done.stdout + done.stderr)
    with open(log, "w", encoding="utf-8") as f:
        f.write(text)
    r.run("pgpuctl", "audit", "verify")


def main():
    debroot.require()
    prometheus.programs()  # skipped before anything is built where there is none
    work = tempfile.mkdtemp(prefix="pgpu-operator.")
    try:
        debs = build(os.path.join(work, "debs"))
        with debroot.Root(debs) as r:
            install(r, debs)
            find_misconfiguration(r)
            taken = run_pod(r)
            with Inside(r, os.path.join(work, "prometheus"), impatient_rules(work)) as p:
                break_and_cure(r, p, taken)
            the_record(r, taken)
    except (Failed, node.Failed) as e:
        print("FAILED: %s" % e)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
