# SPDX-License-Identifier: Apache-2.0
"""A simulated node on which commands run exactly as a document shows them.

In mount, PID and network namespaces of its own the FUSE tree of pgpu-sim stands at /sys and /dev, and
/run, /var/lib, /var/log, /etc are private copies: the default paths and ports of all programs are
those of the simulated node, and nothing reaches the machine's own. The services are started as their units say,
through a stand-in for systemctl.

As a program (the stand-ins call it): simnode.py systemctl VERB UNIT..., journalctl -u UNIT, curl URL"""

import fcntl
import os
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

SOURCE, BUILD, HOME = "PGPU_SOURCE_DIR", "PGPU_BIN_DIR", "PGPU_DOCS_NODE"
FINDING = re.compile(r"(?:Address|Leak|Thread|Memory)Sanitizer|\.[ch]:\d+:\d+: runtime error: ")
WAIT = 30  # seconds that a program may take to come up
PROGRAMS = {"pgpuctl": "cli", "pgpud": "daemon", "pgpu-hwd": "hwd", "pgpu-sim": "sim",
            "pgpu-nri-launch": "nri"}
# What a unit's program needs to know beyond its unit, because the node is a simulated one.
EXTRA = {"pgpu-hwd": ["--uevent-socket", "{home}/uevents.sock"], "pgpud": []}
# A stand-in kubelet has no past. A slow machine shall show a broken GPU before the last attempt to
# recover it (15 delays after the first).
PGPUD_YAML = "kubelet_settle: 1s\npod_poll: 500ms\nrecovery_delay: 4s\n"


NAMESPACE = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private"]


def in_namespace(argv):
    """Runs argv as the first process of its own namespaces, which end with it or with us."""
    return subprocess.run(["setpriv", "--pdeathsig", "KILL", *NAMESPACE, *argv],
                          check=False).returncode


