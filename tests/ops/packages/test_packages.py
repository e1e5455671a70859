# SPDX-License-Identifier: Apache-2.0
"""The Debian packages, in a fresh root with a real systemd on the simulated node: made twice alike, clean
for lintian, installed over an older version while a pod has a GPU, services confined as the units say, a
boot in which the kubelet waits for the GPUs but not for ever, removed and purged without a trace."""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import debroot
from debroot import Failed, wait_for

UNITS = ("pgpud.service", "pgpu-hwd.service", "pgpu-wait.service")
POD = "default/model"
HANDLER = "kata-qemu-nvidia-gpu-snp"
FEATURES = "/etc/kubernetes/node-feature-discovery/features.d"
VALIDATIONS = {"vfio-pci-ready", "workload-type", ".cc-manager-ctr-ready"}
OURS = "pgpu.feature.node.kubernetes.io/"
# there before the package, with modes that are not those of its tmpfiles.d
OTHERS_DIRECTORIES = """
mkdir -p /var/lib/kubelet/device-plugins /run/nri /run/cdi
chown daemon /var/lib/kubelet
chmod 711 /var/lib/kubelet
chmod 755 /var/lib/kubelet/device-plugins /run/nri
chmod 700 /run/cdi
"""


def want(truth, what):
    if not truth:
        raise Failed(what() if callable(what) else what)


def step(text):
    print("== " + text, flush=True)


def builds(*lines):
    """{package: path} of each build of the packages; they are made at the same time."""
    script = os.path.join(debroot.source_dir(), "deploy/deb/build")
    running = [subprocess.Popen([script, "--build", debroot.bin_dir(), "--out"] + line,
                                stdout=subprocess.PIPE, text=True) for line in lines]
    made = []
    for p in running:
        out = p.communicate()[0]
        want(p.returncode == 0, "the packages could not be made")
        made.append({os.path.basename(f).split("_")[0]: f for f in out.split()})
    return made


def version_of(deb):
    return subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def older(debs, out, version):
    """The same packages as another version: what dpkg goes by is in their control files alone."""
    made = {}
    for name, path in debs.items():
        tree = os.path.join(out, name)
        subprocess.run(["dpkg-deb", "-R", path, tree], check=True)
        with open(tree + "/DEBIAN/control", encoding="utf-8") as f:
            control = f.read().replace(version_of(path), version)
        with open(tree + "/DEBIAN/control", "w", encoding="utf-8") as f:
            f.write(control)
        made[name] = tree + ".deb"
        subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", tree, made[name]], check=True,
                       stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
    return made


class Lintian:
    """At work while other things are looked at."""

    def __init__(self, debs):
        self.process = subprocess.Popen(["nice", "lintian", "--fail-on", "error"] + list(debs.values()),
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self):
        step("lintian finds no error")
        out = self.process.communicate()[0]
        want(self.process.returncode == 0, "lintian:\n" + out)


def check_files(debs, again):
    step("two builds are the same")
    want(set(debs) == {"pgpu", "pgpu-cli", "pgpu-sim"}, "packages: %s" % sorted(debs))
    for name, path in debs.items():
        want(filecmp.cmp(path, again[name], shallow=False), name + " differs between two builds")
    conffiles = subprocess.run(["dpkg-deb", "-I", debs["pgpu"], "conffiles"], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split()
    want(conffiles == ["/etc/pgpu/pgpud.yaml", "/etc/pgpu/hwd.yaml"], "conffiles: %s" % conffiles)


def files_of(r):
    """What is on disk, without what an installation of any package changes."""
    out = r.sh("find / -xdev \\( -path /var/log/journal -o -path /var/lib/dpkg -o -path /proc \\) -prune "
               "-o -print")
    return {f for f in out.splitlines()
            if not re.match(r"/(srv|root)/|/var/(log/(dpkg|alternatives|apt)|cache/|lib/systemd/(catalog|"
                            r"random-seed|deb-systemd|timers))|/etc/systemd/system/.*\.wants$|/etc/machine-id", f)}


def check_units(r):
    step("units: verified, and how exposed they are")
    done = r.run("systemd-analyze", "verify", "--man=no", *["/lib/systemd/system/" + u for u in UNITS],
                 check=None)
    want(done.returncode == 0 and "pgpu" not in done.stderr, "systemd-analyze verify: " + done.stderr)
    for unit in UNITS:
        done = r.run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=25",
                     "/lib/systemd/system/" + unit, check=None)
        line = done.stdout.strip().splitlines()[-1]
        print("   " + re.sub(r"^\W*", "", line))
        want(done.returncode == 0, "%s is more exposed than 2.5:\n%s" % (unit, done.stdout))
    for program, name in (("pgpud", "pgpud"), ("pgpu-hwd", "hwd")):
        r.run(program, "--config", "/etc/pgpu/%s.yaml" % name, "--check-config")


