# SPDX-License-Identifier: Apache-2.0
"""What can be said of deploy/monitoring without a node: the rules are good by promtool, each alert
fires when it should and only then, both forms are the same, and what texts name is there."""

import json
import os
import re
import subprocess
import sys
import tempfile

import alerts
import node
import prometheus

HERE = os.path.join(node.source_dir(), "deploy", "monitoring")
PLAIN = os.path.join(HERE, "rules.prometheus.yaml")
problems = []


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def check(good, text):
    if not good:
        problems.append(text)


def groups_of(text):
    """The text from "groups:" on, moved to the left margin."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "groups:")
    indent = len(lines[at]) - len(lines[at].lstrip())
    return [line[indent:] for line in lines[at:]]


def check_both_forms():
    operator = read(os.path.join(HERE, "rules.yaml"))
    check("kind: PrometheusRule" in operator, "rules.yaml is no PrometheusRule")
    check(groups_of(operator) == groups_of(read(PLAIN)),
          "rules.yaml and rules.prometheus.yaml differ")


def check_promtool():
    status, said = prometheus.promtool("check", "rules", "--lint=all", "--lint-fatal", PLAIN)
    check(status == 0, said)
    names = re.findall(r"^ +- alert: (\w+)$", read(PLAIN), re.M)
    check(sorted(names) == sorted(alerts.ALERTS), "tested alerts are not those of the rules: %s" %
          sorted(set(names) ^ set(alerts.ALERTS)))
    with tempfile.TemporaryDirectory(prefix="pgpu-ops.") as work:
        path = os.path.join(work, "tests.yaml")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(alerts.tests(PLAIN), f)
        status, said = prometheus.promtool("test", "rules", path)
        check(status == 0, said)
        print("%d alerts, %d tests" % (len(names), len(alerts.tests(PLAIN)["tests"])))


def known_codes():
    """Reasons, and codes of `pgpuctl doctor`, from the tables in the source."""
    src = node.source_dir()
    codes = set(re.findall(r"^ +X\(([A-Z0-9_]+),", read(src + "/base/reason.h"), re.M))
    for name in os.listdir(src + "/cli"):
        if re.match(r"doctor.*\.c$", name):
            codes |= set(re.findall(r'"([A-Z][A-Z0-9_]+)"', read(src + "/cli/" + name)))
    return codes


def check_texts():
    """An operator can look up every code and run every command that a runbook names."""
    text = read(PLAIN)
    runbooks = re.findall(r"runbook: >-\n((?: {12}.*\n)+)", text)
    check(len(runbooks) == len(alerts.ALERTS), "an alert has no runbook")
    codes, help_text = known_codes(), subprocess.run(
        [node.bin_dir() + "/cli/pgpuctl", "--help"], stdout=subprocess.PIPE, text=True,
        check=True).stdout
    verbs = set(re.findall(r"^  ([a-z-]+) ", help_text, re.M))
    for book in runbooks:
        flat = " ".join(book.split())
        for code in re.findall(r"\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b", flat):
            check(code in codes, "no such code: %s in: %s" % (code, flat))
        for verb in re.findall(r"`pgpuctl ([a-z-]+)", flat):
            check(verb in verbs, "no such verb: pgpuctl %s in: %s" % (verb, flat))


def check_dashboard():
    board = json.loads(read(os.path.join(HERE, "dashboard.json")))
    ids = [p["id"] for p in board["panels"]]
    check(len(ids) == len(set(ids)), "two panels with one id")
    for p in board["panels"]:
        for t in p.get("targets", []):
            check(t["datasource"]["uid"] == "${datasource}", "%s: fixed data source" % p["title"])
            check('instance=~"$instance"' in t["expr"], "%s: shows every node" % p["title"])


check_both_forms()
check_promtool()
check_texts()
check_dashboard()
print("\n".join(problems) if problems else "good")
sys.exit(1 if problems else 0)
