# SPDX-License-Identifier: Apache-2.0
"""The files that the lint tests look at, and how they report."""

import os
import re
import subprocess
import sys

SKIPPED = 77  # CTest's SKIP_RETURN_CODE


def sources(root, suffixes=(".c", ".h")):
    """Paths below root, relative: what git tracks or would track; without git, everything but
    build/ and hidden folders."""
    try:
        out = subprocess.run(
            ["git", "-C", root, "-c", "safe.directory=*", "ls-files", "-coz",
             "--exclude-standard"], check=True, capture_output=True).stdout
        names = [n.decode() for n in out.split(b"\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for path, dirs, files in os.walk(root):
            dirs[:] = [d for d in dirs if not d.startswith(".") and
                       os.path.join(path, d) != os.path.join(root, "build")]
            names += [os.path.relpath(os.path.join(path, f), root) for f in files]
    return sorted({n for n in names if n.endswith(suffixes) and
                   os.path.isfile(os.path.join(root, n))})


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
        return f.read()


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text, strings=True):
    """The same text with comments, and unless `strings` also literals, replaced by blanks: line
    numbers stay."""
    def one(m):
        s = m.group(0)
        if s.startswith(("/*", "//")):
            return _blank(s)
        return s if strings else s[0] + _blank(s[1:-1]) + s[-1]
    return TOKEN.sub(one, text)


def finish(what, problems, looked_at):
    """Prints what was found and ends the program."""
    for p in problems:
        print(p)
    print("%s: %d files, %d problems" % (what, looked_at, len(problems)))
    sys.exit(1 if problems else 0)


def skip(why):
    print("SKIP: " + why)
    sys.exit(SKIPPED)
