# SPDX-License-Identifier: Apache-2.0
"""Man pages say what the programs do. Options, verbs and keys are printed from the tables that the
programs parse by (docs/man/main.c), so what could go wrong is: a page or a completion that is older
than its program, options read past the table, options in the prose that do not exist, and the
commands of pgpu-sim ctl, which no table has.

usage: man.py SOURCE-DIR BUILD-DIR
Skipped when the programs are not built."""

import os
import re
import subprocess
import sys
import tempfile

import tree

OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
# page -> program
PROGRAMS = {
    "pgpuctl.1": "cli/pgpuctl",
    "pgpu-sim.1": "sim/pgpu-sim",
    "pgpud.8": "daemon/pgpud",
    "pgpu-hwd.8": "hwd/pgpu-hwd",
    "pgpu-nri-launch.8": "nri/pgpu-nri-launch",
}
CONFIGS = ["pgpud.yaml.5", "hwd.yaml.5"]
# Options of other programs that pages speak of.
FOREIGN = set()


def plain(line):
    """The text of a roff line without its escapes."""
    line = re.sub(r"\\f(?:\[\w*\]|[RBIP])", "", line)
    return line.replace("\\-", "-").replace("\\&", "").replace('"', "")


class Page:
    """Sections (.SH) and subsections (.SS) of a printed page as plain lines, macros kept."""

    def __init__(self, build, name):
        self.name = name
        self.sections = {}
        self.head = ""
        here = None
        for line in tree.read(build, "docs/man/" + name).splitlines():
            m = re.match(r"\.S([HS])\s+(.*)", line)
            if m:
                here = plain(m.group(2)).strip()
                self.sections[here] = []
            elif line.startswith(".TH"):
                self.head = line
            elif here and not line.startswith('.\\"'):
                self.sections[here].append(plain(line))

    def entries(self, section):
        """The headings of the .TP entries of a section, without their macro."""
        lines = self.sections.get(section, [])
        return [re.sub(r"^\.[A-Z]+ ", "", after).strip()
                for line, after in zip(lines, lines[1:]) if line.strip() == ".TP"]

    def options(self, section):
        """The options that entries of the section are about; "cc set ADDR --mode MODE" is about a
        verb."""
        return {o for e in self.entries(section) if e.startswith("-") for o in OPTION.findall(e)}

    def all_options(self):
        return set(OPTION.findall("\n".join(line for lines in self.sections.values()
                                            for line in lines)))


