# SPDX-License-Identifier: Apache-2.0
"""Runs the commands that our documents show, on a simulated node, and compares what they print.

usage: commands.py SOURCE BUILD [--only PATH]   (mdblocks.py says how a block is marked)

In a block whose commands stand after "$ ", what stands below a command is what it prints: "…" stands
for anything in a line, a line with nothing else for any number of lines; blanks count as one. A
command fails the test with an exit status other than 0, or than N where it ends in "# exits N"."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mdblocks  # noqa: E402
import simnode  # noqa: E402

LIMIT = 90  # seconds for one block
MARK = "\x1e"
EXITS = re.compile(r"#.*\bexits (\d+)")
# A build is not what these blocks are about: the programs are those under test.
NO_BUILD = "cmake() { echo \"(built before: cmake $*)\"; }\n"


class Failure(Exception):
    pass


def documents(root):
    for path in mdblocks.files(root):
        if path == "README.md" or path.startswith("docs/") or \
           (path.startswith("deploy/") and path.endswith("README.md")):
            yield path


def normal(line):
    return re.sub(r"\s+", " ", line).strip()


def matches(shown, printed):
    """Whether the printed lines are those that are shown."""
    pattern = ""
    for line in map(normal, shown):
        if line == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(re.escape, line.split("…"))) + r"\n"
    text = "".join(normal(line) + "\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def bash(script, env, cwd):
    """(exit status, output); what the script leaves running is killed."""
    with tempfile.TemporaryFile() as out:
        run = subprocess.Popen(["bash", "--norc", "-c", script], stdout=out, stderr=out,
                               stdin=subprocess.DEVNULL, env=env, cwd=cwd, start_new_session=True)
        try:
            status = run.wait(LIMIT)
        except subprocess.TimeoutExpired:
            status = None
        if status is None:
            os.killpg(run.pid, 9)
            run.wait()
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    if status is None:
        raise Failure(f"not done within {LIMIT} s; so far it printed:\n{text}")
    if simnode.FINDING.search(text):
        raise Failure(f"a sanitizer's finding:\n{text}")
    return status, text


def run_session(block, env, cwd):
    """Commands with their output: one shell for the block, each command's answer apart."""
    commands = block.commands()
    script = "".join(f"{c}\nprintf '{MARK}%d\\n' $?\n" for c, _ in commands)
    _, text = bash(script, env, cwd)
    parts = re.split(MARK + r"(\d+)\n", text)
    if len(parts) != 2 * len(commands) + 1:
        raise Failure(f"the shell ended early; it printed:\n{text}")
    for i, (command, shown) in enumerate(commands):
        printed = parts[2 * i].split("\n")[:-1]
        status = int(parts[2 * i + 1])
        m = EXITS.search(command)
        if status != int(m.group(1) if m else 0):
            raise Failure(f"$ {command}\nexits {status}; it printed:\n{parts[2 * i]}")
        if shown and not matches(shown, printed):
            raise Failure(f"$ {command}\nprints something else than is shown:\n{parts[2 * i]}")
    return "\n".join(parts[0:-1:2])


def run_script(block, env, cwd):
    """A block without prompts: one script, of which no command may fail that is not named."""
    allowed = block.options().get("fails")
    script = "trap 'printf \"" + MARK + "%d %s\\n\" $? \"$BASH_COMMAND\"' ERR\n" + NO_BUILD + \
        "\n".join(block.lines) + "\n"
    status, text = bash(script, env, cwd)
    # 126, 127: there is no such program, which nobody means to show.
    wrong = [line for code, line in re.findall(MARK + r"(\d+) (.*)", text)
             if code in ("126", "127") or not (allowed and re.search(allowed, line))]
    if wrong or (status != 0 and not allowed):
        raise Failure(f"fails (exit status {status}): {'; '.join(wrong)}\nit printed:\n{text}")
    return re.sub(MARK + r".*\n", "", text)


def in_order(wanted, text):
    at = 0
    text = normal(text)
    for want in wanted:
        pattern = r".*?".join(map(re.escape, normal(want).split("…")))
        m = re.compile(pattern).search(text, at)
        if not m:
            raise Failure(f"does not print (here): {want}\nit printed:\n{text}")
        at = m.end()