def status_of(r, pid, key):
    return re.search(r"^%s:\s*(\S+)" % key, r.read("proc/%s/status" % pid), re.M).group(1)


def inside(r, unit, script):
    """Runs a shell line in the root and the namespaces of a service, with our own credentials."""
    pid = r.show(unit, "MainPID")
    return r.run("nsenter", "-t", pid, "-m", "-n", "-r", "--wd=/", "sh", "-c", script, check=None)


def check_confined(r):
    step("pgpud sees its own directories alone and has no capability; pgpu-hwd has three")
    r.sh("mkdir -p /home/someone /var/lib/kubelet/pki && echo secret >/var/lib/kubelet/pki/kubelet-client.pem")
    pgpud, hwd = (r.show(u, "MainPID") for u in UNITS[:2])
    for pid, caps in ((pgpud, 0), (hwd, 1 << 21 | 1 << 19 | 1 << 2)):
        for key in ("CapEff", "CapPrm", "CapBnd"):
            got = int(status_of(r, pid, key), 16)
            want(got == caps, "%s of %s is %x, not %x" % (key, pid, got, caps))
        want(status_of(r, pid, "NoNewPrivs") == "1", "no_new_privs")
        want(status_of(r, pid, "Seccomp") == "2", "seccomp")
    tops = set(inside(r, "pgpud.service", "echo /*").stdout.split())
    want(tops <= {"/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/tmp", "/usr", "/var", "/home",
                  "/root", "/sys"}, "pgpud sees %s" % sorted(tops))
    for path, there in (("/var/lib/kubelet/device-plugins", True), ("/var/lib/kubelet/pki", False),
                        ("/home/someone", False), ("/boot", False), ("/dev/vfio", False), ("/etc/passwd", False),
                        ("/run/systemd/private", False), ("/etc/pgpu/pgpud.yaml", True)):
        found = inside(r, "pgpud.service", "test -e " + path).returncode == 0
        want(found == there, "pgpud %s %s" % ("sees" if found else "does not see", path))
    for path, writable in (("/run/pgpu", True), ("/var/run/cdi", True), ("/var/log/pgpu", True),
                           ("/var/lib/kubelet/device-plugins", True), ("/etc/pgpu", False),
                           ("/usr", False), ("/", False), ("/run/pgpu-hwd", False),
                           ("/sys/bus/pci/drivers_probe", False)):
        got = inside(r, "pgpud.service", "test -w " + path).returncode == 0
        want(got == writable, "pgpud %s write %s" % ("can" if got else "cannot", path))
    for path, writable in (("/sys/bus/pci/drivers_probe", True), ("/sys/kernel/iommu_groups", False),
                           ("/usr", False), ("/var", False), ("/proc/sys/kernel/hostname", False)):
        got = inside(r, "pgpu-hwd.service", "test -w " + path).returncode == 0
        want(got == writable, "pgpu-hwd %s write %s" % ("can" if got else "cannot", path))
    want(inside(r, "pgpu-hwd.service", "test -e /var/lib/kubelet/pki").returncode != 0,
         "pgpu-hwd sees the kubelet's directory")
    devices = inside(r, "pgpu-hwd.service", "cat /proc/self/net/dev").stdout
    want(re.findall(r"^\s*(\S+):", devices, re.M) == ["lo"], "pgpu-hwd's network: " + devices)
    for unit, log in (("pgpud.service", r.journal("pgpud.service")),
                      ("pgpu-hwd.service", r.journal("pgpu-hwd.service"))):
        for bad in ("capabilities could not be dropped", "Landlock could not", "can still write to /sys",
                    "Operation not permitted", "Function not implemented", "Permission denied"):
            want(bad not in log, "%s logs \"%s\":\n%s" % (unit, bad, log[-3000:]))


def mode_of(r, path):
    return r.run("stat", "-c", "%a %U", path).stdout.strip()


