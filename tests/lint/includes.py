# SPDX-License-Identifier: Apache-2.0
"""Which folder may include which: the arrows of the layout, kept by reading #include lines."""

import re
import sys

import tree

# folder -> folders or single headers that it may include, besides its own
ARROWS = {
    "base": [],
    "proto": [],
    "vfio": ["base"],
    "ccmode": ["base"],
    "cdi": ["base"],
    "deviceplugin": ["base", "proto"],
    "nri": ["base", "proto"],
    "hwd": ["base", "vfio", "ccmode"],
    "daemon": ["base", "proto", "cdi", "deviceplugin", "nri", "hwd/protocol.h"],
    "cli": ["base", "cdi", "hwd", "vfio", "ccmode", "nri/base64.h", "nri/initdata.h",
            "nri/kata_annotations.h", "nri/toml.h", "daemon/config.h"],
    # the stand-ins speak the same wires, so they share the framing, and nothing else
    "sim": ["base", "proto", "deviceplugin/grpc_io.h", "deviceplugin/codec.h"],
    # prints the man pages and completions from every program's table
    "docs": ["base", "cli/cli.h", "daemon/config.h", "daemon/usage.h", "hwd/config.h", "hwd/usage.h",
             "nri/launch_usage.h", "sim/verbs.h"],
}

# library header -> folders that may use it. One folder for each library is the seam that lets us
# replace it.
LIBRARIES = {
    r"grpc/": ["deviceplugin", "sim"],
    r"protobuf-c/": ["deviceplugin", "nri", "proto", "sim"],
    r"pci/": ["vfio"],
    r"libudev\.h": ["vfio"],
    r"yaml\.h": ["base", "cdi"],
    r"json-c/": ["base", "cdi", "daemon", "cli", "sim", "hwd"],
    r"systemd/": ["daemon", "deviceplugin", "nri", "hwd", "sim"],
    r"openssl/": ["base", "nri"],
    r"zlib\.h": ["cli", "nri"],
    r"fuse": ["sim"],
    r"cmocka\.h": [],
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def allowed(folder, header):
    if header.startswith(folder + "/"):
        return True
    return any(header == a or header.startswith(a + "/") for a in ARROWS[folder])


def check(name, text):
    """The problems of one file, as texts."""
    folder = name.split("/")[0]
    if folder == "tests":
        return []
    if folder not in ARROWS:
        return ["%s: C files belong into one of the known folders" % name]
    problems = []
    for m in INCLUDE.finditer(tree.without_comments(text)):
        where = "%s:%d" % (name, text.count("\n", 0, m.start()) + 1)
        quote, header = m.groups()
        if quote == '"':
            if "/" not in header or ".." in header:
                problems.append('%s: write the path from the project root: "%s"' % (where, header))
            elif not allowed(folder, header):
                problems.append("%s: %s/ may not include %s (only: %s)" %
                                (where, folder, header, ", ".join(ARROWS[folder]) or "itself"))
            continue
        for pattern, folders in LIBRARIES.items():
            if re.match(pattern, header) and folder not in folders:
                problems.append("%s: <%s> is not for %s/ (only: %s)" %
                                (where, header, folder, ", ".join(folders) or "tests"))
    return problems


def main():
    root = sys.argv[1]
    names = tree.sources(root)
    problems = []
    for name in names:
        problems += check(name, tree.read(root, name))
    tree.finish("includes", problems, len(names))


if __name__ == "__main__":
    main()
