# SPDX-License-Identifier: Apache-2.0
"""What the guest's programs printed, as results of single tests."""

import re
import time
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

# cmocka's standard output
RUN = re.compile(r"\[ RUN      \] (\S+)")
OVER = re.compile(r"\[ +(OK|FAILED|SKIPPED|ERROR) +\] (\S+)")
PLAN = re.compile(r"\[=+\] .*Running (\d+) test")
SKIP = 77


@dataclass
class Test:
    name: str
    verdict: str = "running"
    start: float = 0.0
    seconds: float = 0.0
    lines: list = field(default_factory=list)


@dataclass
class Program:
    name: str
    planned: int = 0
    tests: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    logs: list = field(default_factory=list)
    status: str = ""
    start: float = 0.0
    seconds: float = 0.0
    skip: str = ""
    may_skip: bool = False

    def line(self, text):
        self.lines.append(text)
        if m := PLAN.search(text):
            self.planned += int(m.group(1))
        elif m := RUN.search(text):
            self.tests.append(Test(m.group(1), start=time.monotonic()))
        elif m := OVER.search(text):
            for t in self.tests:
                if t.name == m.group(2) and t.verdict == "running":
                    t.verdict = {"OK": "passed", "SKIPPED": "skipped"}.get(m.group(1), "failed")
                    t.seconds = time.monotonic() - t.start
        elif text.startswith("SKIP: "):
            self.skip = text[6:]
        if self.tests and self.tests[-1].verdict in ("running", "failed"):
            self.tests[-1].lines.append(text)

    def count(self, verdict):
        return sum(t.verdict == verdict for t in self.tests)

    def problem(self):
        """Why this program did not pass, or ""."""
        if not self.start:
            return "did not run"
        if not self.status:
            return "did not end" + "".join(f", in {t.name}" for t in self.tests
                                           if t.verdict == "running")
        if self.status == "timeout":
            return "took too long" + "".join(f", in {t.name}" for t in self.tests
                                             if t.verdict == "running")
        if self.status == str(SKIP) and not self.tests:
            return "skipped without a reason" if not self.skip else self._skipped()
        if self.count("failed"):
            return f"{self.count('failed')} of {self.planned} tests failed"
        if self.status != "0":
            return f"exit status {self.status}"
        if self.planned == 0 or len(self.tests) != self.planned or self.count("running"):
            return f"{len(self.tests)} results of {self.planned} tests"
        return "" if self.count("passed") else self._skipped()

    def _skipped(self):
        """Nothing of it was tested: only what the boot's file allows."""
        return "" if self.may_skip else f"skipped: {self.skip or 'every test'}"


class Report:
    """Everything that came over the results line of one boot."""

    def __init__(self, names, may_skip=()):
        self.programs = {n: Program(n, may_skip=n in may_skip) for n in names}
        self.done = False

    def take(self, line):
        """Returns the program that has ended with this line, if one has."""
        key, _, rest = line.partition("\t")
        if key == "@done":
            self.done = True
        elif key == "@start" and rest in self.programs:
            self.programs[rest].start = time.monotonic()
        elif key in ("@end", "@log"):
            name, _, text = rest.partition("\t")
            p = self.programs.get(name)
            if p and key == "@log":
                p.logs.append(text)
            elif p:
                p.status = text
                p.seconds = time.monotonic() - p.start
                return p
        elif key in self.programs:
            self.programs[key].line(rest)
        return None

    def junit(self, boot, problem):
        out = []
        failures = skips = 0
        for p in self.programs.values():
            for t in p.tests:
                body = ""
                if t.verdict == "skipped":
                    skips += 1
                    body = "<skipped/>"
                elif t.verdict != "passed":
                    failures += 1
                    body = f"<failure>{escape(chr(10).join(t.lines))}</failure>"
                out.append(f'  <testcase classname={quoteattr(f"vm.{boot}.{p.name}")} '
                           f'name={quoteattr(t.name)} time="{t.seconds:.3f}">{body}</testcase>')
            why = p.problem()
            if why and not p.count("failed"):
                failures += 1
                out.append(f'  <testcase classname="vm.{boot}" name={quoteattr(p.name)}>'
                           f"<failure>{escape(why)}</failure></testcase>")
        if problem:
            failures += 1
            out.append(f'  <testcase classname="vm" name={quoteattr(boot)}>'
                       f"<failure>{escape(problem)}</failure></testcase>")
        text = "\n".join(x.translate({c: None for c in range(32) if c not in (9, 10)}) for x in out)
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name={quoteattr("vm." + boot)} '
                f'tests="{len(out)}" failures="{failures}" skipped="{skips}">\n{text}\n</testsuite>\n')