def check_others_directories(r):
    step("directories of others keep their modes, missing ones are made")
    want(mode_of(r, "/var/lib/kubelet") == "711 daemon", "/var/lib/kubelet: " + mode_of(r, "/var/lib/kubelet"))
    for path, mode in (("/var/lib/kubelet/device-plugins", "755 root"), ("/run/nri", "755 root"),
                       ("/run/cdi", "700 root"), ("/run/pgpu", "700 root"), ("/run/nvidia/validations", "755 root"),
                       ("/etc/kubernetes/node-feature-discovery", "755 root")):
        want(mode_of(r, path) == mode, "%s: %s, not %s" % (path, mode_of(r, path), mode))


def labels(r):
    done = r.run("cat", FEATURES + "/pgpu", check=None)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if not line.startswith("#"))


def check_node_files(r):
    step("under the unit: labels with the TEE, validations, audit log; also in a features.d made anew")
    r.sh("echo 'validations: {enabled: true}' >>/etc/pgpu/pgpud.yaml; mkdir " + FEATURES)
    r.run("systemctl", "restart", "pgpud.service")
    r.wait_healthy(2)
    good = {"nvidia.com/cc.mode.state": "on", "nvidia.com/cc.ready.state": "true",
            OURS + "gpus-verified": "2", OURS + "tee": "snp"}
    wait_for(lambda: "labels; there are: %s" % labels(r), lambda: good.items() <= labels(r).items())
    wait_for("validations", lambda: VALIDATIONS == set(r.sh("ls -A /run/nvidia/validations").split()))
    r.sh("rm -r %s; mkdir %s" % (FEATURES, FEATURES))
    r.run("systemctl", "restart", "pgpu-hwd.service")
    wait_for(lambda: "labels in the new directory; there are: %s" % labels(r),
             lambda: good.items() <= labels(r).items())
    r.wait_healthy(2)
    audit = json.loads(r.run("pgpuctl", "audit", "verify", "--json").stdout)
    want(audit["ok"] and audit["records"] > 10, "audit log: %s" % audit)


def start_pod(r):
    r.ctl("kubelet", "run %s nvidia.com/pgpu=1" % POD)
    namespace, name = POD.split("/")
    r.ctl("runtime", "run-pod %s %s %s kata" % (namespace, name, HANDLER))
    wait_for("the GPU in use", lambda: in_use(r))


def in_use(r):
    return [u["id"] for u in r.status()["units"] if u["state"] == "in_use"]


def check_upgrade(r, debs):
    step("an upgrade while a pod has a GPU: services anew, settings kept, GPU untouched")
    start_pod(r)
    held = in_use(r)
    before = json.loads(r.run("pgpuctl", "status", "--json", check=None).stdout)
    resets = r.sh("journalctl -o cat -u pgpu-hwd | grep -c 'op=\\(prepare\\|reset\\)' || true")
    r.sh("sed -i 's/^#pod_poll: .*/pod_poll: 300ms/' /etc/pgpu/pgpud.yaml")
    pids = [r.show(u, "MainPID") for u in UNITS[:2]]
    r.install(*debs.values())
    for unit, pid in zip(UNITS, pids):
        r.wait_active(unit) if unit != "pgpu-wait.service" else None
        want(r.show(unit, "MainPID") not in (pid, "0"), unit + " was not restarted")
    want("pod_poll: 300ms" in r.read("etc/pgpu/pgpud.yaml").splitlines(), "the setting was lost")
    wait_for("the same GPU in use after the upgrade", lambda: (r.status() or {}) and in_use(r) == held)
    r.wait_healthy(len(before["units"]))
    again = r.sh("journalctl -o cat -u pgpu-hwd | grep 'op=\\(prepare\\|reset\\)' || true")
    want(not any("unit=" + held[0] in line for line in again.splitlines()[int(resets):]),
         "the GPU of a running pod was touched:\n" + again)
    pids = [r.show(u, "MainPID") for u in UNITS[:2]]
    r.run("systemctl", "mask", "-q", *UNITS[:2])
    r.install(*debs.values())
    want([r.show(u, "MainPID") for u in UNITS[:2]] == pids, "masked services were restarted")
    r.run("systemctl", "unmask", "-q", *UNITS[:2])
    want(r.run("dpkg", "--verify", "pgpu-cli", "pgpu-sim").stdout == "", "dpkg --verify")
    changed = r.run("dpkg", "--verify", "pgpu", check=None).stdout
    want([line.split()[-1] for line in changed.splitlines()] == ["/etc/pgpu/pgpud.yaml"],
         "dpkg --verify: " + changed)
    version = r.run("pgpud", "--version").stdout.split()[1]
    want(r.status()["version"] == version, "pgpud is not the new one")


