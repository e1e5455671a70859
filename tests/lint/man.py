# SPDX-License-Identifier: Apache-2.0
"""Man pages against the programs: what --help and --print-config say, and the tables of the source.

usage: man.py SOURCE-DIR BUILD-DIR

An option, verb, command or configuration key (with its default) that only one side knows is a
problem. Exits 77 when the programs are not built."""

import os
import re
import subprocess
import sys
import tempfile

import tree

OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
# Rows of getopt tables.
GETOPT = re.compile(r'\{"([a-z][a-z0-9-]*)",\s*(?:no|required|optional)_argument')


def plain(line):
    """The text of a roff line without its escapes."""
    line = re.sub(r"\\f(?:\[\w*\]|[RBIP])", "", line)
    return line.replace("\\-", "-").replace("\\&", "").replace('"', "")


class Page:
    """Sections (.SH) and subsections (.SS) of a page as plain lines, macros kept."""

    def __init__(self, root, name):
        self.name = "docs/man/" + name
        self.sections = {}
        here = None
        for line in tree.read(root, self.name).splitlines():
            m = re.match(r"\.S([HS])\s+(.*)", line)
            if m:
                here = plain(m.group(2)).strip()
                self.sections[here] = []
            elif here and not line.startswith('.\\"'):
                self.sections[here].append(plain(line))

    def options(self, section):
        """The options that entries (.TP) of the section are about."""
        return set(o for line in self.entries(section) for o in OPTION.findall(line))

    def entries(self, section):
        """The headings of the .TP entries of a section, without their macro."""
        lines = self.sections.get(section, [])
        return [re.sub(r"^\.[A-Z]+ ", "", after).strip()
                for line, after in zip(lines, lines[1:]) if line.strip() == ".TP"]

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


def check_version(root, build, problems, names):
    version = run(os.path.join(build, "daemon/pgpud"), "--version").split()[1]
    for name in names:
        head = tree.read(root, "docs/man/" + name).splitlines()[1]
        if '"pgpu %s"' % version not in head:
            problems.append("docs/man/%s: is not about version %s" % (name, version))


def differ(problems, page, what, code, documented):
    for x in sorted(code - documented):
        problems.append("%s: %s %s is missing" % (page.name, what, x))
    for x in sorted(documented - code):
        problems.append("%s: %s %s does not exist" % (page.name, what, x))


def verbs_of(text):
    """Of a --help with a list of verbs."""
    part = text.split("Verbs", 1)[1].split("\nOptions", 1)[0]
    return set(re.findall(r"^  ([a-z-]+) +\S", part, re.M))


def check_daemon(root, build, problems, program, page_name, sources):
    page = Page(root, page_name)
    options = set(OPTION.findall(run(os.path.join(build, program), "--help")))
    table = set(GETOPT.findall("\n".join(tree.read(root, s) for s in sources)))
    differ(problems, page, "option", {"--" + o for o in options | table},
           {"--" + o for o in page.options("OPTIONS")})


def check_verbs(root, build, problems, program, page_name, sources):
    """Programs with verbs: each is a subsection that documents its own options."""
    page = Page(root, page_name)
    path = os.path.join(build, program)
    top = run(path, "--help")
    verbs = verbs_of(top)
    common = set(OPTION.findall(top))
    known = set(common)
    differ(problems, page, "option", {"--" + o for o in common},
           {"--" + o for o in page.options("OPTIONS")})
    differ(problems, page, "verb", verbs, {s for s in page.sections if s.islower()})
    for verb in sorted(verbs & set(page.sections)):
        text = run(path, verb, "--help")
        own = set(OPTION.findall(text)) - {"help"}
        known |= own
        documented = page.options(verb)
        # An option that all verbs take may be mentioned again by a verb of its own accord.
        differ(problems, page, verb + " option", {"--" + o for o in own - (common - documented)},
               {"--" + o for o in documented})
        for sub in sorted(set(re.findall(r"(?:pgpuctl %s|^  %s) ([a-z]+)\b" % (verb, verb), text,
                                         re.M))):
            if not any(e.split()[:2] == [verb, sub] for e in page.entries(verb)):
                problems.append("%s: %s %s is missing" % (page.name, verb, sub))
        for entry in page.entries(verb):
            m = re.match(r"%s ([\w-]+)" % verb, entry)
            if m and not re.search(r"\b%s %s\b" % (verb, m.group(1)), text):
                problems.append("%s: %s does not exist" % (page.name, m.group(0)))
    for s in sources:
        for o in sorted(set(GETOPT.findall(tree.read(root, s))) - known - {"help"}):
            problems.append("%s: --%s is in no --help" % (s, o))
    differ(problems, page, "option mentioned:", set(), {"--" + o for o in
                                                        page.all_options() - known})


