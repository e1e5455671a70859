# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the project's own C files (not tests, not generated code), with the checks of
.clang-tidy. What was clean once is remembered by a hash of everything that went in: the file, the
project headers it includes, its flags, the checks and the tool; in the project's cache folder, so that
a fresh clone knows it too."""

import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
LAUNCHERS = ("ccache", "sccache", "distcc")
KEEP_SECONDS = 30 * 24 * 3600 # a mark that nobody asked for


def commands(root, build):
    """file -> compiler arguments, of the files to look at."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    wanted = {os.path.join(root, n) for n in tree.sources(root, (".c",))
              if not n.startswith("tests/")}
    found = {}
    for e in entries:
        name = os.path.realpath(os.path.join(e["directory"], e["file"]))
        if name not in wanted or name in found:
            continue
        args = e.get("arguments") or shlex.split(e["command"])
        if os.path.basename(args[0]) in LAUNCHERS:
            args = args[1:]
        found[name] = {"directory": e["directory"], "file": name, "arguments": args}
    return found


def contents(root, name, seen):
    """Adds to `seen` the bytes of a file and of the project headers it includes."""
    if name in seen or not os.path.isfile(os.path.join(root, name)):
        return
    text = tree.read(root, name)
    seen[name] = text
    for header in INCLUDE.findall(text):
        contents(root, header, seen)


def key(root, build, entry, salt):
    """The same in every clone: where it lies does not count."""
    seen = {}
    contents(root, os.path.relpath(entry["file"], root), seen)
    arguments = [a.replace(build, "<build>").replace(root, "<root>") for a in entry["arguments"]]
    h = hashlib.sha256(salt)
    h.update(json.dumps([arguments, sorted(seen.items())]).encode())
    return h.hexdigest()


def marks():
    """The folder of the marks: an empty file, named by the hash, for each clean file."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(os.environ.get("PGPU_CACHE_DIR") or os.path.join(home, "pgpu"), "tidy")
    os.makedirs(folder, exist_ok=True)
    return folder


def prune(folder):
    for mark in os.scandir(folder):
        try:
            if mark.stat().st_mtime < time.time() - KEEP_SECONDS:
                os.unlink(mark.path)
        except FileNotFoundError:
            pass # somebody else's run was faster


def run_one(tool, db, name):
    done = subprocess.run([tool, "--quiet", "-p", db, name], capture_output=True, text=True)
    if re.search(r": (?:warning|error): ", done.stdout):
        return done.stdout
    return "%s: %s" % (name, done.stderr.strip()) if done.returncode else ""


def main():
    root, build = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    tool = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
    if not tool:
        tree.skip("clang-tidy is not installed")
    db = os.path.join(build, "lint-tidy")
    os.makedirs(db, exist_ok=True)
    found = commands(root, build)
    with open(os.path.join(db, "compile_commands.json"), "w", encoding="utf-8") as f:
        json.dump(list(found.values()), f)

    version = subprocess.run([tool, "--version"], capture_output=True).stdout
    salt = version + tree.read(root, ".clang-tidy").encode()
    clean = marks()
    keys = {n: os.path.join(clean, key(root, build, c, salt)) for n, c in found.items()}
    todo = [n for n in sorted(found) if not os.path.exists(keys[n])]
    problems = []
    jobs = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, text in zip(todo, pool.map(lambda n: run_one(tool, db, n), todo)):
            if text:
                problems.append(text.strip())
            else:
                open(keys[name], "w").close()
    for name in set(found) - set(todo):
        os.utime(keys[name])
    prune(clean)
    print("%d files looked at, %d known to be clean" % (len(todo), len(found) - len(todo)))
    tree.finish("tidy", problems, len(found))


main()