def run_block(block, env, cwd):
    options = block.options()
    end = time.monotonic() + float(str(options.get("within", "0s")).rstrip("s"))
    while True:
        try:
            run = run_session if block.session() else run_script
            text = run(block, env, cwd)
            in_order(block.prints, text)
            return text
        except Failure:
            if time.monotonic() >= end:
                raise
        time.sleep(0.3)


class Runner:
    def __init__(self, source, build, verbose):
        self.source, self.build, self.verbose = source, build, verbose
        self.node, self.failed, self.count = None, [], 0

    def checkout(self, home):
        """A folder that looks like a checkout with our build in it."""
        cwd = os.path.join(home, "checkout")
        os.makedirs(os.path.join(cwd, "build"))
        for name in os.listdir(self.source):
            if name not in (".git", "build"):
                os.symlink(os.path.join(self.source, name), os.path.join(cwd, name))
        for name in ("release", "dev"):
            os.symlink(self.build, os.path.join(cwd, "build", name))
        return cwd

    def say(self, block, seconds, failure):
        self.count += 1
        print(f"{'FAILED' if failure else 'ok':6} {seconds:5.1f} s  {block.where}", flush=True)
        if failure:
            self.failed.append(block.where)
            print("  " + str(failure).replace("\n", "\n  "), flush=True)

    def block(self, block, home):
        private = block.options().get("private") if block.kind == "run" else False
        if not private and self.node is None:
            self.node = simnode.Node(home)
            self.node.start()
        env = dict(os.environ, LC_ALL="C.UTF-8") if private else self.node.env()
        env["TMPDIR"] = home
        start, failure, text = time.monotonic(), None, ""
        try:
            if block.kind == "setup":
                status, text = bash(block.lines[0], env, home)
                if status != 0:
                    raise Failure(f"setup: {block.lines[0]}: exits {status}\n{text}")
            else:
                text = run_block(block, env, os.path.join(home, "checkout"))
        except Failure as e:
            failure = e
        if failure or block.kind == "run":
            self.say(block, time.monotonic() - start, failure)
        if self.verbose and text:
            print("  " + text.replace("\n", "\n  "))

    def run(self, only, home):
        self.checkout(home)
        todo = [b for path in documents(self.source) if not only or path == only
                for b in mdblocks.blocks(self.source, path) if b.kind in ("run", "setup")]
        # What starts a node of its own comes first, while /sys and /dev are still the machine's.
        for block in sorted(todo, key=lambda b: not b.options().get("private")):
            self.block(block, home)
        if self.failed and self.node:
            for name in ("pgpud", "pgpu-hwd"):
                print(f"--- log of {name}\n{self.node.log(name)[-8000:]}")
        return self.failed


def inside(source, build, home, only, verbose):
    runner = Runner(source, build, verbose)
    simnode.loopback_up()
    try:
        failed = runner.run(only, home)
    finally:
        if runner.node:
            for name in ("pgpud", "pgpu-hwd", "runtime", "kubelet"):
                runner.node.stop(name)
    if runner.node:
        failed += runner.node.findings()
    print(f"{runner.count} blocks, {len(failed)} failed")
    return 1 if failed or runner.count == 0 else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("build")
    parser.add_argument("--only", metavar="PATH", help="one document")
    parser.add_argument("--verbose", action="store_true", help="show what the blocks print")
    parser.add_argument("--inside", metavar="DIR", help=argparse.SUPPRESS)
    args = parser.parse_args()
    source, build = os.path.abspath(args.source), os.path.abspath(args.build)
    os.environ[simnode.SOURCE], os.environ[simnode.BUILD] = source, build
    if args.inside:
        return inside(source, build, args.inside, args.only, args.verbose)
    why = simnode.cannot()
    if why:
        print("SKIP:", why)
        return 77
    # Its mounts are the namespace's and gone with it: what is left here are plain folders.
    with tempfile.TemporaryDirectory(prefix="pgpu-docs.") as home:
        return simnode.in_namespace([sys.executable, *sys.argv, "--inside", home])


if __name__ == "__main__":
    sys.exit(main())
