# SPDX-License-Identifier: Apache-2.0
"""A Debian 12 of its own for tests of packages: a fresh root with a real systemd as process 1, in
namespaces, on the simulated node. Python 3, nothing but its library; needs root and mmdebstrap.

    with debroot.Root(debs) as r:             # unpacked; what `debs` depend on is there, they are not
        r.boot()                              # systemd runs; r.run and r.sh go into it
        r.install(*debs)                      # dpkg -i inside: maintainer scripts, services started
        r.simulate(gpus=2)                    # hardware, kubelet and runtime as services (needs pgpu-sim)
        r.run("pgpuctl", "status", check=1)   # CompletedProcess, text; check: exit status, None: any
        r.sh("ls /run/cdi | wc -l")           # standard output
        r.ctl("kubelet", "run default/a nvidia.com/pgpu=1")   # the stand-ins and the hardware ("node")
        r.write("etc/pgpu/pgpud.yaml", "mode: on\\n"); r.read("var/log/pgpu/audit.log")
        r.wait_active("pgpud.service"); r.journal("pgpud.service"); r.show("pgpud.service", "MainPID")
        r.reboot()                            # a new boot of the same root: /run is empty again
    # leaving ends every process and removes the root (PGPU_TEST_KEEP leaves it)

The root's contents come from the mirror of this machine's own apt, once, and are kept as a tar file in
the cache (PGPU_CACHE_DIR). The sysfs and /dev/vfio of the simulated node are mounted over those of the root,
so that units run as they are, but for the socket that stands in for the kernel's events
(pgpu-hwd.service.d/sim.conf)."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = float(os.environ.get("PGPU_TEST_PATIENCE", "60"))
SKIPPED = 77
SUITE = "bookworm"
SHAPE = 2  # raise it when the root is made differently
BASE = ("systemd", "systemd-sysv", "dbus", "kmod", "fuse3", "procps")
NODE = "/run/pgpu-sim"


class Failed(Exception):
    """Something did not happen; the text says what."""


def skip(why):
    print("SKIP: " + why)
    sys.exit(SKIPPED)


def bin_dir():
    return os.environ.get("PGPU_BIN_DIR", ".")


def source_dir():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("PGPU_SOURCE_DIR", os.path.dirname(os.path.dirname(here)))


def wait_for(what, check, limit=None, pause=0.1):
    """Calls `check` until it returns something true, and returns that."""
    end = time.monotonic() + (limit or PATIENCE)
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed("did not happen in time: " + (what() if callable(what) else what))
        time.sleep(pause)


def cache_dir():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(os.environ.get("PGPU_CACHE_DIR") or os.path.join(home, "pgpu"), "debroot")


def require():
    """Ends the test as skipped where no such root can run."""
    if os.geteuid() != 0:
        skip("a Debian root with systemd needs root")
    for tool in ("mmdebstrap", "unshare", "nsenter", "dpkg-deb", "apt-get"):
        if not shutil.which(tool):
            skip(tool + " is not installed")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("the simulated node needs /dev/fuse")


def dependencies(debs):
    """Names that the packages depend on, without each other."""
    names, own = set(), set()
    for deb in debs:
        out = subprocess.run(["dpkg-deb", "-f", deb, "Package", "Depends"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        field = dict(re.findall(r"^(\w+): (.*)$", out, re.M))
        own.add(field["Package"])
        names.update(d.split("|")[0].split("(")[0].strip()
                     for d in field.get("Depends", "").split(",") if d.strip())
    return sorted(names - own)


def _mirrors():
    """This machine's apt sources for the suite, as lines for mmdebstrap; with PGPU_DEBIAN_MIRROR that."""
    lines = []
    form = "$(RELEASE) $(CODENAME) $(REPO_URI) $(COMPONENT)"
    mirror = os.environ.get("PGPU_DEBIAN_MIRROR")
    if mirror:
        return ["deb %s %s main" % (mirror, SUITE)]
    got = subprocess.run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    for line in got.stdout.splitlines():
        release, codename, uri, component = (line.split() + [""] * 4)[:4]
        for name in (release, codename):
            if component == "main" and name in (SUITE, SUITE + "-updates", SUITE + "-security"):
                lines.append("deb %s %s main" % (uri, name))
                break
    return sorted(set(lines))


