# SPDX-License-Identifier: Apache-2.0
"""What can be said of the documents without a node.

usage: text.py SOURCE BUILD

* Every block says what it is (mdblocks.py), so that no command is forgotten.
* Commands that are not run: the shell can parse them, every `pgpuctl` verb and option among them
  exists, and so do the files of ours that they name. The same for `code` in sentences.
* Configuration files that are shown pass --check-config, JSON and TOML can be parsed.
* Links within the project lead to a file, and to a heading where they name one."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mdblocks  # noqa: E402
from commands import documents  # noqa: E402

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PROGRAMS = {"pgpuctl": "cli/pgpuctl", "pgpud": "daemon/pgpud", "pgpu-hwd": "hwd/pgpu-hwd",
            "pgpu-sim": "sim/pgpu-sim"}
CHECKERS = {"pgpud.yaml": "pgpud", "hwd.yaml": "pgpu-hwd"}
OPTION = re.compile(r"^--[a-z][a-z0-9-]*$")
# Operators and what begins a command: what stands after one is a program's name.
JOINTS = {"&&", "||", "|", ";", "&", "(", ")", "{", "}", "do", "then", "else", "if", "until",
          "while", "!", "sudo", "exec"}
# Folders of ours: a relative path that begins with one has to be there.
FOLDERS = {"deploy", "docs", "scripts", "tests", "tools"}


class Programs:
    """The programs' --help, each asked once."""

    def __init__(self, build):
        self.build, self.known = build, {}

    def help(self, program, *verbs):
        key = (program, *verbs)
        if key not in self.known:
            path = os.path.join(self.build, PROGRAMS[program])
            done = subprocess.run([path, *verbs, "--help"], capture_output=True, text=True,
                                  timeout=30, check=False)
            self.known[key] = done.stdout if done.returncode == 0 else None
        return self.known[key]

    def verbs(self, program, words):
        """(how many of the words are verbs, the help texts of the way there). None = no such verb."""
        texts, n = [self.help(program) or ""], 0
        while n < len(words) and re.fullmatch(r"[a-z][a-z-]*", words[n]):
            if not re.search(rf"^\s+(?:\S+[,|])*{re.escape(words[n])}\b", texts[-1], re.M):
                break
            text = self.help(program, *words[:n + 1])
            if text is None or text == texts[-1]:
                break
            texts.append(text)
            n += 1
        return n, texts

    def complaints(self, program, words):
        """What is wrong with a command line of ours."""
        words = [w for w in words if w]
        if program in ("pgpuctl", "pgpu-sim"):
            first = next((i for i, w in enumerate(words) if not w.startswith("-") and
                          (i == 0 or words[i - 1] not in
                           ("--control", "--root", "--hwd", "--color"))), None)
            rest = words[first:] if first is not None else []
            n, texts = self.verbs(program, rest)
            if rest and n == 0 and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
                yield f"{program} has no verb {rest[0]}"
                return
        else:
            texts = [self.help(program) or ""]
        for word in words:
            option = word.split("=", 1)[0]
            if OPTION.match(option) and option not in ("--help", "--version") and \
               not any(re.search(rf"{re.escape(option)}\b(?!-)", t) for t in texts):
                yield f"{program} {' '.join(words)}: no option {option}"


def tokens(text):
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def simple_commands(text):
    """The simple commands of a shell text, as lists of words; heredocs are left out."""
    text = re.sub(r"<<-?\s*['\"]?(\w+)['\"]?(.*?)\n.*?\n\1\b", r"\2\n", text, flags=re.S)
    text = text.replace("\\\n", " ")
    for line in text.split("\n"):
        try:
            words = tokens(line)
        except ValueError:
            words = line.split()
        command = []
        for word in [*words, ";"]:
            if word in JOINTS:
                if command:
                    yield command
                command = []
            else:
                command.append(word)


