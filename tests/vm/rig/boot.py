# SPDX-License-Identifier: Apache-2.0
"""A boot: one run of QEMU, described in a file of tests/vm/boots/. README.md has the keys."""

import os
import tomllib
from dataclasses import dataclass, field

from rig import Failed

# key -> (type, default)
KEYS = {
    "summary": (str, None),
    "kernel": (str, "debian"),
    "iommu": (str, "intel"),
    "append": (str, ""),
    "memory": (int, 512),
    "cpus": (int, 1),
    "timeout": (int, 900),
    "program_seconds": (int, 600),
    "time_scale": (float, 0.05),
    "label": (str, "vm"),
    "modules": (list, ["vfio-pci", "vfio_iommu_type1"]),
    "pack": (list, []),
    "programs": (list, None),
    "may_skip": (list, []),
    "qemu": (list, []),
    "server": (list, []),
    "files": (dict, {}),
    "port": (list, []),
}
IOMMUS = {
    "intel": (["-device", "intel-iommu,intremap=on,caching-mode=on"], "intel_iommu=on"),
    "amd": (["-device", "amd-iommu,intremap=on"], ""),
    "none": ([], "intel_iommu=off amd_iommu=off"),
}
PORT_KEYS = {"device": list, "driver": str, "options": str, "slot": str, "bus": str}
DEVICE_KEYS = {"name": str, "model": str, "options": str, "plugged": bool, "qemu": str}


@dataclass
class Device:
    name: str
    model: str
    options: str = ""
    plugged: bool = True
    qemu: str = ""
    port: int = 0
    function: int = 0
    multi: bool = False

    @property
    def address(self):
        """Root ports are the machine's only bridges, so the firmware numbers their buses in order."""
        return f"0000:{self.port + 1:02x}:00.{self.function}"

    def qemu_device(self, sockets):
        d = {"driver": "vfio-user-pci", "id": self.name, "bus": f"rp{self.port}",
             "addr": f"0.{self.function}",
             "socket": {"path": os.path.join(sockets, f"{self.name}.sock"), "type": "unix"}}
        if self.multi:
            d["multifunction"] = True
        for word in self.qemu.split(","):
            if word:
                key, value = word.split("=", 1)
                d[key] = {"on": True, "off": False}.get(value, value)
        return d


@dataclass
class Boot:
    name: str
    keys: dict
    devices: list = field(default_factory=list)

    def __getattr__(self, key):
        try:
            return self.keys[key]
        except KeyError:
            raise AttributeError(key) from None

    def all_programs(self):
        return [p.split()[0] for p in self.programs]


def _typed(where, table, known):
    for key, value in table.items():
        if key not in known:
            raise Failed(f"{where}: unknown key {key} (there are: {', '.join(known)})")
        if known[key] is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, known[key]):
            raise Failed(f"{where}: {key} is to be a {known[key].__name__}")
    return table


def load(path):
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path, "rb") as f:
        try:
            table = tomllib.load(f)
        except tomllib.TOMLDecodeError as e:
            raise Failed(f"{path}: {e}") from None
    _typed(path, table, {k: t for k, (t, _) in KEYS.items()})
    keys = {k: table.get(k, default) for k, (_, default) in KEYS.items()}
    for k, (_, default) in KEYS.items():
        if default is None and keys[k] is None:
            raise Failed(f"{path}: {k} is missing")
    if keys["iommu"] not in IOMMUS:
        raise Failed(f"{path}: iommu is one of {', '.join(IOMMUS)}")
    boot = Boot(name, keys)
    for i, port in enumerate(keys["port"]):
        _typed(f"{path}: port {i}", port, PORT_KEYS)
        devices = port.get("device", [])
        for j, d in enumerate(devices):
            _typed(f"{path}: port {i}, device {j}", d, DEVICE_KEYS)
            boot.devices.append(Device(port=i, function=j, multi=len(devices) > 1, **d))
    names = [d.name for d in boot.devices]
    if len(set(names)) != len(names):
        raise Failed(f"{path}: two devices of one name")
    programs = [os.path.basename(p) for p in boot.all_programs()]
    if len(set(programs)) != len(programs):
        raise Failed(f"{path}: two programs of one name")  # their results could not be told apart
    if not set(keys["may_skip"]) <= set(programs):
        raise Failed(f"{path}: may_skip names a program that the boot has not")
    return boot
