# SPDX-License-Identifier: Apache-2.0
"""Calls and literals that have no place here. A line with the comment `lint: allow RULE` and the
reason in it is left alone."""

import re
import sys

import tree


def code(pattern):
    return ("code", re.compile(pattern))


def literal(pattern):
    return ("literal", re.compile(pattern))


def folder(name):
    return name.split("/")[0]


# Paths about ourselves, not about the node's devices.
OURS = r'(?!null"|self/|sys/kernel/random/boot_id")'

# Files that name such paths without opening them below the node's root.
HOST_PATHS = (
    "daemon/confine.c",  # shuts itself out of them
    "cli/devices.c",     # shortens them for people
)

# rule, what to look for, where it is allowed, what to do instead
RULES = [
    ("unbounded", code(r"\b(?:v?sprintf|strcpy|strcat|stpcpy|gets)\s*\("),
     lambda n: False, "use snprintf, str_copy or struct buf"),
    ("strncpy", code(r"\bstrn(?:cpy|cat)\s*\("),
     lambda n: False, "it leaves text unterminated: use str_copy"),
    ("parse", code(r"\b(?:ato(?:i|l|ll|f)|strtok)\s*\("),
     lambda n: False, "it hides errors or state: use a parser that reports them"),
    ("shell", code(r"\b(?:system|popen|wordexp)\s*\("),
     lambda n: False, "no shell: fork and exec what is meant"),
    ("alloca", code(r"\balloca\s*\("),
     lambda n: False, "use a bounded array or the heap"),
    ("tmp", code(r"\b(?:mktemp|tmpnam|tempnam)\s*\("),
     lambda n: False, "use mkstemp or mkdtemp"),
    ("exit", code(r"(?<![\w.>])exit\s*\("),
     lambda n: n.endswith("main.c") or folder(n) == "tests",
     "only a main may end the program: return an error"),
    ("host-path", literal(r'"/(?:sys|dev|proc)(?:/' + OURS + r'[^"]*)?"'),
     lambda n: folder(n) in ("vfio", "sim", "hwd", "cdi", "tests") or n in HOST_PATHS or
     n.startswith("cli/doctor"),  # what it is for, below --root and --host
     "host paths are known to vfio/, hwd/, cdi/ and sim/ alone, below their root"),
    ("log", code(r"\blog_(?:info|warn|error)\s*\("),
     lambda n: folder(n) in ("daemon", "hwd", "cli", "sim", "tests") or
     n in ("base/log.h", "base/log.c"),
     "libraries return errors and log at debug level only"),
]


def waived(line, rule):
    return re.search(r"lint: allow %s\b" % re.escape(rule), line) is not None


def check(name, text):
    """The problems of one file, as texts."""
    problems = []
    raw = text.split("\n")
    views = {
        "code": tree.without_comments(text, strings=False).split("\n"),
        "literal": tree.without_comments(text).split("\n"),
    }
    if not text.startswith("/* SPDX-License-Identifier: Apache-2.0"):
        problems.append("%s:1: does not start with the licence line" % name)
    for rule, (view, pattern), may, instead in RULES:
        if may(name):
            continue
        for number, line in enumerate(views[view]):
            m = pattern.search(line)
            if m and not waived(raw[number], rule):
                problems.append("%s:%d: %s: %s: %s" %
                                (name, number + 1, rule, m.group(0).strip(), instead))
    return problems


def main():
    root = sys.argv[1]
    names = tree.sources(root)
    problems = []
    for name in names:
        problems += check(name, tree.read(root, name))
    tree.finish("banned", problems, len(names))


if __name__ == "__main__":
    main()
