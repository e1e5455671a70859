# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the project's own C files (not tests, not generated code), with the checks of
.clang-tidy. What was clean once is remembered under the build folder by a hash of everything that
went in: the file, the project headers it includes, its flags, the checks and the tool."""

import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
LAUNCHERS = ("ccache", "sccache", "distcc")


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


def key(root, entry, salt):
    seen = {}
    contents(root, os.path.relpath(entry["file"], root), seen)
    h = hashlib.sha256(salt)
    h.update(json.dumps([entry["arguments"], sorted(seen.items())]).encode())
    return h.hexdigest()


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
    cache = os.path.join(build, "lint-cache")
    os.makedirs(cache, exist_ok=True)
    found = commands(root, build)
    with open(os.path.join(cache, "compile_commands.json"), "w", encoding="utf-8") as f:
        json.dump(list(found.values()), f)

    version = subprocess.run([tool, "--version"], capture_output=True).stdout
    salt = version + tree.read(root, ".clang-tidy").encode()
    keys = {name: key(root, entry, salt) for name, entry in found.items()}
    todo = [n for n in sorted(found) if not os.path.exists(os.path.join(cache, keys[n]))]
    problems = []
    jobs = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, text in zip(todo, pool.map(lambda n: run_one(tool, cache, n), todo)):
            if text:
                problems.append(text.strip())
            else:
                open(os.path.join(cache, keys[name]), "w").close()
    # Marks of former versions of the files are of no use any more.
    for mark in set(os.listdir(cache)) - set(keys.values()) - {"compile_commands.json"}:
        os.unlink(os.path.join(cache, mark))
    print("%d files looked at, %d known to be clean" % (len(todo), len(found) - len(todo)))
    tree.finish("tidy", problems, len(found))


main()