def check_failures(r):
    step("pgpu-hwd killed: pgpud stays; pgpud hung: the watchdog; a bad configuration: no loop")
    pid = r.show("pgpud.service", "MainPID")
    r.run("systemctl", "kill", "-s", "KILL", "pgpu-hwd.service")
    wait_for("pgpu-hwd again", lambda: r.show("pgpu-hwd.service", "NRestarts") != "0")
    r.wait_active("pgpu-hwd.service")
    r.wait_healthy(2)
    want(r.show("pgpud.service", "MainPID") == pid, "pgpud was restarted with pgpu-hwd")

    r.write("etc/systemd/system/pgpud.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n")
    r.write("etc/systemd/system/pgpu-hwd.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n")
    r.run("systemctl", "daemon-reload")
    r.run("systemctl", "restart", *UNITS[:2])
    beats = {unit: r.show(unit, "WatchdogTimestampMonotonic") for unit in UNITS[:2]}
    for unit, beat in beats.items():
        wait_for("a beat of " + unit, lambda u=unit, b=beat: r.show(u, "WatchdogTimestampMonotonic") != b)
        want(r.show(unit, "NRestarts") == "0", unit + " was restarted by itself")
    for unit in UNITS[:2]:
        r.run("kill", "-STOP", r.show(unit, "MainPID"))
    for unit in UNITS[:2]:
        wait_for(unit + " restarted by the watchdog", lambda u=unit: r.show(u, "NRestarts") != "0")
        r.wait_active(unit)
    r.sh("rm /etc/systemd/system/*/watchdog.conf; systemctl daemon-reload")
    r.run("systemctl", "restart", *UNITS[:2])
    r.wait_healthy(2)

    r.sh("cp /etc/pgpu/pgpud.yaml /root/good; echo 'modus: on' >/etc/pgpu/pgpud.yaml")
    r.run("systemctl", "restart", "pgpud.service", check=1)
    wait_for("failed", lambda: r.show("pgpud.service", "ActiveState") == "failed")
    want(r.show("pgpud.service", "ExecMainStatus") == "2", "exit status of a bad configuration")
    want("modus" in r.journal("pgpud.service"), "the log does not name the key")
    r.run("pgpuctl", "wait", "--timeout", "0", check=1)
    r.run("pgpuctl", "wait", "--timeout", "soon", check=2)
    r.sh("cp /root/good /etc/pgpu/pgpud.yaml; rm /root/good")
    r.run("systemctl", "start", "pgpud.service")
    r.wait_healthy(2)
    want(in_use(r), "the pod's GPU was lost on the way")


def monotonic(r, unit, what):
    return int(r.show(unit, what))


def check_reboot(r):
    step("a boot: the kubelet starts after the GPUs are armed, and pods get them at once")
    r.reboot()
    want(r.show("pgpu-wait.service", "ActiveState") == "active", "pgpu-wait: " +
         r.run("systemctl", "status", "--no-pager", "pgpu-wait.service", check=None).stdout)
    armed = monotonic(r, "pgpu-wait.service", "ExecMainExitTimestampMonotonic")
    want(monotonic(r, "kubelet.service", "ExecMainStartTimestampMonotonic") >= armed > 0,
         "the kubelet did not wait")
    want("2 ready, 0 under way" in r.journal("pgpu-wait.service"), r.journal("pgpu-wait.service"))
    r.wait_healthy(2)
    r.ctl("kubelet", "run %s nvidia.com/pgpu=2" % POD)
    r.ctl("kubelet", "end " + POD)

    step("a boot with a GPU that cannot be armed in time, and one without pgpud: the kubelet comes")
    r.write("etc/systemd/system/pgpu-wait.service.d/short.conf",
            "[Service]\nExecStart=\nExecStart=-/usr/bin/pgpuctl wait --timeout 2\n")
    node = "etc/systemd/system/pgpu-sim-node.service"
    text = r.read(node)
    r.write(node, text.replace("--time-scale 0.02", "--time-scale 60"))
    r.reboot()
    want(r.active("kubelet.service"), "the kubelet did not start")
    want("not settled after 2 s" in r.journal("pgpu-wait.service"), r.journal("pgpu-wait.service"))
    r.write(node, text)
    good = r.read("etc/pgpu/pgpud.yaml")
    r.write("etc/pgpu/pgpud.yaml", "modus: on\n")
    r.reboot(degraded=True)
    want(r.active("kubelet.service") and not r.active("pgpud.service"), "boot without pgpud")
    want(r.show("pgpu-wait.service", "ActiveState") == "inactive", "pgpu-wait waited for nothing")
    r.write("etc/pgpu/pgpud.yaml", good)
    r.sh("rm -r /etc/systemd/system/pgpu-wait.service.d")


