# SPDX-License-Identifier: Apache-2.0
"""The initial file system of the guest: busybox, kernel modules, our programs with the libraries that
they are linked with. One archive for all boots of a kernel, kept as long as nothing in it changes;
what is special to a boot comes in a second, tiny one behind it."""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from rig import Failed
from rig.cpio import Archive
from rig.modules import Modules

INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "init")

PROGRAMS = ("hwd/pgpu-hwd", "daemon/pgpud", "cli/pgpuctl", "sim/pgpu-sim")
AGENT = "tests/vm/guest/vm_agent"
PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")


def libraries(paths):
    """Every library that ldd names for the programs, and the loader."""
    out = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False)
    if "not found" in out.stdout or out.returncode != 0:
        raise Failed(f"ldd: {out.stdout}{out.stderr}")
    return sorted(set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", out.stdout, re.M)))


def stripped(path):
    """The file without debug information, where strip is at hand."""
    strip = shutil.which("strip")
    with open(path, "rb") as f:
        data = f.read()
    if not strip or data[:4] != b"\x7fELF":
        return data
    # not into a pipe: strip writes nothing there, and says that all is well
    with tempfile.TemporaryDirectory(prefix="pgpu-strip-") as folder:
        to = os.path.join(folder, "out")
        out = subprocess.run([strip, "-o", to, path], capture_output=True, check=False)
        if out.returncode != 0:
            return data
        with open(to, "rb") as f:
            return f.read()


def find_program(build, name):
    """A guest program by its name, wherever below <build>/tests/vm it is built."""
    found = [p for p in glob.glob(f"{build}/tests/vm/**/{name}", recursive=True)
             if os.path.isfile(p) and os.access(p, os.X_OK)]
    if len(found) != 1:
        raise Failed(f"guest program {name}: {len(found)} files of that name below "
                     f"{build}/tests/vm (is it built?)")
    return found[0]


def _fingerprint(paths, words):
    h = hashlib.sha256("\0".join(words).encode())
    for p in sorted(paths):
        s = os.stat(p)
        h.update(f"{p}\0{s.st_mtime_ns}\0{s.st_size}\0".encode())
    return h.hexdigest()[:16]


def base(kernel, build, programs, modules, out_dir, busybox):
    """The archive that all boots of `kernel` share, open for reading. One makes it, the others find
    it; what is open may be removed."""
    with open(os.path.join(out_dir, "base.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return open(_base(kernel, build, programs, modules, out_dir, busybox), "rb")


def _prune(out_dir):
    """Keeps the last ones, and nothing that an interrupted run has begun. Under the lock."""
    done = glob.glob(os.path.join(out_dir, "base-*.cpio"))
    begun = glob.glob(os.path.join(out_dir, "base-*.cpio.*"))
    for old in sorted(done, key=os.path.getmtime)[:-3] + begun:
        os.unlink(old)


def _base(kernel, build, programs, modules, out_dir, busybox):
    files = {f"opt/pgpu/{p}": os.path.join(build, p) for p in PROGRAMS}
    files["vm/agent"] = os.path.join(build, AGENT)
    files.update({f"vm/{os.path.basename(p)}": p for p in programs})
    for p in files.values():
        if not os.path.exists(p):
            raise Failed(f"{p} is not built")
    libs = libraries(sorted(files.values()))
    ids = next((p for p in PCI_IDS if os.path.exists(p)), None)
    here = [os.path.join(os.path.dirname(INIT), f) for f in ("init", "image.py", "cpio.py",
                                                             "modules.py")]
    inputs = list(files.values()) + libs + [busybox, kernel.image] + here + ([ids] if ids else [])
    path = os.path.join(out_dir, f"base-{_fingerprint(inputs, [kernel.version, *modules])}.cpio")
    if os.path.exists(path):
        return path

    a = Archive()
    for d in ("proc", "sys", "dev", "tmp", "run", "root", "etc", "var/run", "sbin", "lib64"):
        a.dir(d)
    a.node("dev/console", 5, 1)
    a.node("dev/null", 1, 3)
    with open(INIT, "rb") as f:
        a.file("init", f.read())
    with open(busybox, "rb") as f:
        a.file("bin/busybox", f.read())
    applets = subprocess.run([busybox, "--list-full"], capture_output=True, text=True,
                             check=True).stdout.split()
    for applet in applets:
        if os.path.basename(applet) != "busybox":
            a.link(f"bin/{os.path.basename(applet)}", "busybox")
    a.link("sbin/modprobe", "/bin/busybox")  # the kernel calls it by this name
    for name, src in sorted(files.items()):
        a.file(name, stripped(src))
    for p in PROGRAMS:
        a.link(f"bin/{os.path.basename(p)}", f"/opt/pgpu/{p}")
    for lib in libs:
        a.file(lib, stripped(os.path.realpath(lib)))
    if ids:
        with open(ids, "rb") as f:
            a.file("usr/share/misc/pci.ids", f.read(), 0o644)
    Modules(kernel.modules).pack(a, modules, kernel.version)

    _prune(out_dir)
    with open(f"{path}.new", "wb") as f:
        f.write(a.bytes())
    os.rename(f"{path}.new", path)
    return path
