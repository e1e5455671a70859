# SPDX-License-Identifier: Apache-2.0
"""Code blocks, headings and links of our Markdown files.

Says of a block what the comment on the line before it says (blank lines between do not count):

  <!-- run -->             its commands run on the simulated node. Options, after a colon and
                           separated by ";":
                             private       in a node of its own: the block starts everything itself
                             within=20s    repeated until it prints what is shown, so long at most
                             fails=REGEX   commands (as they stand there) that may fail
  <!-- not run: WHY -->    its commands need what the test has not got; they are only looked at
  <!-- check: KIND -->     a file: pgpud.yaml, hwd.yaml, json, toml
  <!-- shown: WHAT -->     no commands: a picture, an answer, a file of somebody else's

A fence whose language is text, yaml, json or toml is no command block and needs no comment.
After a block `<!-- prints: TEXT -->` names what its output must contain, in this order.
`<!-- setup: COMMAND -->` anywhere is run on the node at that place, out of sight."""

import dataclasses
import os
import re
import textwrap

SKIP_DIRS = {".git", "build", "bin", "node_modules", "corpus"}
DATA_LANGUAGES = {"text", "yaml", "json", "toml"}
COMMENT = re.compile(r"^\s*<!--\s*(.*?)\s*-->\s*$")
MARKER = re.compile(r"^(run|not run|check|shown|prints|setup)\b(?:\s*:\s*(.*))?$", re.S)
FENCE = re.compile(r"^(`{3,}|~{3,})\s*(\S*)\s*$")
LIST_ITEM = re.compile(r"^\s*(?:[*+-]|\d+[.)])\s+")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")


@dataclasses.dataclass
class Block:
    path: str
    line: int
    lines: list
    language: str = ""
    kind: str = ""  # "run", "not run", "check", "shown", "setup"; "" = nobody said
    arg: str = ""
    prints: list = dataclasses.field(default_factory=list)

    @property
    def where(self):
        return f"{self.path}:{self.line}"

    def options(self):
        """The options of `run` as a dictionary; a bare word maps to True."""
        ret = {}
        for part in filter(None, (p.strip() for p in self.arg.split(";"))):
            key, eq, value = part.partition("=")
            ret[key.strip()] = value.strip() if eq else True
        return ret

    def session(self):
        """True where commands stand after "$ " and the rest is what they print."""
        return bool(self.lines) and self.lines[0].startswith("$ ")

    def commands(self):
        """Each command with the output lines shown below it."""
        if not self.session():
            return [("\n".join(self.lines), [])]
        ret = []
        for line in self.lines:
            if line.startswith("$ "):
                ret.append([line[2:], []])
            elif line.startswith("> ") and not ret[-1][1]:
                ret[-1][0] += "\n" + line[2:]
            else:
                ret[-1][1].append(line)
        return [tuple(c) for c in ret]


def files(root):
    for folder, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in SKIP_DIRS)
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read().split("\n")


class Margin:
    """How far a line is to be indented to be code: four columns, in a list from where its text
    begins; and not within a paragraph."""

    def __init__(self):
        self.lists, self.paragraph = [], False

    @property
    def code(self):
        return (self.lists[-1] if self.lists else 0) + 4

    def is_code(self, line):
        if not line.strip() or self.paragraph:
            return False
        indent = len(line) - len(line.lstrip(" "))
        while self.lists and indent < self.lists[-1]:
            self.lists.pop()
        return indent >= self.code

    def text(self, line):
        """A line that is neither code nor comment."""
        self.paragraph = bool(line.strip())
        item = LIST_ITEM.match(line)
        if item:
            indent = len(line) - len(line.lstrip(" "))
            while self.lists and indent < self.lists[-1]:
                self.lists.pop()
            self.lists.append(len(item.group(0)))


class _Parser:
    def __init__(self, path, lines):
        self.path, self.lines = path, lines
        self.blocks, self.last = [], None
        self.pending = None  # the marker that waits for its block

    def _comment(self, text, number):
        m = MARKER.match(text)
        if not m:
            return
        kind, arg = m.group(1), m.group(2) or ""
        if kind == "prints":
            if self.last is None:
                raise ValueError(f"{self.path}:{number}: prints: without a block before it")
            self.last.prints.append(arg)
        elif kind == "setup":
            self.blocks.append(Block(self.path, number, [arg], "", "setup"))
        else:
            self.pending = (kind, arg)

    def _add(self, number, lines, language):
        block = Block(self.path, number, lines, language)
        if self.pending:
            block.kind, block.arg = self.pending
        elif language in DATA_LANGUAGES:
            block.kind, block.arg = "shown", language
        self.pending = None
        self.blocks.append(block)
        self.last = block

    def parse(self):
        i, margin = 0, Margin()
        while i < len(self.lines):
            line = self.lines[i]
            fence = FENCE.match(line.strip())
            comment = COMMENT.match(line)
            if fence:
                end = next((j for j in range(i + 1, len(self.lines))
                            if self.lines[j].strip().startswith(fence.group(1))), None)
                if end is None:
                    raise ValueError(f"{self.path}:{i + 1}: the fence is not closed")
                self._add(i + 2, textwrap.dedent("\n".join(self.lines[i + 1:end])).split("\n"),
                          fence.group(2))
                i = end
                margin.paragraph = False
            elif comment:
                self._comment(comment.group(1), i + 1)
                margin.paragraph = False
            elif margin.is_code(line):
                indent = " " * margin.code
                end = i
                while end < len(self.lines) and (not self.lines[end].strip() or
                                                 self.lines[end].startswith(indent)):
                    end += 1
                body = [text[margin.code:] for text in self.lines[i:end]]
                while not body[-1].strip():
                    body.pop()
                self._add(i + 1, body, "")
                i = end - 1
            else:
                margin.text(line)
                if line.strip():
                    self.pending = None
            i += 1
        return self.blocks


def parse(path, lines):
    return _Parser(path, lines).parse()


def blocks(root, path):
    return parse(path, read(root, path))


def prose(lines):
    """(number, line) of everything that is neither code block nor comment."""
    fence, margin = None, Margin()
    for number, line in enumerate(lines, 1):
        if fence:
            if line.strip().startswith(fence):
                fence = None
            continue
        m = FENCE.match(line.strip())
        if m:
            fence = m.group(1)
        elif COMMENT.match(line):
            margin.paragraph = False
        elif not margin.is_code(line):
            margin.text(line)
            yield number, line


def anchors(lines):
    """The names under which GitHub offers the headings."""
    ret = set()
    for _, line in prose(lines):
        m = HEADING.match(line)
        if not m:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", m.group(2)).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        name, n = slug, 0
        while name in ret:
            n += 1
            name = f"{slug}-{n}"
        ret.add(name)
    return ret
