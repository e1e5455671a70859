# SPDX-License-Identifier: Apache-2.0
"""Completions as a shell gives them: for every program every verb and every option of its --help is
offered where it belongs and nothing else is; values, files and device addresses as well.

usage: completion.py bash|zsh|fish BUILD-DIR
Exit status 77 where the shell is not there."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

SHELL, BUILD = sys.argv[1], os.path.abspath(sys.argv[2])
PROGRAMS = ["cli/pgpuctl", "sim/pgpu-sim", "daemon/pgpud", "hwd/pgpu-hwd", "nri/pgpu-nri-launch"]
LIMIT = 120

BASH = r"""
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
for f in "$SCRIPTS"/*; do . "$f" || exit 1; done
while IFS= read -r line; do
    name=${line%% *}
    spec=$(complete -p "${name##*/}") || exit 1
    spec=${spec##*-F }
    COMP_LINE=$line COMP_POINT=${#line}
    ${spec%% *}
    printf '%s\037' "${COMPREPLY[@]}"
    printf '\n'
done
"""

FISH = r"""
for f in $SCRIPTS/*; source $f; or exit 1; end
while read -l line
    set -l found (complete -C "$line" | string split -f1 \t)
    echo (string join \x1f -- $found)
end
"""

ZSH = r"""
unsetopt beep prompt_cr prompt_sp
PROMPT= RPROMPT= LISTMAX=100000
fpath=($SCRIPTS $fpath)
autoload -Uz compinit
compinit -u -D
typeset -ga hits
compadd() {
    local -a _seen
    if (( ${@[(I)-[OAD]]} )); then
        builtin compadd "$@"
        return
    fi
    builtin compadd -A _seen "$@"
    hits+=("${_seen[@]}")
    builtin compadd "$@"
}
zle -C look list-choices _main_complete
probe() {
    local line
    while IFS= read -r line; do
        BUFFER=$line CURSOR=$#line hits=()
        zle look
        print -rn -- "${(pj:\x1f:)hits}" >>$ANSWERS
        print >>$ANSWERS
    done <$QUESTIONS
    print done >>$ANSWERS
    BUFFER=
}
zle -N probe
bindkey '^X' probe
print ready >>$ANSWERS
"""


def fail(text):
    sys.exit("completion (%s): %s" % (SHELL, text))


def run(*args):
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)
    if done.returncode != 0:
        fail("%s: exit status %d: %s" % (" ".join(args), done.returncode, done.stdout))
    return done.stdout


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def ask_zsh(env, where, questions):
    """The line editor needs a terminal: one is made, and a key asks all questions."""
    env = dict(env, QUESTIONS=where + "/questions", ANSWERS=where + "/answers", TERM="xterm",
               ZDOTDIR=where)
    for name, text in (("questions", "".join(q + "\n" for q in questions)), ("answers", ""),
                       (".zshrc", ZSH)):
        with open(os.path.join(where, name), "w", encoding="utf-8") as f:
            f.write(text)
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(where)
        os.execvpe("zsh", ["zsh", "-d", "-i"], env)
    end = time.monotonic() + LIMIT
    asked = False
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                os.read(fd, 65536)
            except OSError:
                break
        lines = read(where + "/answers").split("\n")
        if lines[0] == "ready" and not asked:
            os.write(fd, b"\x18")
            asked = True
        if "done" in lines:
            break
    os.close(fd)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    lines = read(where + "/answers").split("\n")
    if "done" not in lines:
        fail("zsh did not answer within %d s" % LIMIT)
    return lines[1:lines.index("done")]


def ask(env, where, questions):
    """The candidates for each line, as a list of sets."""
    if SHELL == "zsh":
        lines = ask_zsh(env, where, questions)
    else:
        script = os.path.join(where, "driver")
        with open(script, "w", encoding="utf-8") as f:
            f.write(BASH if SHELL == "bash" else FISH)
        args = ["bash", "--norc", script] if SHELL == "bash" else ["fish", "--no-config", script]
        done = subprocess.run(args, input="".join(q + "\n" for q in questions), cwd=where, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=LIMIT, check=False)
        if done.returncode != 0 or done.stderr:
            fail("the driver: exit status %d: %s" % (done.returncode, done.stderr))
        lines = done.stdout.split("\n")[:-1]
    if len(lines) != len(questions):
        fail("%d answers to %d questions" % (len(lines), len(questions)))
    return [{c for c in line.split("\x1f") if c} for line in lines]


def describe(path, words=()):
    """Yields (words, verbs, options) of a program and of all its verbs, by --help."""
    text = run(path, *words, "--help")
    head, tail = text.split("\nOptions:\n", 1)
    verbs = set(re.findall(r"^  ([a-z][a-z0-9-]*)(?:  +\S|$)", head, re.M))
    options = set(re.findall(r"^ +(?:-\w, +)?(--[a-z][a-z0-9-]*)", tail.split("\n\n", 1)[0], re.M))
    yield list(words), verbs, options
    for verb in sorted(verbs):
        yield from describe(path, (*words, verb))


def cases():
    """(line, what must be offered), from what the programs say of themselves."""
    rows = []
    for program in PROGRAMS:
        path = os.path.join(BUILD, program)
        common = set()
        for words, verbs, options in describe(path):
            if not words:
                common = options - {"--version", "--help"}
            line = " ".join([os.path.basename(program), *words])
            rows.append((line + " --", options | common))
            if verbs:
                rows.append((line + " ", verbs))
            for option in sorted(options | common):
                rows.append((line + " " + option, {o for o in options | common
                                                   if o.startswith(option)}))
    return rows


def make_root(where):
    """A bus with two GPUs, a switch and what is neither."""
    for address, vendor, device, kind in (("0000:41:00.0", "0x10de", "0x2330", "0x030200"),
                                          ("0000:42:00.0", "0x10de", "0x2330", "0x030200"),
                                          ("0000:c1:00.0", "0x10de", "0x22a3", "0x068000"),
                                          ("0000:00:1f.0", "0x8086", "0x2918", "0x060100")):
        folder = os.path.join(where, "root/sys/bus/pci/devices", address)
        os.makedirs(folder)
        for name, text in (("vendor", vendor), ("device", device), ("class", kind)):
            with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                f.write(text + "\n")
    os.makedirs(os.path.join(where, "files/folder"))
    for name in ("pod.yaml", "pool.yaml"):
        with open(os.path.join(where, "files", name), "w", encoding="ascii"):
            pass


def chosen(where):
    """What the tables do not say in --help: values, files, addresses."""
    root = os.path.join(where, "root")
    gpus = {"0000:41:00.0", "0000:42:00.0", "0000:c1:00.0"}
    typed = "pgpuctl --root %s cc query " % root
    # readline takes what is behind its last word break as the word
    tail = {"41:00.0"} if SHELL == "bash" else {"0000:41:00.0"}
    value = {"ppcie"} if SHELL != "fish" else {"--mode=ppcie"}
    files = os.path.join(where, "files")
    return [
        ("pgpuctl cc set --mode ", {"on", "off", "devtools", "ppcie"}),
        ("pgpuctl cc set --mode=pp", value),
        ("pgpuctl cc reset --method b", {"bus"}),
        ("pgpuctl cc set --mode on --", {"--mode", "--via", "--yes", "--progress", "--root",
                                         "--control", "--hwd", "--json", "--no-color", "--help"}),
        ("pgpuctl --json cc qu", {"query"}),
        ("pgpuctl --control /x/status cc qu", {"query"}),
        ("pgpuctl help init", {"initdata"}),
        ("pgpuctl completion z", {"zsh"}),
        (typed, gpus | {"all"}),
        (typed + "0000:41", tail),
        ("pgpuctl --root=%s cc plan a" % root, {"all"}),
        ("pgpuctl cdi lint %s/" % files, {"folder"}),
        ("pgpuctl initdata check %s/pod" % files, {"pod.yaml"}),
        ("pgpu-sim runtime --sync-order n", {"newest"}),
        ("pgpu-hwd --log-level w", {"warn"}),
    ]


def base(words):
    """Files without their folder, which shells show or not."""
    return {os.path.basename(w.rstrip("/")) for w in words}


def main():
    if not shutil.which(SHELL):
        print("SKIP: %s is not installed" % SHELL)
        sys.exit(77)
    scripts = os.path.join(BUILD, "docs/completions", SHELL)
    for name in os.listdir(scripts):
        run(SHELL, "-n", os.path.join(scripts, name))
    with tempfile.TemporaryDirectory(prefix="pgpu-completion.") as where:
        make_root(where)
        env = {**os.environ, "SCRIPTS": scripts, "HOME": where, "LC_ALL": "C.UTF-8",
               "PATH": os.path.join(BUILD, "cli") + ":" + os.environ["PATH"]}
        env.pop("XDG_CONFIG_HOME", None)
        rows = cases() + chosen(where)
        problems = []
        for (line, want), got in zip(rows, ask(env, where, [r[0] for r in rows])):
            if "/files/" in line:
                got = base(got)
            if got != want:
                problems.append("%r: missing %s, too many %s" % (
                    line, sorted(want - got), sorted(got - want)))
    print("\n".join(problems))
    print("completion: %s: %d lines, %d problems" % (SHELL, len(rows), len(problems)))
    sys.exit(1 if problems else 0)


main()
