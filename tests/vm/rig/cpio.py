# SPDX-License-Identifier: Apache-2.0
"""Writes cpio archives of the format that the kernel unpacks as its initial file system ("newc",
Documentation/driver-api/early-userspace/buffer-format.rst)."""

import os
import stat


class Archive:
    """Files in the order in which they were added; folders come by themselves."""

    def __init__(self):
        self._parts = []
        self._dirs = set()
        self._ino = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        name = name.lstrip("/")
        self._ino += 1
        fields = (self._ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1],
                  len(name.encode()) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        self._parts.append(header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4))

    def dir(self, name):
        name = name.strip("/")
        if not name or name in self._dirs:
            return
        self.dir(os.path.dirname(name))
        self._dirs.add(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o755):
        self.dir(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.dir(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        self.dir(os.path.dirname(name))
        self._entry(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def bytes(self):
        end = Archive()
        end._entry("TRAILER!!!", 0)
        whole = b"".join(self._parts + end._parts)
        return whole + b"\0" * (-len(whole) % 512)
