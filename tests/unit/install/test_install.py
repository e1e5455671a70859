# SPDX-License-Identifier: Apache-2.0
"""Installs a build into a temporary directory: exactly the expected files are there, no more, and
each program runs from where it lies.

usage: test_install.py CMAKE BUILD-DIR VERSION SBINDIR BINDIR MANDIR DOCDIR"""

import os
import subprocess
import sys
import tempfile


def installed(top):
    return {"/" + os.path.relpath(os.path.join(path, f), top)
            for path, _, files in os.walk(top) for f in files}


def main():
    cmake, build, version, sbin, binary, man, doc = sys.argv[1:8]
    programs = {sbin + "/pgpud", sbin + "/pgpu-hwd", sbin + "/pgpu-nri-launch",
                binary + "/pgpuctl", binary + "/pgpu-sim"}
    share = os.path.dirname(man)
    zsh = share + "/zsh/" + ("vendor-completions" if share == "/usr/share" else "site-functions")
    completions = {f for p in map(os.path.basename, programs) for f in (
        share + "/bash-completion/completions/" + p, zsh + "/_" + p,
        share + "/fish/vendor_completions.d/" + p + ".fish")}
    prefix = os.path.dirname(share)
    etc = "/etc" if prefix == "/usr" else prefix + "/etc"
    services = {prefix + "/lib/" + f for f in (
        "systemd/system/pgpud.service", "systemd/system/pgpu-hwd.service",
        "systemd/system/pgpu-wait.service", "modules-load.d/pgpu.conf", "tmpfiles.d/pgpu.conf")}
    services |= {etc + "/pgpu/pgpud.yaml", etc + "/pgpu/hwd.yaml"}
    expected = programs | completions | services | {
        man + "/man1/pgpuctl.1", man + "/man1/pgpu-sim.1", man + "/man5/pgpud.yaml.5",
        man + "/man5/pgpu-audit.5", man + "/man5/hwd.yaml.5", man + "/man8/pgpud.8", man + "/man8/pgpu-hwd.8",
        man + "/man8/pgpu-nri-launch.8",
        doc + "/README.md", doc + "/docs/architecture.md", doc + "/docs/operations.md",
        doc + "/docs/doctor.md", doc + "/docs/integration.md", doc + "/docs/metrics.md",
        doc + "/docs/security.md"}
    problems = []
    with tempfile.TemporaryDirectory(prefix="pgpu-install.") as top:
        done = subprocess.run([cmake, "--install", build], env={**os.environ, "DESTDIR": top},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout + "cmake --install failed")
        there = installed(top)
        problems += ["%s is missing" % f for f in sorted(expected - there)]
        problems += ["%s does not belong there" % f for f in sorted(there - expected)]
        for p in sorted(programs & there):
            run = subprocess.run([top + p, "--version"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            want = "%s %s\n" % (os.path.basename(p), version)
            if run.returncode != 0 or run.stdout != want:
                problems.append("%s --version: %d %r" % (p, run.returncode, run.stdout))
    print("\n".join(problems) if problems else "%d files" % len(expected))
    sys.exit(1 if problems else 0)


main()
