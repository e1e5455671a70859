# SPDX-License-Identifier: Apache-2.0
"""clang-format 14 leaves every source file as it is. Other versions format differently."""

import re
import shutil
import subprocess
import sys

import tree

WANTED = "14"


def find():
    for name in ("clang-format-" + WANTED, "clang-format"):
        path = shutil.which(name)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
            found = re.search(r"version (\d+)", version)
            if found and found.group(1) == WANTED:
                return path
    return None


def main():
    root = sys.argv[1]
    tool = find()
    if not tool:
        tree.skip("clang-format %s is not installed" % WANTED)
    names = tree.sources(root)
    done = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=1", *names], cwd=root,
                          capture_output=True, text=True)
    bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.M)))
    if done.returncode != 0 and not bad:
        bad = [done.stderr.strip()]
    tree.finish("format", ["%s: run clang-format -i on it" % b for b in bad], len(names))


main()