def check_commands(root, problems, section, source, row, more=()):
    page = Page(root, "pgpu-sim.1")
    code = set(re.findall(row, tree.read(root, source), re.M)) | set(more)
    documented = set()
    for entry in page.entries(section):
        documented |= set(re.findall(r"[a-z][a-z-]*", entry))
    differ(problems, page, section.lower(), code, documented)


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


def check_config(root, build, problems, program, page_name, lists):
    """`lists`: a configuration with one element in each list of objects, to see their keys."""
    page = Page(root, page_name)
    path = os.path.join(build, program)
    keys = {}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(lists)
        f.flush()
        keys.update(flatten(run(path, "--config", f.name, "--print-config")))
    keys.update(flatten(run(path, "--print-config")))
    documented = dict(e.split(" = ", 1) if " = " in e else (e, "?") for e in page.entries("KEYS"))
    differ(problems, page, "key", set(keys), set(documented))
    for k in sorted(set(keys) & set(documented)):
        if documented[k] not in (keys[k], "?"):  # an entry without a value: a mandatory key
            problems.append("%s: default of %s is %s, not %s" % (page.name, k, keys[k],
                                                                 documented[k]))


def main():
    root, build = sys.argv[1:3]
    for program in ("daemon/pgpud", "hwd/pgpu-hwd", "cli/pgpuctl", "sim/pgpu-sim",
                    "nri/pgpu-nri-launch"):
        if not os.access(os.path.join(build, program), os.X_OK):
            tree.skip(program + " is not built")
    problems = []
    check_daemon(root, build, problems, "daemon/pgpud", "pgpud.8", ["daemon/main.c"])
    check_daemon(root, build, problems, "hwd/pgpu-hwd", "pgpu-hwd.8", ["hwd/main.c"])
    check_daemon(root, build, problems, "nri/pgpu-nri-launch", "pgpu-nri-launch.8",
                 ["nri/launch.c"])
    check_verbs(root, build, problems, "cli/pgpuctl", "pgpuctl.1",
                ["cli/cc.c", "cli/devices.c", "cli/initdata.c"])
    check_verbs(root, build, problems, "sim/pgpu-sim", "pgpu-sim.1",
                ["sim/nodecmd.c", "sim/vfiousercmd.c", "sim/kubelet_main.c", "sim/kata.c",
                 "sim/runtime_main.c"])
    check_commands(root, problems, "NODE COMMANDS", "sim/control.c",
                   r'^    \{"([a-z-]+)", "', more=["trace"])
    check_commands(root, problems, "VFIO-USER COMMANDS", "sim/vfiouser_ctl.c",
                   r'^    \{"([a-z-]+)", "(?:NAME[^"]*)?", "', more=["trace"])
    check_commands(root, problems, "KUBELET COMMANDS", "sim/kubelet_cmd.c",
                   r'^    \{"([a-z-]+)", cmd_')
    check_commands(root, problems, "RUNTIME COMMANDS", "sim/runtime_cmd.c",
                   r'^    \{"([a-z-]+)", (?:rt_)?cmd_')
    check_config(root, build, problems, "daemon/pgpud", "pgpud.yaml.5",
                 "resources: [{}]\nnri: {handlers: [{match: x}], sets: [{}]}\n")
    check_config(root, build, problems, "hwd/pgpu-hwd", "hwd.yaml.5", "")
    pages = sorted(os.listdir(os.path.join(root, "docs/man")))
    check_version(root, build, problems, pages)
    tree.finish("man", problems, len(pages))


main()
