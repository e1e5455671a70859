# SPDX-License-Identifier: Apache-2.0
"""The codes that our programs say, and the documents.

usage: codes.py SOURCE BUILD [--print]

* docs/operations.md has a table of every reason with its cure (base/reason.h). --print prints it; the
  test fails when they differ. (The tables of doctor.md and metrics.md have tests of their own.)
* Every code in capitals that a document names in `code` is a reason or a check of `pgpuctl doctor`.
* Every metric that a document names is in the table of docs/metrics.md.
* The inputs in docs/security.md name the fuzz targets that there are, and all of them."""

import argparse
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mdblocks  # noqa: E402
from commands import documents  # noqa: E402

TABLE = "docs/operations.md"
BEGIN = "<!-- reasons: printed by tests/sim/docs/codes.py -->"
END = "<!-- end of reasons -->"
CODE = re.compile(r"(?<!`)`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`(?!`)")
METRIC = re.compile(r"\bpgpud_[a-z]+(?:_[a-z]+)+\b")
# Words in capitals that are nobody's code: constants of kernels and other programs.
OTHERS = {"BOOT_0"}
# Targets that are no input of ours: the simulated hardware's, and helpers without a surface.
FUZZ_OWN = {"vfio_user", "base"}
# Documents about other programs' settings, which have such words too.
OTHERS_TOPICS = ("deploy/profiles/", "deploy/kustomize/", "deploy/helm/", "deploy/openshift/",
                 "deploy/image/", "deploy/systemd/")


def reasons(source):
    with open(os.path.join(source, "base/reason.h"), encoding="utf-8") as f:
        text = f.read().replace("\\\n", " ")
    found = re.findall(r"X\((\w+),\s*((?:\"(?:[^\"\\]|\\.)*\"\s*)+)\)", text)
    return [(name, "".join(re.findall(r"\"((?:[^\"\\]|\\.)*)\"", cure))) for name, cure in found
            if name != "NONE"]


def checks(build):
    """The codes of doctor."""
    done = subprocess.run([os.path.join(build, "cli/pgpuctl"), "doctor", "--list", "--json"],
                          capture_output=True, text=True, timeout=30, check=True)
    return {c["code"] for c in json.loads(done.stdout)}


def escape(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def reason_table(rows):
    return ["| reason | cure |", "|---|---|"] + [f"| `{n}` | {escape(c)} |" for n, c in rows]


def between(lines, begin, end):
    """The lines of a generated table."""
    if begin not in lines or end not in lines:
        return None
    return [line for line in lines[lines.index(begin) + 1:lines.index(end)] if line.strip()]


def metrics(source):
    rows = mdblocks.read(source, "docs/metrics.md")
    return {m.group(1) for m in (re.match(r"\| `(pgpud_\w+)` \|", row) for row in rows) if m}


def fuzz_targets(source):
    """(those of tests/fuzz, those that docs/security.md names)"""
    there = {m.group(1) for m in map(re.compile(r"fuzz_(\w+)\.c$").match,
                                     os.listdir(os.path.join(source, "tests/fuzz"))) if m}
    lines = mdblocks.read(source, "docs/security.md")
    rows = [line for line in lines[lines.index("## Inputs"):lines.index("## Audit log")]
            if line.startswith("| ")]
    return there - FUZZ_OWN, {n for row in rows for n in re.findall(r"`((?!test_)\w+)`", row.split(" | ")[-1])}


def metric_known(name, known):
    """A histogram's series have names of their own."""
    return name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("build")
    parser.add_argument("--print", action="store_true")
    args = parser.parse_args()
    source = os.path.abspath(args.source)
    names = reasons(source)
    table = reason_table(names)
    if args.print:
        print("\n".join([BEGIN, *table, END]))
        return 0
    wrong = []
    if between(mdblocks.read(source, TABLE), BEGIN, END) != table:
        wrong.append(f"{TABLE}: the table of reasons is not what codes.py --print prints")
    known = {n for n, _ in names} | checks(os.path.abspath(args.build))
    exported, named = metrics(source), 0
    there, told = fuzz_targets(source)
    wrong += [f"docs/security.md: the fuzz target {n} is not named" for n in sorted(there - told)]
    wrong += [f"docs/security.md: there is no fuzz target {n}" for n in sorted(told - there)]
    for path in documents(source):
        text = mdblocks.read(source, path)
        for number, line in mdblocks.prose(text):
            for code in CODE.findall(line):
                if code.startswith("CAP_") or path.startswith(OTHERS_TOPICS):
                    continue
                named += 1
                if code not in known | OTHERS:
                    wrong.append(f"{path}:{number}: nobody says {code}")
        for number, line in enumerate(text, 1):
            for name in METRIC.findall(line):
                named += 1
                if not metric_known(name, exported):
                    wrong.append(f"{path}:{number}: there is no metric {name}")
    print("\n".join(wrong + [f"{len(known)} codes, {len(exported)} metrics, {named} times named, "
                             f"{len(wrong)} wrong"]))
    return 1 if wrong or not named or not exported else 0


if __name__ == "__main__":
    sys.exit(main())
