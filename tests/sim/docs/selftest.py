# SPDX-License-Identifier: Apache-2.0
"""Do the checks of documents notice what they are for? Each mistake is put into a small tree of its
own, and the check has to complain.

usage: selftest.py SOURCE BUILD"""

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import codes  # noqa: E402
import commands  # noqa: E402
import mdblocks  # noqa: E402
import text  # noqa: E402

GOOD = """# Title

<!-- shown: picture -->

    a -> b

See [the other](docs/b.md#some-heading-here), [this](#title) and `pgpuctl status`.

<!-- not run: why -->

    pgpuctl cc query all && scripts/x

```json
{"a": 1}
```

* item

  goes on

  <!-- not run: in a list -->

      pgpuctl devices
  1. within

     <!-- check: json -->

         {"b": 2}

Text.
"""

# (what is wrong, how, what the complaint contains)
MISTAKES = [
    ("a block without a comment", ("<!-- shown: picture -->\n", ""), "nothing says"),
    ("no reason", ("<!-- not run: why -->", "<!-- not run -->"), "why"),
    ("a link to no file", ("docs/b.md", "docs/c.md"), "there is no docs/c.md"),
    ("a link to no heading", ("#some-heading-here", "#elsewhere"), "no heading"),
    ("an own anchor", ("#title", "#subtitle"), "no heading"),
    ("an unknown verb", ("pgpuctl cc", "pgpuctl zz"), "no verb zz"),
    ("an unknown option", ("query all", "query --zz all"), "no option --zz"),
    ("an unknown verb in a sentence", ("`pgpuctl status`", "`pgpuctl stats`"), "no verb stats"),
    ("a block in a list", ("  <!-- not run: in a list -->\n", ""), "README.md:22: nothing says"),
    ("a verb in a list", ("pgpuctl devices", "pgpuctl device"), "no verb device"),
    ("a bad file in a list", ('{"b": 2}', '{"b": }'), "Expecting value"),
    ("a missing script", ("scripts/x", "scripts/y"), "there is no scripts/y"),
    ("a shell error", ("query all", "query 'all"), "unexpected EOF"),
    ("an open fence", ("```\n\n* item", "\n\n* item"), "not closed"),
    ("a bad file", ("<!-- shown: picture -->", "<!-- check: json -->"), "Expecting value"),
    ("a bad configuration", ("<!-- shown: picture -->", "<!-- check: pgpud.yaml -->"),
     "expected a mapping"),
]

# Whether what is shown matches what is printed.
MATCHES = [
    (["a   b"], ["a b"], True),
    (["a…c"], ["abbc"], True),
    (["a…c"], ["ab", "bc"], False),
    (["…", "c"], ["a", "b", "c"], True),
    (["a", "…"], ["a"], True),
    (["a"], ["a", "b"], False),
    (["a.c"], ["abc"], False),
]


def check(root, build):
    checker = text.Checker(root, build)
    checker.run()
    return checker.wrong


def tree(root, readme):
    for name, body in (("README.md", readme), ("docs/b.md", "# B\n\n## Some `heading`, here\n"),
                       ("scripts/x", "")):
        os.makedirs(os.path.dirname(os.path.join(root, name)) or root, exist_ok=True)
        with open(os.path.join(root, name), "w", encoding="utf-8") as f:
            f.write(body)


def blocks_of(body):
    return mdblocks.parse("x.md", body.split("\n"))


def main(argv):
    build, failed = os.path.abspath(argv[2]), []

    def expect(what, ok):
        if not ok:
            failed.append(what)

    with tempfile.TemporaryDirectory() as root:
        tree(root, GOOD)
        expect(f"a good tree is clean: {check(root, build)}", not check(root, build))
        for name, (old, new), want in MISTAKES:
            assert old in GOOD, name
            tree(root, GOOD.replace(old, new))
            got = check(root, build)
            expect(f"{name}: {got}", any(want in g for g in got))
    for shown, printed, want in MATCHES:
        expect(f"{shown} against {printed}", commands.matches(shown, printed) == want)
    block, = blocks_of("<!-- run: within=2s -->\n\n    $ a \\\n    > b\n    out\n    $ c\n\n"
                       "<!-- prints: x -->\n")
    expect(f"commands: {block.commands()}",
           block.commands() == [("a \\\nb", ["out"]), ("c", [])] and block.prints == ["x"] and
           block.options() == {"within": "2s"})
    expect("every reason is found", len(codes.reasons(argv[1])) > 40)
    for body, ok in (("$ true", True), ("$ false", False), ("$ false   # exits 1", True),
                     ("false\ntrue", False)):
        b = mdblocks.Block("x.md", 1, body.split("\n"), kind="run")
        try:
            commands.run_block(b, dict(os.environ), "/")
            ran = True
        except commands.Failure:
            ran = False
        expect(f"{body!r} is {'fine' if ok else 'a failure'}", ran == ok)
    print("\n".join(failed) if failed else "all mistakes are noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
