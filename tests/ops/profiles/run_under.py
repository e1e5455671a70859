# SPDX-License-Identifier: Apache-2.0
"""Runs a program as a container with one of deploy/profiles/seccomp would have it:

    run_under.py [--default ACTION] [--drop-capabilities] [--read-only] [--writable DIR]... PROFILE PROGRAM [ARG]...
    run_under.py --probe PROFILE        says which of a list of system calls get through

--default takes the place of the profile's default action: kill ends the program at the first system
call that the profile has not (the kernel's log names it), log lets it through. The filter is libseccomp's,
which runc uses as well; the profile's architectures are the machine's.
"""

import ctypes
import json
import os
import sys

ACTIONS = {"SCMP_ACT_ALLOW": 0x7fff0000, "kill": 0x80000000, "log": 0x7ffc0000}
ERRNO = 0x00050000
COMPARE = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4,
           "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MS_REMOUNT, MS_RDONLY = (
    0x20000, 0x1000, 0x4000, 0x40000, 0x20, 1)

libc = ctypes.CDLL(None, use_errno=True)


class Argument(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]


def check(result, what):
    if result < 0:
        sys.exit("run_under: %s: %s" % (what, os.strerror(ctypes.get_errno() or -result)))


def library():
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        print("SKIP: libseccomp is needed (package libseccomp2)")
        sys.exit(77)
    lib.seccomp_init.restype = ctypes.c_void_p
    return lib


def load(profile, default=None):
    """Loads the profile into this process. Names that this machine does not have are passed over,
    as runc does."""
    lib = library()
    action = ACTIONS[default] if default else ERRNO | profile["defaultErrnoRet"]
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    ctx = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(action)))
    if not ctx:
        sys.exit("run_under: seccomp_init")
    for group in profile["syscalls"]:
        args = [Argument(a["index"], COMPARE[a["op"]], a["value"], a.get("valueTwo", 0))
                for a in group.get("args", [])]
        array = (Argument * max(1, len(args)))(*args)
        for name in group["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == -1:  # __NR_SCMP_ERROR
                sys.exit("run_under: no system call %s" % name)
            check(lib.seccomp_rule_add_array(
                ctx, ctypes.c_uint32(ACTIONS[group["action"]]), ctypes.c_int(number),
                ctypes.c_uint(len(args)), array), "rule for " + name)
    if default:
        # the C library asks for it first, and does without
        check(lib.seccomp_rule_add_array(
            ctx, ctypes.c_uint32(ERRNO | profile["defaultErrnoRet"]),
            ctypes.c_int(lib.seccomp_syscall_resolve_name(b"clone3")), ctypes.c_uint(0),
            (Argument * 1)()), "rule for clone3")
    check(lib.seccomp_load(ctx), "load the filter")


def read_only(writable):
    """A mount namespace of its own, with everything but these directories read-only. Mounts inside
    them (the simulated node) stay as they are."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount /")
    for d in writable:
        check(libc.mount(d.encode(), d.encode(), None, ctypes.c_ulong(MS_BIND | MS_REC), None),
              "bind " + d)
    check(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REMOUNT | MS_BIND | MS_RDONLY), None),
          "remount /")


def drop_capabilities():
    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

    for cap in range(64):
        libc.prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)  # EINVAL past the last
    none = (ctypes.c_uint32 * 6)()
    check(libc.capset(ctypes.byref(Header(0x20080522, 0)), none), "capset")


# name, number on x86-64, arguments: what a hole in the program would be used for
PROBES = (("unshare", 272, (0,)), ("ptrace", 101, (0, 0, 0, 0)), ("mount", 165, (0, 0, 0, 0, 0)),
          ("bpf", 321, (0, 0, 0)), ("init_module", 175, (0, 0, 0)), ("kexec_load", 246, (0, 0, 0, 0)),
          ("userfaultfd", 323, (0,)), ("io_uring_setup", 425, (0, 0)), ("keyctl", 250, (0,)),
          ("perf_event_open", 298, (0, 0, 0, 0, 0)), ("process_vm_readv", 310, (0,) * 6),
          ("setns", 308, (-1, 0)), ("memfd_create", 319, (0, 0)), ("chown", 92, (0, 0, 0)),
          ("setuid", 105, (0,)), ("pivot_root", 155, (0, 0)), ("personality", 135, (0xffffffff,)),
          ("socket AF_INET", 41, (2, 1, 0)), ("socket AF_NETLINK", 41, (16, 3, 15)),
          ("socket AF_PACKET", 41, (17, 3, 0)), ("socket AF_VSOCK", 41, (40, 1, 0)),
          ("socket AF_UNIX", 41, (1, 1, 0)), ("socketpair", 53, (1, 1, 0, 0)),
          # flags that the kernel refuses by itself, so that no process comes of it
          ("clone a process", 56, (0x800, 0, 0, 0, 0)),
          ("clone a namespace", 56, (0x10000000 | 0x200, 0, 0, 0, 0)),
          ("clone a thread", 56, (0x10000, 0, 0, 0, 0)))


def probe(profile):
    load(profile)
    for name, number, args in PROBES:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
        refused = result == -1 and ctypes.get_errno() == profile["defaultErrnoRet"]
        os.write(1, ("%s: %s\n" % (name, "refused" if refused else "through")).encode())
    os._exit(0)


def main():
    words, default, caps, ro, writable = sys.argv[1:], None, False, False, []
    while words and words[0].startswith("--"):
        option = words.pop(0)
        if option == "--default":
            default = words.pop(0)
        elif option == "--drop-capabilities":
            caps = True
        elif option == "--read-only":
            ro = True
        elif option == "--writable":
            writable.append(words.pop(0))
        elif option == "--probe":
            with open(words[0], encoding="utf-8") as f:
                probe(json.load(f))
        else:
            sys.exit("run_under: no option " + option)
    with open(words.pop(0), encoding="utf-8") as f:
        profile = json.load(f)
    if ro:
        read_only(writable)
    if caps:
        drop_capabilities()
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    load(profile, default)
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()
