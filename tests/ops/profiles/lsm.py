# SPDX-License-Identifier: Apache-2.0
"""deploy/profiles/apparmor and deploy/openshift/selinux, as their own compilers see them:

    lsm.py apparmor       each profile compiles, and one with a mistake does not
    lsm.py selinux        the policy compiles with the names of container-selinux, breaks none of the
                          rules of base.cil, and would be noticed if it did

Nothing is loaded into a kernel.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import node

HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.join(node.source_dir(), "deploy")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def tool(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        node.skip("%s is needed (package %s)" % (name, package))
    return path


def run(line, text):
    """Gives the text in a file to the compiler; its exit status and what it says."""
    with tempfile.TemporaryDirectory(prefix="pgpu-lsm.") as d:
        path = os.path.join(d, "source")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        done = subprocess.run([w.replace("@DIR@", d) for w in line] + [path], capture_output=True,
                              text=True, errors="replace", check=False)
        return done.returncode, done.stdout + done.stderr


def expect(what, status, text, wanted):
    if (status == 0) != (wanted is None) or (wanted and wanted not in text):
        raise node.Failed("%s: exit status %d\n%s" % (what, status, text[-2000:]))


def apparmor():
    # -Q: the kernel is not told; -K: nothing is cached; -S would print binary
    line = [tool("apparmor_parser", "apparmor"), "-Q", "-K"]
    for name in ("pgpud", "pgpu-hwd"):
        text = read(os.path.join(DEPLOY, "profiles/apparmor", name))
        expect(name, *run(line, text), None)
        expect(name + " without a comma", *run(line, text.replace("network unix stream,", "network unix stream")),
               "syntax error")
        expect(name + " with a permission that there is not",
               *run(line, text.replace("/etc/pgpu/ r,", "/etc/pgpu/ z,")), "syntax error")
        if "profile %s flags=" % name not in text:
            raise node.Failed("%s: the profile has another name" % name)
    # pgpud has no capability, and what hardware is made of is denied
    text = read(os.path.join(DEPLOY, "profiles/apparmor/pgpud"))
    for word in ("\n  capability", "/sys/bus", "mount"):
        if word in text:
            raise node.Failed("pgpud: " + word.strip())
    print("both profiles compile")


def selinux():
    line = [tool("secilc", "secilc"), "-o", "@DIR@/policy", "-f", "@DIR@/contexts",
            os.path.join(HERE, "base.cil")]
    text = read(os.path.join(DEPLOY, "openshift/selinux/pgpud.cil"))
    expect("pgpud.cil", *run(line, text), None)
    for what, rule in (
            ("a bracket", "(allow pgpud_t self (tcp_socket (create))"),
            ("an unknown type", "(allow pgpud_t nosuch_t (file (read)))"),
            ("writing sysfs", "(allow pgpud_t sysfs_t (file (write)))"),
            ("opening VFIO", "(allow pgpud_t vfio_device_t (chr_file (open)))"),
            ("a capability", "(allow pgpud_t self (capability (sys_admin)))"),
            ("executing what it writes", "(allow pgpud_t var_run_t (file (execute)))")):
        status, said = run(line, text + rule + "\n")
        if status == 0:
            raise node.Failed("with %s it compiles as well\n%s" % (what, said))
    print("pgpud.cil compiles")


if __name__ == "__main__":
    try:
        {"apparmor": apparmor, "selinux": selinux}[sys.argv[1]]()
    except node.Failed as e:
        sys.exit("FAILED: %s" % e)