def tarball(include):
    """The root as a tar file in the cache; made if it is not there yet."""
    include = sorted(set(BASE) | set(include))
    key = hashlib.sha256(json.dumps([SHAPE, include]).encode()).hexdigest()[:12]
    path = os.path.join(cache_dir(), "%s-%s.tar" % (SUITE, key))
    if os.path.exists(path):
        return path
    mirrors = _mirrors()
    if not mirrors:
        skip("this machine's apt sources name no Debian %s (PGPU_DEBIAN_MIRROR can)" % SUITE)
    os.makedirs(cache_dir(), exist_ok=True)
    part = "%s.%d.tar" % (path[:-4], os.getpid())
    done = subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=minbase", "--include=" + ",".join(include),
         "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
         "--aptopt=Acquire::Languages \"none\"", "--dpkgopt=path-exclude=/usr/share/doc/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*",
         "--dpkgopt=path-include=/usr/share/doc/pgpu*",
         # the same for every root; nobody logs in
         "--customize-hook=echo pgpu-test >\"$1/etc/hostname\"",
         "--customize-hook=chroot \"$1\" systemctl mask getty.target systemd-logind.service "
         "sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount "
         "systemd-remount-fs.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
         "fstrim.timer e2scrub_all.timer",
         SUITE, part, "-"],
        input="\n".join(mirrors) + "\n", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False)
    if done.returncode != 0:
        if os.path.exists(part):
            os.unlink(part)
        if re.search(r"Could not (resolve|connect)|Temporary failure|Failed to fetch", done.stdout):
            skip("Debian's mirror cannot be reached, and no root is in the cache")
        raise Failed("mmdebstrap failed:\n" + done.stdout[-4000:])
    os.rename(part, path)
    return path


# Process 1 of the namespaces, until it is systemd. Kernel parameters and /sys are the machine's: they
# are read-only here.
BOOT = r"""
set -e
R=$1
mount --make-rprivate /
mount --bind "$R" "$R"
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys" 2>/dev/null || mount --rbind /sys "$R/sys"
umount -l "$R/sys/fs/cgroup" 2>/dev/null || true
if [ "$2" = v2 ]; then
    mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup"
    mkdir "$R/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$R/sys/fs/cgroup/systemd"
fi
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs tmpfs "$R/tmp"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for n in null zero full random urandom tty fuse; do
    touch "$R/dev/$n"
    mount --bind "/dev/$n" "$R/dev/$n"
done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
mount -t tmpfs tmpfs "$R/dev/shm"
ln -s /proc/self/fd "$R/dev/fd"
cd "$R"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i container=pgpu-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
    --log-target=console --show-status=no systemd.unit=multi-user.target </dev/null
"""

SIM_NODE = """[Unit]
Description=Simulated GPUs in the place of this machine's /sys and /dev/vfio
Before=pgpu-hwd.service
[Service]
Type=exec
RuntimeDirectory=pgpu-sim
ExecStartPre=/bin/mkdir -p {node}/node /var/lib/pgpu-sim
ExecStart=/usr/bin/pgpu-sim node --mount {node}/node --control {node}/node.sock \\
    --uevents {node}/uevents.sock --state /var/lib/pgpu-sim {args}
ExecStartPost=/usr/local/sbin/pgpu-sim-mounts
[Install]
WantedBy=multi-user.target
"""

SIM_MOUNTS = """#!/bin/sh
set -e
n={node}/node
until [ -d $n/sys/bus/pci/devices ] && [ -S {node}/uevents.sock ]; do sleep 0.05; done
mount --make-rshared / 2>/dev/null || true
for d in bus/pci devices kernel/iommu_groups module class/iommu; do
    if [ -d $n/sys/$d ] && [ -d /sys/$d ]; then mount --bind $n/sys/$d /sys/$d; fi
done
if [ -d /sys/kernel/security ]; then mount --bind $n/sys/kernel/security /sys/kernel/security; fi
mkdir -p /dev/vfio
mount --bind $n/dev/vfio /dev/vfio
if [ -e $n/dev/iommu ]; then touch /dev/iommu; mount --bind $n/dev/iommu /dev/iommu; fi
"""

SIM_HWD = """[Unit]
After=pgpu-sim-node.service
[Service]
ExecStart=
ExecStart=/usr/sbin/pgpu-hwd --config /etc/pgpu/hwd.yaml --uevent-socket {node}/uevents.sock
"""

