# SPDX-License-Identifier: Apache-2.0
"""The processes of one boot: the emulated devices' server and QEMU, and the lines to them."""

import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

from rig import Failed
from rig.boot import IOMMUS

# What costs time under TCG and proves nothing here; pci=realloc is not needed: the firmware assigns.
# Level 5 has the kernel's warnings on the console.
APPEND = ("console=ttyS0 panic=-1 oops=panic quiet loglevel=5 mitigations=off tsc=reliable nokaslr "
          "no_timer_check 8250.nr_uarts=3 random.trust_cpu=on")
# What no boot may bring about. What a slow machine alone can cause is not among it: stalls, lockups
# and hung tasks, whose traces are like those of the others.
COMPLAINT = re.compile(r"WARNING: (CPU: |\S+:\d+ )|BUG: (?!soft lockup|workqueue lockup)|kernel BUG at|"
                       r"\bOops\b|general protection fault|Kernel panic")
READY_SECONDS = 120
REPLY_SECONDS = 100  # unplug takes two; guest/host.c waits longer
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_us():
    """In a child: when this process is killed, nothing of it stays behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def listen(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen(1)
    return s


class Lines:
    """Lines of a stream socket, as they come."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.open = True

    def fileno(self):
        return self.sock.fileno()

    def read(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.open = False
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [x.decode(errors="replace").rstrip("\r") for x in lines]


def control(path, line):
    """One command to the devices' server: (succeeded, text)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(REPLY_SECONDS)
        s.connect(path)
        s.sendall(line.encode() + b"\n")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    head, _, text = data.decode(errors="replace").partition("\n")
    if head.startswith("ok"):
        return True, text
    return False, head.removeprefix("error").lstrip(": ") or "no answer"


class Machine:
    """Started by start(); whatever happens, stop() ends all of it."""

    def __init__(self, boot, qemu, build, run_dir, sockets):
        self.boot, self.qemu, self.build = boot, qemu, build
        self.run_dir, self.sockets = run_dir, sockets
        self.server = self.process = self.qmp = self.results = self.requests = None
        self.plugged = {d.name for d in boot.devices if d.plugged}
        self._listeners = {}
        self._files = []
        self._deleted = set()

    def _log(self, name):
        f = open(os.path.join(self.run_dir, name), "wb")
        self._files.append(f)
        return f

    # ---- the emulated devices ----

    def start_server(self):
        if not self.boot.devices:
            return
        r, w = os.pipe()
        words = [f"{self.sockets}/{d.name}.sock={d.model}" + (f",{d.options}" if d.options else "")
                 for d in self.boot.devices]
        argv = [os.path.join(self.build, "sim/pgpu-sim"), "vfio-user", "--control",
                f"{self.sockets}/control", "--time-scale", str(self.boot.time_scale),
                "--ready-fd", str(w), "--die-with-parent", *self.boot.server, *words]
        self.server = subprocess.Popen(argv, pass_fds=[w], stdin=subprocess.DEVNULL,
                                       stdout=self._log("server.log"), stderr=subprocess.STDOUT)
        os.close(w)
        with os.fdopen(r, "rb") as ready:
            if not select.select([ready], [], [], READY_SECONDS)[0] or not ready.read(1):
                raise Failed("pgpu-sim vfio-user did not become ready: " + self.tail("server.log", 3))

    # ---- QEMU ----

    def command(self, kernel, initrd, interactive):
        b = self.boot
        iommu, append = IOMMUS[b.iommu]
        argv = [*self.qemu,
                "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi",
                "-cpu", "max,phys-bits=46",  # 40 bits: BARs where Linux reserves, no way back after a rescan
                "-smp", str(b.cpus), "-m", str(b.memory),
                "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
                # native hot-plug: with ACPI's the ports never show an active link, so that a bus
                # reset fails
                "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                "-kernel", kernel.image, "-initrd", initrd,
                "-append", " ".join(x for x in (APPEND, append, b.append) if x)]
        argv += ["-serial", "mon:stdio"] if interactive else \
            ["-serial", f"file:{self.run_dir}/console.log"]
        for name in ("results", "requests"):
            argv += ["-chardev", f"socket,id={name},path={self.sockets}/{name}",
                     "-serial", f"chardev:{name}"]
        argv += ["-qmp", f"unix:{self.sockets}/qmp"]
        argv += [str(x) for x in b.qemu]
        for i, port in enumerate(b.port):
            options = port.get("options", "")
            slot = port.get("slot", f"{i + 1:x}")
            bus = port.get("bus", "pcie.0")
            # room for the large BAR of what comes later; of address space, not of memory
            late = any(not d.plugged for d in b.devices if d.port == i)
            driver = port.get("driver",
                              f"pcie-root-port,pref64-reserve={'512G' if late else '1G'}")
            argv += ["-device", f"{driver},id=rp{i},chassis={i + 1},slot={i + 1},bus={bus},"
                     f"addr={slot}" + (f",{options}" if options else "")]
        argv += iommu  # AMD's is a PCI device too, and takes a free slot
        for d in b.devices:
            if d.plugged:
                argv += ["-device", json.dumps(d.qemu_device(self.sockets))]
        return argv

    def start(self, kernel, initrd, interactive=False):
        self.start_server()
        for name in ("results", "requests", "qmp"):
            self._listeners[name] = listen(f"{self.sockets}/{name}")
        argv = self.command(kernel, initrd, interactive)
        with open(os.path.join(self.run_dir, "qemu.args"), "w", encoding="utf-8") as f:
            f.write("\n".join(argv) + "\n")
        out = {} if interactive else {"stdin": subprocess.DEVNULL, "stdout": self._log("qemu.log"),
                                      "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(argv, preexec_fn=end_with_us, **out)
        lines = {}
        end = time.monotonic() + READY_SECONDS
        for name, listener in self._listeners.items():
            while not select.select([listener], [], [], 0.1)[0]:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failed("QEMU did not start: " + (self.tail("qemu.log", 5) or "see above"))
            lines[name] = Lines(listener.accept()[0])
        self.results, self.requests, self.qmp = (lines[x] for x in ("results", "requests", "qmp"))
        try:
            self._qmp_wait(lambda m: "QMP" in m)
            self.qmp_command("qmp_capabilities")
        except Failed:
            raise Failed("QEMU did not start: " + (self.tail("qemu.log", 5) or "see above")) from None

    def drain_events(self):
        """Reads what QEMU tells by itself."""
        for line in self.qmp.read():
            self._event(json.loads(line))

    def _event(self, m):
        if m.get("event") == "DEVICE_DELETED" and "device" in m["data"]:
            self._deleted.add(m["data"]["device"])
            self.plugged.discard(m["data"]["device"])

    def _qmp_wait(self, wanted, seconds=REPLY_SECONDS):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.qmp], [], [], left)[0]:
                break
            for line in self.qmp.read():
                m = json.loads(line)
                self._event(m)
                if wanted(m):
                    return m
            if not self.qmp.open:
                break
        raise Failed("QEMU does not answer on its control line")

    def qmp_command(self, name, arguments=None):
        command = {"execute": name}
        if arguments:
            command["arguments"] = arguments
        self.qmp.sock.sendall(json.dumps(command).encode() + b"\n")
        m = self._qmp_wait(lambda m: "return" in m or "error" in m)
        if "error" in m:
            raise Failed(m["error"].get("desc", "refused"))
        return m["return"]

    # ---- the guest's requests ----

    def _device(self, name):
        for d in self.boot.devices:
            if d.name == name:
                return d
        raise Failed(f"the boot has no device {name}")

    def _plug(self, name):
        arguments = dict(self._device(name).qemu_device(self.sockets))
        self.qmp_command("device_add", arguments)
        self.plugged.add(name)
        self._deleted.discard(name)
        return ""

    def _yank(self, name):
        self._device(name)
        self.qmp_command("device_del", {"id": name})
        return ""

    def _unplug(self, name):
        self._yank(name)
        if name not in self._deleted:
            self._qmp_wait(lambda m: name in self._deleted)
        return ""

    def _ctl(self, words):
        ok, text = control(f"{self.sockets}/control", words)
        if not ok:
            raise Failed(text)
        return text

    def _qmp(self, text):
        m = json.loads(text)
        return json.dumps(self.qmp_command(m["execute"], m.get("arguments")))

    def answer(self, line):
        verb, _, rest = line.partition(" ")
        verbs = {"ctl": self._ctl, "plug": self._plug, "unplug": self._unplug, "yank": self._yank,
                 "qmp": self._qmp}
        try:
            if verb not in verbs:
                raise Failed(f"unknown command {verb} (there are: {', '.join(verbs)})")
            head, text = "ok", verbs[verb](rest)
        except (Failed, OSError, ValueError) as e:
            head, text = "error", str(e)
        data = text.encode()
        try:
            self.requests.sock.sendall(f"{head} {len(data)}\n".encode() + data)
        except OSError:
            pass  # the machine has ended; that is noticed elsewhere
        return head, text

    # ---- the end ----

    def tail(self, name, lines):
        try:
            with open(os.path.join(self.run_dir, name), encoding="utf-8", errors="replace") as f:
                return "\n".join(f.read().splitlines()[-lines:])
        except OSError:
            return ""

    def kernel_complaint(self):
        """What the kernel says of itself on the console, or ""."""
        try:
            with open(os.path.join(self.run_dir, "console.log"), encoding="utf-8",
                      errors="replace") as f:
                found = [line.strip() for line in f if COMPLAINT.search(line)]
        except OSError as e:
            return str(e)
        return f"the kernel complains: {found[0]}" if found else ""

    def server_died(self):
        return self.server is not None and self.server.poll() is not None

    def stop(self):
        for p in (self.process, self.server):
            if p and p.poll() is None:
                p.terminate()
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        for s in list(self._listeners.values()) + \
                [x.sock for x in (self.results, self.requests, self.qmp) if x]:
            s.close()
        for f in self._files:
            f.close()
