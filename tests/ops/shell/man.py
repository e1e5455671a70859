# SPDX-License-Identifier: Apache-2.0
"""The man pages as groff and mandoc read them: no warning, and each shows what it has to.

usage: man.py BUILD-DIR"""

import os
import re
import shutil
import subprocess
import sys

BUILD = sys.argv[1]
# Sections that a page of its kind has.
SECTIONS = {
    "1": ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "VERBS", "EXIT STATUS", "SEE ALSO"],
    "5": ["NAME", "DESCRIPTION", "SEE ALSO"],
    "8": ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"],
}
# Said of every page: they have no date, so that two builds are the same.
NO_DATE = 'WARNING: missing date, using "": TH'


def run(*args):
    return subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=30, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8"})


def check(path, problems):
    name = os.path.basename(path)
    done = run("groff", "-man", "-ww", "-b", "-Tutf8", "-P-c", path)
    text = re.sub(r".\x08", "", done.stdout)
    problems += ["%s: groff: %s" % (name, line) for line in done.stderr.splitlines()]
    done = run("mandoc", "-T", "lint", "-W", "warning", path)
    problems += ["%s: %s" % (name, line) for line in (done.stdout + done.stderr).splitlines()
                 if NO_DATE not in line]
    for section in SECTIONS[name[-1]]:
        if not re.search("^%s$" % section, text, re.M):
            problems.append("%s: no section %s" % (name, section))
    for left in re.findall(r"@[A-Z]+[^@\n]*@", text):
        problems.append("%s: %s was not replaced" % (name, left))
    what = re.search(r"^NAME\n +(.*)", text, re.M)
    if not what or not re.match(r"%s +- +\S" % re.escape(name[:-2]), what.group(1)):
        problems.append("%s: its NAME is not what apropos reads" % name)


def main():
    for tool in ("groff", "mandoc"):
        if not shutil.which(tool):
            print("SKIP: %s is not installed" % tool)
            sys.exit(77)
    where = os.path.join(BUILD, "docs/man")
    pages = sorted(n for n in os.listdir(where) if n[-2] == ".")
    problems = [] if len(pages) >= 7 else ["only %d pages" % len(pages)]
    for name in pages:
        check(os.path.join(where, name), problems)
    print("\n".join(problems))
    print("man: %d pages, %d problems" % (len(pages), len(problems)))
    sys.exit(1 if problems else 0)


main()