SIM_PEER = """[Unit]
Description=Stand-in: {name}
After=pgpu-sim-node.service
[Service]
Type=exec
ExecStartPre=/bin/mkdir -p {node}
ExecStart=/usr/bin/pgpu-sim {line}
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""


class Root:
    """Owns the directory and every process in it."""

    def __init__(self, debs=(), include=()):
        require()
        self.debs = list(debs)
        self.include = sorted(set(include) | set(dependencies(self.debs)))
        self.dir = self.path = None
        self.unshare = self.pid = self.cgroup = self.console = None

    def __enter__(self):
        tar = tarball(self.include)
        self.dir = tempfile.mkdtemp(prefix="pgpu-debroot.")
        self.path = os.path.join(self.dir, "root")
        os.mkdir(self.path)
        subprocess.run(["tar", "-xf", tar, "-C", self.path], check=True)
        os.chmod(self.path, 0o755)
        return self

    def __exit__(self, kind, value, trace):
        if kind and not issubclass(kind, SystemExit) and self.pid:
            self.tell()
        self.halt()
        if "PGPU_TEST_KEEP" in os.environ:
            print("left: " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- life ----

    @staticmethod
    def _cgroup2():
        with open("/proc/self/mounts", encoding="ascii", errors="replace") as f:
            for line in f:
                where, kind = line.split()[1:3]
                if kind == "cgroup2" and os.access(where, os.W_OK):
                    return where
        return None

    def boot(self, degraded=False):
        """Starts systemd and returns when the boot is done; fails if a unit failed, unless `degraded`."""
        top = self._cgroup2()
        if top:
            self.cgroup = tempfile.mkdtemp(prefix="pgpu-debroot.", dir=top)

        def child():
            if self.cgroup:
                with open(self.cgroup + "/cgroup.procs", "w", encoding="ascii") as f:
                    f.write(str(os.getpid()))

        self.console = open(os.path.join(self.dir, "console"), "ab")
        self.unshare = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork",
             "--kill-child", "bash", "-c", BOOT, "boot", self.path, "v2" if top else "v1"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, preexec_fn=child)
        self.pid = wait_for("process 1", self._process1)
        wait_for(lambda: "the boot; see the console:\n" + self._console(), self._booted)
        state = self.run("systemctl", "is-system-running", check=None).stdout.strip()
        if state != "running" and not degraded:
            raise Failed("booted, but %s:\n%s" % (state, self.sh("systemctl --failed --no-pager")))

    def _process1(self):
        if self.unshare.poll() is not None:
            raise Failed("process 1 did not start:\n" + self._console())
        path = "/proc/%d/task/%d/children" % (self.unshare.pid, self.unshare.pid)
        with open(path, encoding="ascii") as f:
            children = f.read().split()
        if not children:
            return None
        try:
            name = os.readlink("/proc/%s/exe" % children[0])
        except OSError:
            return None
        return int(children[0]) if name.endswith("/systemd") else None

    def _booted(self):
        if self.unshare.poll() is not None:
            raise Failed("systemd ended:\n" + self._console())
        done = self.run("systemctl", "is-system-running", check=None)
        return done.stdout.strip() in ("running", "degraded")

    def _console(self):
        with open(os.path.join(self.dir, "console"), encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-40:])

    def halt(self):
        """Ends every process, as pulling the plug does."""
        if self.unshare:
            if self.pid:
                try:
                    os.kill(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            else:
                self.unshare.kill()
            self.unshare.wait()
            self.console.close()
        if self.cgroup:
            wait_for("the end of every process", self._remove_cgroup)
        self.unshare = self.pid = self.cgroup = None

    def _remove_cgroup(self):
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                return False
        return True

    def reboot(self, degraded=False):
        self.halt()
        self.boot(degraded)

    def tell(self, lines=40):
        """The ends of the journals, for a failed test."""
        text = self.run("journalctl", "--no-pager", "-n", str(lines), check=None).stdout
        sys.stderr.write(text + self._console())

    # ---- doing things inside ----

    def run(self, *words, check=0, **more):
        """Runs a command inside; before boot() in a chroot. check: the exit status that is wanted."""
        if self.pid:
            line = ["nsenter", "-t", str(self.pid), "--all", "--wd=/"]
        else:
            line = ["unshare", "--mount", "--pid", "--fork", "chroot", self.path]
        line += ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
                 "DEBIAN_FRONTEND=noninteractive"] + list(words)
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", check=False,
                              timeout=10 * PATIENCE, **more)
        if check is not None and done.returncode != check:
            raise Failed("%s: exit status %d instead of %d\n%s%s" % (
                shlex.join(words), done.returncode, check, done.stdout, done.stderr))
        return done

    def sh(self, script, check=0):
        return self.run("sh", "-c", script, check=check).stdout

    def write(self, name, text, mode=0o644):
        """Not below /run, /tmp or /dev, which are mounted inside alone."""
        path = os.path.join(self.path, name.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)

    def read(self, name):
        return self.run("cat", "/" + name.lstrip("/")).stdout

    def install(self, *debs):
        """dpkg -i, all at once; a dependency that is missing in the root is a failure."""
        box = os.path.join(self.path, "srv")
        names = []
        for deb in debs:
            shutil.copy(deb, box)
            names.append("/srv/" + os.path.basename(deb))
        try:
            return self.run("dpkg", "-i", *names)
        finally:
            for name in names:
                os.unlink(self.path + name)

    # ---- services ----

    def show(self, unit, what):
        return self.run("systemctl", "show", "--value", "-p", what, unit).stdout.strip()

    def active(self, unit):
        return self.run("systemctl", "is-active", "-q", unit, check=None).returncode == 0

    def wait_active(self, unit, limit=None):
        wait_for(lambda: "%s active; it is:\n%s" % (
            unit, self.run("systemctl", "status", "--no-pager", "-l", unit, check=None).stdout),
            lambda: self.active(unit), limit)

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    # ---- the simulated node ----

    def simulate(self, gpus=2, node_args="", time_scale=0.02, kubelet=True, runtime=True):
        """Hardware, kubelet (kubelet.service) and container runtime (containerd.service) as services,
        also of later boots. Works before and after the packages are installed, with pgpu-sim there.
        A pgpu-hwd that runs already is started anew with the hardware."""
        args = "--gpus %d --time-scale %s %s" % (gpus, time_scale, node_args)
        units = {"pgpu-sim-node.service": SIM_NODE.format(node=NODE, args=args)}
        if kubelet:
            units["kubelet.service"] = SIM_PEER.format(
                name="kubelet", node=NODE,
                line="kubelet --dir /var/lib/kubelet --control %s/kubelet.sock" % NODE)
        if runtime:
            units["containerd.service"] = SIM_PEER.format(
                name="container runtime", node=NODE,
                line="runtime --nri /run/nri/nri.sock --control %s/runtime.sock --root / --cdi-dir "
                "/run/cdi --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock" % NODE)
        for name, text in units.items():
            self.write("etc/systemd/system/" + name, text)
        self.write("etc/systemd/system/pgpu-hwd.service.d/sim.conf", SIM_HWD.format(node=NODE))
        self.write("usr/local/sbin/pgpu-sim-mounts", SIM_MOUNTS.format(node=NODE), 0o755)
        self.run("systemctl", "enable", "-q", *units)
        if self.pid:
            self.run("systemctl", "daemon-reload")
            self.run("systemctl", "start", *units)
            self.run("systemctl", "try-restart", "pgpu-hwd.service")

    def ctl(self, who, line):
        """A command to a stand-in ("kubelet", "runtime") or the hardware ("node"): the answer's text."""
        return self.run("pgpu-sim", "ctl", "--control", "%s/%s.sock" % (NODE, who),
                        *shlex.split(line)).stdout

    def status(self):
        """What pgpud says of itself (pgpuctl status --json)."""
        return json.loads(self.run("pgpuctl", "status", "--json", check=None).stdout or "null")

    def wait_healthy(self, count, resource="nvidia.com/pgpu", limit=None):
        """Until the kubelet sees `count` healthy devices."""
        def look():
            units = (self.status() or {}).get("units", [])
            return sum(u["resource"] == resource and u["healthy"] for u in units) == count
        wait_for(lambda: "%d healthy %s; status:\n%s" % (
            count, resource, self.run("pgpuctl", "status", check=None).stdout), look, limit)
        self.ctl("kubelet", "wait %s healthy=%d %d" % (resource, count, PATIENCE))