def check_removal(r, debs, before):
    step("removed: configuration stays; installed again: everything runs again")
    r.run("systemctl", "restart", "pgpud.service")
    r.wait_healthy(2)
    r.run("dpkg", "--remove", "pgpu")
    for unit in UNITS:
        want(not r.active(unit), unit + " still runs")
    r.install(debs["pgpu"])
    for unit in UNITS[:2]:
        r.wait_active(unit)
        want(r.run("systemctl", "is-enabled", unit).stdout.strip() == "enabled", unit + " is not enabled")
    r.wait_healthy(2)
    want("pod_poll: 300ms" in r.read("etc/pgpu/pgpud.yaml").splitlines(), "the setting was lost")

    step("removed, purged: the audit log alone stays, and what is not ours")
    files = ["/run/nvidia/validations/" + f for f in VALIDATIONS] + [FEATURES + "/pgpu"]
    wait_for(lambda: "labels and validations: " + r.run("ls", *files, check=None).stderr,
             lambda: r.run("ls", *files, check=None).returncode == 0)
    r.sh("touch /run/nvidia/validations/toolkit-ready %s/others" % FEATURES)
    audit = r.run("test", "-e", "/var/log/pgpu/audit.log", check=None).returncode == 0
    r.run("dpkg", "--remove", "pgpu")
    for unit in UNITS:
        want(not r.active(unit), unit + " still runs")
    want(r.run("test", "-f", "/etc/pgpu/pgpud.yaml", check=None).returncode == 0, "conffile removed")
    r.sh("systemctl stop kubelet containerd pgpu-sim-node")
    r.run("dpkg", "--purge", "pgpu", "pgpu-cli", "pgpu-sim")
    want(r.sh("ls -d /run/pgpu /run/pgpu-hwd /run/cdi/nvidia.com-* 2>/dev/null || true") == "", "in /run")
    want(r.sh("ls -A /run/nvidia/validations; ls -A " + FEATURES) == "toolkit-ready\nothers\n",
         r.sh("ls -lA /run/nvidia/validations " + FEATURES))
    r.sh("rm -rf /etc/kubernetes /etc/systemd/system/pgpu-sim-node.service /etc/systemd/system/kubelet.service "
         "/etc/systemd/system/containerd.service /etc/systemd/system/*.wants /var/lib/pgpu-sim "
         "/etc/systemd/system/pgpu-hwd.service.d /usr/local/sbin/pgpu-sim-mounts "
         "/etc/systemd/system/pgpud.service.d /var/lib/kubelet /home/someone")
    left = {f for f in files_of(r) - before if not f.startswith("/var/log/pgpu")}
    want(not left, "left after a purge: %s" % sorted(left))
    want((r.run("test", "-e", "/var/log/pgpu/audit.log", check=None).returncode == 0) == audit, "audit log")
    want(r.sh("dpkg -l 'pgpu*' 2>/dev/null | grep '^.[^n]' | grep pgpu || true") == "", "dpkg still knows it")


def main():
    debroot.require()
    for tool in ("cpack", "lintian", "dpkg-shlibdeps"):
        if not shutil.which(tool):
            debroot.skip(tool + " is not installed")
    with tempfile.TemporaryDirectory(prefix="pgpu-packages.") as d:
        debs, again = builds([d + "/new"], [d + "/again"])
        check_files(debs, again)
        lintian = Lintian(debs)
        with debroot.Root(debs.values()) as r:
            r.boot()
            before = files_of(r)
            step("an older version is installed; its services run")
            old = older(debs, d, "0.0.9-1")
            r.sh(OTHERS_DIRECTORIES)
            r.install(*old.values())
            for unit in UNITS[:2]:
                r.wait_active(unit)
            r.simulate(gpus=2)
            r.wait_healthy(2)
            check_units(r)
            check_confined(r)
            check_others_directories(r)
            check_node_files(r)
            check_upgrade(r, debs)
            lintian.result()
            check_failures(r)
            check_reboot(r)
            check_removal(r, debs, before)
    print("done")


if __name__ == "__main__":
    try:
        main()
    except Failed as e:
        sys.exit("FAILED: %s" % e)
