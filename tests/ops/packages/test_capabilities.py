# SPDX-License-Identifier: Apache-2.0
"""On this machine's kernel: pgpu-hwd.service's capabilities are those without which something it does
is refused, and what it does without one (the kernel's events in a network namespace) works."""

import ctypes
import glob
import os
import re
import select
import socket
import subprocess
import sys

KEPT = ("sys_admin", "sys_ptrace", "dac_read_search")


def limited(caps, *words):
    """A command as uid 0 with these capabilities alone."""
    return subprocess.run(["setpriv", "--bounding-set=" + ",".join(["-all"] + ["+" + c for c in caps]),
                           "--inh-caps=-all"] + list(words), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)


def check_unit():
    path = os.path.join(os.environ["PGPU_SOURCE_DIR"], "deploy/systemd/pgpu-hwd.service.in")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    got = re.search(r"^CapabilityBoundingSet=(.*)$", text, re.M).group(1).split()
    assert got == ["CAP_" + c.upper() for c in KEPT], got
    for c in got:
        assert re.search(r"^# %s|^#.*\b%s\b.*:" % (c, c), text, re.M), c + " has no reason"


def check_processes():
    """/proc/PID/fd: of root's processes with more capabilities, and of another user's."""
    root = subprocess.Popen(["sleep", "60"])
    other = subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "sleep", "60"])
    try:
        while os.stat("/proc/%d" % other.pid).st_uid != 65534:
            pass
        for pid, needed in ((root.pid, ("sys_ptrace",)), (other.pid, ("sys_ptrace", "dac_read_search"))):
            look = ["readlink", "/proc/%d/fd/0" % pid]
            assert limited(KEPT, *look).returncode == 0, "with all of them: %s" % look
            for c in needed:
                rest = [k for k in KEPT if k != c]
                assert limited(rest, *look).returncode != 0, "%s is not needed for %s" % (c, look)
    finally:
        root.kill()
        other.kill()
        root.wait()
        other.wait()


def check_config_space():
    """Beyond the first 64 bytes. False where this machine has no PCI device to try it on."""
    for path in sorted(glob.glob("/sys/bus/pci/devices/*/config")):
        if os.path.getsize(path) <= 64:
            continue
        assert len(limited(KEPT, "cat", path).stdout) > 64, path
        rest = [k for k in KEPT if k != "sys_admin"]
        assert len(limited(rest, "cat", path).stdout) <= 64, "CAP_SYS_ADMIN is not needed for " + path
        return True
    return False


def check_events():
    """PrivateNetwork=yes: the kernel's events come all the same."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        if ctypes.CDLL(None).unshare(0x40000000) != 0:  # CLONE_NEWNET
            os._exit(2)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as s:  # NETLINK_KOBJECT_UEVENT
            s.bind((0, 1))
            os.write(ready[1], b"r")
            while select.select([s], [], [], 20)[0]:
                if b"mem/null" in s.recv(65536):
                    os._exit(0)
        os._exit(1)
    assert os.read(ready[0], 1) == b"r"
    os.close(done[0])
    with open("/sys/class/mem/null/uevent", "w", encoding="ascii") as f:
        f.write("change")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "no event in a network namespace"


def main():
    check_unit()
    if os.geteuid() != 0 or not os.access("/sys/class/mem/null/uevent", os.W_OK):
        print("SKIP: capabilities are tried as root, on a machine whose /sys may be written")
        sys.exit(77)
    check_processes()
    check_events()
    print("configuration space: %s" % ("tried" if check_config_space() else "no PCI device here"))


main()