def run(program, *args):
    done = subprocess.run([program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise SystemExit("%s %s: exit status %d" % (os.path.basename(program), " ".join(args),
                                                    done.returncode))
    return done.stdout


def options_of(text):
    """The options that a --help describes."""
    part = text.split("\nOptions:\n", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^ +(?:-\w, +)?--([a-z][a-z0-9-]*)", part, re.M))


def verbs_of(text):
    """Of a --help: the entries of the parts before the options."""
    part = text.split("\nOptions:\n", 1)[0]
    return set(re.findall(r"^  ([a-z][a-z0-9-]*)(?:  +\S|$)", part, re.M))


def differ(problems, page, what, code, documented):
    for x in sorted(code - documented):
        problems.append("%s: %s %s is missing" % (page.name, what, x))
    for x in sorted(documented - code):
        problems.append("%s: %s %s does not exist" % (page.name, what, x))


def check_verb(path, page, verb, problems):
    """Returns the options of a verb and of its own verbs."""
    text = run(path, verb, "--help")
    own = options_of(text) - {"help"}
    for sub in sorted(verbs_of(text)):
        if not any(e.split()[:2] == [verb, sub] for e in page.entries(verb)):
            problems.append("%s: %s %s is missing" % (page.name, verb, sub))
        own |= options_of(run(path, verb, sub, "--help")) - {"help"}
    differ(problems, page, verb + " option", own, page.options(verb))
    return own


def check_program(build, page, program, problems):
    path = os.path.join(build, program)
    top = run(path, "--help")
    known = options_of(top)
    verbs = verbs_of(top)
    differ(problems, page, "option", known, page.options("OPTIONS"))
    differ(problems, page, "verb", verbs, {s for s in page.sections if s.islower()})
    for verb in sorted(verbs & set(page.sections)):
        known |= check_verb(path, page, verb, problems)
    return known


def check_parsers(root, problems):
    """One parser: a program that reads options past its table has a help that is not true."""
    for name in tree.sources(root):
        if name.split("/")[0] in ("tests", "docs"):
            continue
        if re.search(r"\bgetopt(?:_long)?\s*\(", tree.without_comments(tree.read(root, name), False)):
            problems.append("%s: options are parsed by base/usage.h alone" % name)


def check_commands(root, page, problems, section, source, row, more=()):
    code = set(re.findall(row, tree.read(root, source), re.M)) | set(more)
    documented = set()
    for entry in page.entries(section):
        documented |= set(re.findall(r"[a-z][a-z-]*", entry))
    differ(problems, page, section.lower(), code, documented)


def check_sim(root, page, problems):
    check_commands(root, page, problems, "NODE COMMANDS", "sim/control.c",
                   r'^    \{"([a-z-]+)", "', more=["trace"])
    check_commands(root, page, problems, "VFIO-USER COMMANDS", "sim/vfiouser_ctl.c",
                   r'^    \{"([a-z-]+)", "(?:NAME[^"]*)?", "', more=["trace"])
    check_commands(root, page, problems, "KUBELET COMMANDS", "sim/kubelet_cmd.c",
                   r'^    \{"([a-z-]+)", cmd_')
    check_commands(root, page, problems, "RUNTIME COMMANDS", "sim/runtime_cmd.c",
                   r'^    \{"([a-z-]+)", (?:rt_)?cmd_')


def flatten(text):
    """Keys and values of --print-config: a small, regular subset of YAML."""
    keys, parents = {}, []
    for line in text.splitlines():
        m = re.match(r"^( *)(- )?([a-z0-9_]+):(?: (.*))?$", line)
        if line.lstrip().startswith("#") or not m:
            continue
        depth = len(m.group(1)) + len(m.group(2) or "")
        while parents and parents[-1][0] >= depth:
            parents.pop()
        name = ".".join([p[1] for p in parents] + [m.group(3)])
        if m.group(4) is None:
            parents.append((depth, m.group(3)))
        else:
            keys[name] = m.group(4).replace('"', "")
    return keys


def check_config(build, page, problems, program, lists):
    """`lists`: a configuration with one element in each list of objects, to see their keys."""
    path = os.path.join(build, program)
    keys = {}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(lists)
        f.flush()
        keys.update(flatten(run(path, "--config", f.name, "--print-config")))
    keys.update(flatten(run(path, "--print-config")))
    documented = dict(e.split(" = ", 1) if " = " in e else (e, "") for e in page.entries("KEYS"))
    differ(problems, page, "key", set(keys), set(documented))
    for k in sorted(set(keys) & set(documented)):
        # an entry without a value: an empty text, or a mandatory key
        if documented[k] not in (keys[k], ""):
            problems.append("%s: default of %s is %s, not %s" % (page.name, k, keys[k],
                                                                 documented[k]))


def check_completions(build, problems):
    for page, program in PROGRAMS.items():
        name = os.path.basename(program)
        for shell, file in (("bash", name), ("zsh", "_" + name), ("fish", name + ".fish")):
            if not os.path.isfile(os.path.join(build, "docs/completions", shell, file)):
                problems.append("%s: no completions for %s" % (page, shell))
    for shell, file in (("bash", "pgpuctl"), ("zsh", "_pgpuctl"), ("fish", "pgpuctl.fish")):
        built = tree.read(build, "docs/completions/%s/%s" % (shell, file))
        if built != run(os.path.join(build, "cli/pgpuctl"), "completion", shell):
            problems.append("completions/%s/%s is not what pgpuctl prints" % (shell, file))


def main():
    root, build = sys.argv[1:3]
    sources = sorted(n[:-3] for n in os.listdir(os.path.join(root, "docs/man"))
                     if n.endswith(".in"))
    for need in list(PROGRAMS.values()) + ["docs/man/" + p for p in sources]:
        if not os.path.exists(os.path.join(build, need)):
            tree.skip(need + " is not built")
    problems = ["%s has no source docs/man/%s.in" % (p, p)
                for p in sorted(set(list(PROGRAMS) + CONFIGS) - set(sources))]
    problems += ["docs/man/%s: pages are made of NAME.SECTION.in" % n
                 for n in os.listdir(os.path.join(root, "docs/man")) if n[-2:] in (".1", ".5", ".8")]
    pages = {name: Page(build, name) for name in sources}
    known = set(FOREIGN)
    for name, program in PROGRAMS.items():
        known |= check_program(build, pages[name], program, problems)
    for page in pages.values():
        differ(problems, page, "option mentioned:", set(), page.all_options() - known)
    check_parsers(root, problems)
    check_sim(root, pages["pgpu-sim.1"], problems)
    check_config(build, pages["pgpud.yaml.5"], problems, "daemon/pgpud",
                 "resources: [{}]\nnri: {handlers: [{match: x}], sets: [{}]}\n")
    check_config(build, pages["hwd.yaml.5"], problems, "hwd/pgpu-hwd", "")
    check_completions(build, problems)
    version = run(os.path.join(build, "daemon/pgpud"), "--version").split()[1]
    for page in pages.values():
        if '"pgpu %s"' % version not in page.head:
            problems.append("%s: is not about version %s" % (page.name, version))
    tree.finish("man", problems, len(pages))


main()
