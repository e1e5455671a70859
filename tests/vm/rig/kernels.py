# SPDX-License-Identifier: Apache-2.0
"""Which kernel a boot runs, and the tools around it, out of the cache."""

import glob
import os
import subprocess
from dataclasses import dataclass

from rig import Failed, Skip


@dataclass
class Kernel:
    image: str
    version: str
    modules: str  # folder with kernel/, modules.builtin


def _in_folder(folder):
    images = glob.glob(os.path.join(folder, "boot/vmlinuz-*"))
    if len(images) != 1:
        raise Failed(f"{folder}/boot has {len(images)} kernels")
    version = os.path.basename(images[0]).removeprefix("vmlinuz-")
    for lib in ("lib", "usr/lib"):
        modules = os.path.join(folder, lib, "modules", version)
        if os.path.isdir(modules):
            return Kernel(images[0], version, modules)
    raise Failed(f"{folder} has no modules of {version}")


def find(name, rig, source):
    """"debian": what fetch got. A path ending in "/build": a program of the tree that makes one and
    prints its folder (exit status 77: it cannot be made here)."""
    if name == "debian":
        return _in_folder(os.path.join(rig, "kernel"))
    out = subprocess.run([os.path.join(source, name)], stdout=subprocess.PIPE, text=True, check=False)
    last = out.stdout.strip().splitlines()[-1:] or [""]
    if out.returncode == 77:
        raise Skip(last[0].removeprefix("SKIP: "))
    if out.returncode != 0:
        raise Failed(f"{name} failed")
    return _in_folder(last[0])


def busybox(rig):
    return os.path.join(rig, "tools/usr/bin/busybox")


def qemu(rig):
    """QEMU with its own loader and libraries: it is of another release."""
    root = os.path.join(rig, "qemu")
    return [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path",
            f"{root}/usr/lib/x86_64-linux-gnu", f"{root}/usr/bin/qemu-system-x86_64",
            "-L", f"{root}/usr/share/seabios", "-L", f"{root}/usr/share/qemu"]