class Checker:
    def __init__(self, source, build):
        self.source, self.programs, self.wrong = source, Programs(build), []
        self.count = dict.fromkeys(["blocks", "commands", "files", "links"], 0)
        self.presets = set()
        if os.path.exists(os.path.join(source, "CMakePresets.json")):
            with open(os.path.join(source, "CMakePresets.json"), encoding="utf-8") as f:
                for kind, list_of in json.load(f).items():
                    if kind.endswith("Presets"):
                        self.presets.update(p["name"] for p in list_of)

    def complain(self, where, what):
        self.wrong.append(f"{where}: {what}")

    # Blocks.

    def block(self, b):
        self.count["blocks"] += b.kind != "setup"
        if not b.kind:
            self.complain(b.where, "nothing says what this block is, see tests/sim/docs/mdblocks.py")
        elif b.kind in ("not run", "shown", "check") and not b.arg:
            self.complain(b.where, f"{b.kind}: why, or what?")
        elif b.kind == "not run":
            self.not_run(b)
        elif b.kind == "run":
            self.commands(b)
        elif b.kind == "check":
            self.file(b)

    def not_run(self, b):
        text = "\n".join(c for c, _ in b.commands())
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True,
                              check=False)
        if done.returncode != 0:
            self.complain(b.where, done.stderr.strip())
        self.commands(b)

    def commands(self, b):
        for words in simple_commands("\n".join(c for c, _ in b.commands())):
            self.command(b.where, b.path, words)

    def command(self, where, path, words):
        self.count["commands"] += 1
        name = os.path.basename(words[0])
        if name in PROGRAMS:
            for what in self.programs.complaints(name, words[1:]):
                self.complain(where, what)
        for word in words:
            self.path_exists(where, path, word)
        if "--preset" in words and words[words.index("--preset") + 1] not in self.presets:
            self.complain(where, f"{' '.join(words)}: there is no such preset")
        if words[0].startswith("scripts/") and os.path.exists(os.path.join(self.source, words[0])):
            with open(os.path.join(self.source, words[0]), encoding="utf-8") as f:
                text = f.read()
            for word in words[1:]:
                if OPTION.match(word) and word not in text:
                    self.complain(where, f"{words[0]} has no option {word}")

    def path_exists(self, where, path, word):
        word = word.split("=", 1)[-1] if word.startswith("-") else word
        first = word.split("/", 1)[0]
        if "/" not in word or first not in FOLDERS or re.search(r"[$*<>…{]|\bVERSION\b", word):
            return
        if os.path.exists(os.path.join(self.source, word)):
            return
        if not os.path.exists(os.path.join(self.source, os.path.dirname(path), word)):
            self.complain(where, f"there is no {word}")

    def file(self, b):
        self.count["files"] += 1
        text = "\n".join(b.lines) + "\n"
        try:
            if b.arg in CHECKERS:
                with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as f:
                    f.write(text)
                    f.flush()
                    program = os.path.join(self.programs.build, PROGRAMS[CHECKERS[b.arg]])
                    done = subprocess.run([program, "--config", f.name, "--check-config"],
                                          capture_output=True, text=True, timeout=30, check=False)
                if done.returncode != 0:
                    self.complain(b.where, (done.stderr or done.stdout).strip())
            elif b.arg == "json":
                json.loads(text)
            elif b.arg == "toml":
                import tomllib  # Python 3.11
                tomllib.loads(text)
            else:
                self.complain(b.where, f"no check is known for {b.arg}")
        except ValueError as e:
            self.complain(b.where, e)

    # Sentences.

    def sentences(self, path, lines):
        for number, line in mdblocks.prose(lines):
            for code in CODE.findall(line):
                words = code.split()
                if words[0] in PROGRAMS and len(words) > 1 and \
                   re.fullmatch(r"[a-z]+|--[a-z-]+", words[1]):
                    alternatives = words[1:]
                    self.count["commands"] += 1
                    for what in self.programs.complaints(words[0], alternatives):
                        self.complain(f"{path}:{number}", what)

    def links(self, path, lines):
        for number, line in mdblocks.prose(lines):
            for target in LINK.findall(CODE.sub("", line)):
                if re.match(r"[a-z]+:", target):
                    continue
                self.count["links"] += 1
                file, _, anchor = target.partition("#")
                base = os.path.dirname(path)
                goal = os.path.normpath(os.path.join(base, urllib.parse.unquote(file))) if file \
                    else path
                full = os.path.join(self.source, goal)
                where = f"{path}:{number}"
                if not os.path.exists(full):
                    self.complain(where, f"{target}: there is no {goal}")
                elif anchor and goal.endswith(".md") and \
                        anchor not in mdblocks.anchors(mdblocks.read(self.source, goal)):
                    self.complain(where, f"{target}: {goal} has no heading of that name")

    def run(self):
        checked = set(documents(self.source))
        for path in mdblocks.files(self.source):
            lines = mdblocks.read(self.source, path)
            self.links(path, lines)
            if path not in checked:
                continue
            try:
                for b in mdblocks.blocks(self.source, path):
                    self.block(b)
            except ValueError as e:
                self.complain(path, e)
            self.sentences(path, lines)


def main(argv):
    checker = Checker(os.path.abspath(argv[1]), os.path.abspath(argv[2]))
    checker.run()
    for what in checker.wrong:
        print(what)
    print(", ".join(f"{n} {name}" for name, n in checker.count.items()) +
          f" looked at, {len(checker.wrong)} wrong")
    return 1 if checker.wrong or not checker.count["blocks"] or not checker.count["links"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