def cannot():
    """Why there can be no such node here; None where there can."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        return "the simulated node needs root and /dev/fuse"
    if not shutil.which("unshare"):
        return "no unshare"
    try_it = subprocess.run([*NAMESPACE, "true"], stderr=subprocess.PIPE, text=True, check=False)
    return None if try_it.returncode == 0 else "unshare: " + try_it.stderr.strip()


def loopback_up():
    """127.0.0.1 of a network namespace that is new."""
    flags = struct.Struct("16sH14x")  # struct ifreq
    with socket.socket() as s:
        # linux/sockios.h: SIOCSIFFLAGS; net/if.h: IFF_UP
        fcntl.ioctl(s, 0x8914, flags.pack(b"lo", 1))


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Node:
    """Paths below `home`; start() builds the node, the rest talks to it."""

    def __init__(self, home):
        self.home = home
        self.source, self.build = os.environ[SOURCE], os.environ[BUILD]

    def path(self, *names):
        return os.path.join(self.home, *names)

    def env(self):
        ret = dict(os.environ)
        ret.update({HOME: self.home, "PATH": self.path("bin") + ":" + ret["PATH"],
                    "LC_ALL": "C.UTF-8", "HOME": self.path("homedir")})
        ret.pop("NO_COLOR", None)
        return ret

    # Programs in the background: PIDs and logs are files, so that systemctl finds them.

    def spawn(self, name, argv):
        """Starts argv and waits until it says that it serves."""
        rd, wr = os.pipe()
        with open(self.path("log", name + ".log"), "ab") as log:
            done = subprocess.Popen([*argv, "--ready-fd", str(wr)], pass_fds=(wr,), stdout=log,
                                    stderr=log, stdin=subprocess.DEVNULL, env=self.env(),
                                    cwd=self.home, start_new_session=True)
        os.close(wr)
        with open(self.path(name + ".pid"), "w", encoding="ascii") as f:
            f.write(str(done.pid))
        # A program that dies closes its end: there is nothing to read then, at once.
        said = select.select([rd], [], [], WAIT)[0] and os.read(rd, 64)
        os.close(rd)
        if not said:
            raise RuntimeError(f"{name} did not start:\n" + self.log(name))

    def log(self, name):
        try:
            with open(self.path("log", name + ".log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def findings(self):
        """The programs in whose log a sanitizer has written; the logs are printed."""
        ret = [n for n in sorted(PROGRAMS) if FINDING.search(self.log(n))]
        for name in ret:
            print(f"--- a sanitizer's finding in {name}\n{self.log(name)[-8000:]}")
        return ret

    def pid(self, name):
        try:
            with open(self.path(name + ".pid"), encoding="ascii") as f:
                pid = int(f.read())
        except FileNotFoundError:
            return None
        return pid if alive(pid) else None

    def stop(self, name):
        pid = self.pid(name)
        if pid:
            os.kill(pid, signal.SIGTERM)
            wait_for(f"{name} to end", WAIT, lambda: not alive(pid))

    def unit_argv(self, name):
        """The unit's own command line where there is one."""
        argv = [name]
        unit = os.path.join(self.source, "deploy", "systemd", name + ".service")
        for suffix in ("", ".in"):
            if os.path.exists(unit + suffix):
                with open(unit + suffix, encoding="utf-8") as f:
                    for line in f:
                        if line.startswith("ExecStart="):
                            line = line.replace("@SYSCONFDIR@", "/etc")
                            argv = [name, *shlex.split(line.split("=", 1)[1])[1:]]
        return argv + [a.format(home=self.home) for a in EXTRA[name]]

    def start_unit(self, name):
        if not self.pid(name):
            self.spawn(name, self.unit_argv(name))

    # The node itself.

    def start(self, gpus=8):
        for name in ("bin", "log", "sys", "etc", "dev", "nvram", "homedir"):
            os.makedirs(self.path(name))
        self._programs()
        self.spawn("node", ["pgpu-sim", "node", "--mount", self.path("sys"), "--control",
                            self.path("node.sock"), "--uevents", self.path("uevents.sock"),
                            "--state", self.path("nvram"), "--gpus", str(gpus)])
        self._mounts()
        self.spawn("kubelet", ["pgpu-sim", "kubelet", "--dir", "/var/lib/kubelet", "--control",
                               self.path("kubelet.sock")])
        self.spawn("runtime", ["pgpu-sim", "runtime", "--nri", "/var/run/nri/nri.sock",
                               "--control", self.path("runtime.sock"), "--root", "/",
                               "--cdi-dir", "/var/run/cdi", "--pod-resources",
                               "/var/lib/kubelet/pod-resources/kubelet.sock"])
        self.start_unit("pgpu-hwd")
        self.start_unit("pgpud")
        self.ctl("kubelet", "wait", "nvidia.com/pgpu", f"healthy={gpus}", str(WAIT))

    def ctl(self, who, *args):
        subprocess.run(["pgpu-sim", "ctl", "--control", self.path(who + ".sock"), *args],
                       env=self.env(), check=True, stdout=subprocess.DEVNULL)

    def _programs(self):
        for name, folder in PROGRAMS.items():
            os.symlink(os.path.join(self.build, folder, name), self.path("bin", name))
        # curl need not be installed for a test; documents show it because people have it.
        for name in ("systemctl", "journalctl") + (() if shutil.which("curl") else ("curl",)):
            with open(self.path("bin", name), "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} "
                        f"{shlex.quote(os.path.abspath(__file__))} {name} \"$@\"\n")
            os.chmod(self.path("bin", name), 0o755)
        for who in ("node", "kubelet", "runtime"):
            with open(self.path("bin", who), "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\nexec pgpu-sim ctl --control {self.path(who)}.sock \"$@\"\n")
            os.chmod(self.path("bin", who), 0o755)

    def _mounts(self):
        subprocess.run(["cp", "-a", "/etc/.", self.path("etc")], check=True)
        for name in ("pgpu", "cdi", "kubernetes"):
            shutil.rmtree(self.path("etc", name), ignore_errors=True)
        for name in ("pgpu", "cdi", "kubernetes/node-feature-discovery/features.d"):
            os.makedirs(self.path("etc", name))
        with open(self.path("etc/pgpu/pgpud.yaml"), "w", encoding="ascii") as f:
            f.write(PGPUD_YAML)
        with open(self.path("etc/pgpu/hwd.yaml"), "w", encoding="ascii"):
            pass
        for name in os.listdir("/dev"):
            source = os.path.join("/dev", name)
            if name in ("vfio", "iommu") or not os.path.exists(source):
                continue
            self._same(source, self.path("dev", name))
        for name in os.listdir(self.path("sys", "dev")):
            self._same(self.path("sys", "dev", name), self.path("dev", name))
        for target in ("/run", "/var/lib", "/var/log"):
            mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", target)
        for name in ("/run/cdi", "/run/nri", "/run/pgpu", "/var/lib/kubelet", "/var/log/pgpu"):
            os.makedirs(name)
        os.chmod("/run/pgpu", 0o700)
        mount("--bind", self.path("etc"), "/etc")
        mount("--bind", self.path("sys", "sys"), "/sys")
        mount("--rbind", self.path("dev"), "/dev")

    @staticmethod
    def _same(source, target):
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            return
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            with open(target, "w", encoding="ascii"):
                pass
        mount("--rbind", source, target)


def unit_name(name):
    name = name.removesuffix(".service")
    if name not in EXTRA:
        raise SystemExit(f"Unit {name}.service could not be found.")
    return name


def systemctl(node, args):
    """start, stop, restart, enable [--now], disable [--now], is-active, status, daemon-reload."""
    verb, units = args[0], [unit_name(a) for a in args[1:] if not a.startswith("-")]
    now = "--now" in args
    if verb in ("stop", "restart") or (verb == "disable" and now):
        for unit in reversed(units):
            node.stop(unit)
    if verb in ("start", "restart") or (verb == "enable" and now):
        for unit in units:
            node.start_unit(unit)
    if verb in ("is-active", "status"):
        active = [bool(node.pid(u)) for u in units]
        print("\n".join("active" if a else "inactive" for a in active))
        return 0 if all(active) else 3
    known = ("start", "stop", "restart", "enable", "disable", "daemon-reload")
    if verb not in known:
        raise SystemExit(f"the stand-in for systemctl does not know {verb}")
    return 0


def curl(url):
    """curl -s URL"""
    try:
        answer = urllib.request.urlopen(url, timeout=10)
    except urllib.error.HTTPError as e:
        answer = e
    sys.stdout.write(answer.read().decode())
    return 0


def main(argv):
    node = Node(os.environ[HOME])
    if argv[0] == "systemctl":
        return systemctl(node, argv[1:])
    if argv[0] == "journalctl" and argv[1] == "-u":
        sys.stdout.write(node.log(unit_name(argv[2])))
        return 0
    if argv[0] == "curl":
        return curl([a for a in argv[1:] if not a.startswith("-")][0])
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
