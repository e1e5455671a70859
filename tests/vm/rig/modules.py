# SPDX-License-Identifier: Apache-2.0
"""Kernel modules: which files a list of them needs, and the indices that modprobe reads. What depmod
would tell is in the modules themselves (the section .modinfo)."""

import lzma
import os
import re

from rig import Failed


def norm(name):
    return name.replace("-", "_")


class Modules:
    """The modules of one kernel, below <root>/kernel."""

    def __init__(self, root):
        self.root = root
        self._paths = {}
        self._data = {}
        for folder, _, files in os.walk(os.path.join(root, "kernel")):
            for f in files:
                m = re.fullmatch(r"(.+)\.ko(\.xz)?", f)
                if m:
                    self._paths[norm(m.group(1))] = os.path.join(folder, f)
        self._builtin = set()
        builtin = os.path.join(root, "modules.builtin")
        if os.path.exists(builtin):
            with open(builtin, encoding="ascii") as f:
                self._builtin = {norm(os.path.basename(x.strip())[:-3]) for x in f}

    def data(self, name):
        if name not in self._data:
            path = self._paths[name]
            with open(path, "rb") as f:
                raw = f.read()
            self._data[name] = lzma.decompress(raw) if path.endswith(".xz") else raw
        return self._data[name]

    def _info(self, name, key):
        return [m.decode() for m in
                re.findall(rb"\0" + key + rb"=([^\0]*)", b"\0" + self.data(name))]

    def depends(self, name):
        """In the order in which they are to be loaded, without itself."""
        found = []
        for d in ",".join(self._info(name, b"depends")).split(","):
            d = norm(d)
            if d and d not in self._builtin:
                found += [x for x in self.depends(d) + [d] if x not in found]
        return found

    def closure(self, names):
        found = []
        for n in map(norm, names):
            if n in self._builtin:
                continue
            if n not in self._paths:
                raise Failed(f"the kernel has no module {n}")
            found += [x for x in self.depends(n) + [n] if x not in found]
        return found

    def pack(self, archive, names, version):
        """Into /lib/modules/<version>, uncompressed, with modprobe's indices."""
        base = f"lib/modules/{version}"
        dep, alias = [], []
        for n in self.closure(names):
            archive.file(f"{base}/{n}.ko", self.data(n), 0o644)
            after = " ".join(f"{d}.ko" for d in reversed(self.depends(n)))
            dep.append(f"{n}.ko: {after}".rstrip() + "\n")
            alias += [f"alias {a} {n}\n" for a in self._info(n, b"alias")]
        archive.file(f"{base}/modules.dep", "".join(dep).encode(), 0o644)
        archive.file(f"{base}/modules.alias", "".join(alias).encode(), 0o644)
        archive.file(f"{base}/modules.builtin",
                     "".join(f"{b}.ko\n" for b in sorted(self._builtin)).encode(), 0o644)
        for f in ("modules.softdep", "modules.symbols"):
            archive.file(f"{base}/{f}", b"", 0o644)
