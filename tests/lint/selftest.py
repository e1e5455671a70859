# SPDX-License-Identifier: Apache-2.0
"""The lint rules find what they are there to find, and nothing in what they should leave alone."""

import sys

import banned
import includes

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n"

# file, text, how many problems
INCLUDE_CASES = [
    ("vfio/a.c", '#include "base/err.h"\n#include "vfio/bind.h"\n#include <stdio.h>\n', 0),
    ("vfio/a.c", '#include "ccmode/cc.h"\n', 1),
    ("vfio/a.c", '#  include   "daemon/node.h"\n', 1),
    ("vfio/a.c", '/* #include "ccmode/cc.h" */\n', 0),
    ("base/a.c", '#include "err.h"\n', 1),
    ("base/a.c", '#include "base/../vfio/bind.h"\n', 1),
    ("daemon/a.c", '#include "hwd/protocol.h"\n#include "deviceplugin/dp.h"\n', 0),
    ("daemon/a.c", '#include "hwd/state.h"\n', 1),
    ("daemon/a.c", '#include "vfio/scan.h"\n', 1),
    ("deviceplugin/a.c", '#include "cdi/cdi.h"\n', 1),
    ("hwd/a.c", '#include <grpc/grpc.h>\n#include <protobuf-c/protobuf-c.h>\n', 2),
    ("tests/unit/x/a.c", '#include "daemon/node.h"\n#include "vfio/bind.h"\n', 0),
    ("misc/a.c", "", 1),
]

BANNED_CASES = [
    ("base/a.c", "sprintf(b, x); strcpy(a, b);", 1),
    ("base/a.c", "snprintf(b, 1, x); my_system(1); x->exit(1);", 0),
    ("base/a.c", "system(x);\nalloca(1);\natoi(s);\nstrtok(s, t);", 4),
    ("base/a.c", "/* system(x) */ f(\"system(x)\");", 0),
    ("base/a.c", "atoi(s); /* lint: allow parse: shown to be digits */", 0),
    ("vfio/a.c", "exit(1);", 1),
    ("vfio/a.c", "_exit(1);", 0),
    ("cli/main.c", "exit(1);", 0),
    ("daemon/a.c", 'open("/sys/bus/pci");', 1),
    ("daemon/a.c", 'open("/proc");', 1),
    ("daemon/a.c", 'open("/dev/null"); f("/system"); g("x/sys/y");', 0),
    ("vfio/a.c", 'open("/sys/bus/pci");', 0),
    ("vfio/a.c", 'log_info("x");', 1),
    ("vfio/a.c", 'log_debug("x");', 0),
    ("daemon/a.c", 'log_error("x");', 0),
]


def main():
    wrong = []
    for name, text, count in INCLUDE_CASES:
        got = includes.check(name, text)
        if len(got) != count:
            wrong.append("includes: %s %r: %r" % (name, text, got))
    for name, text, count in BANNED_CASES:
        got = banned.check(name, HEAD + text)
        if len(got) != count:
            wrong.append("banned: %s %r: %r" % (name, text, got))
    if not banned.check("base/a.c", "int x;\n"):
        wrong.append("banned: a file without the licence line passed")
    print("\n".join(wrong) or "all rules work")
    sys.exit(1 if wrong else 0)


main()
