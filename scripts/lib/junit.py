# SPDX-License-Identifier: Apache-2.0
"""Reads what `ctest --output-junit` wrote.

junit.py FIRST [AGAIN]   first line out: "passed failed skipped"; then "NAME: REASON" for each skipped
                         test, the reason being its last line "SKIP: why" (else the last thing that it printed), "FAILED NAME" for
                         each failed one, "UNSTEADY NAME" for one that failed in FIRST and passed in
                         AGAIN (where that file exists)
junit.py --failed FIRST  the names of the failed tests
"""

import os
import re
import sys
import xml.etree.ElementTree as ET


def reason(case):
    lines = [s.strip() for s in (case.findtext("system-out") or "").split("\n") if s.strip()]
    # cmocka's own lines are no reasons
    lines = [s for s in lines if not s.startswith("[")] or ["no reason given"]
    lines = [s for s in lines if s.startswith("SKIP:")] or lines
    return re.sub(r"^SKIP:?\s*", "", lines[-1])[:200]


def outcome(case):
    """("passed" | "failed" | "missing" | "skipped", why)"""
    status = case.get("status")
    skipped = case.find("skipped")
    if skipped is not None or status in ("notrun", "disabled"):
        message = (skipped.get("message") or "") if skipped is not None else ""
        if "SKIP_RETURN_CODE" in message or "SKIP_REGULAR" in message or status == "disabled":
            return "skipped", reason(case)
        return "missing", "its program is not there"
    if status == "fail" or case.find("failure") is not None:
        return "failed", ""
    return "passed", ""


def outcomes(path):
    return {c.get("name"): outcome(c) for c in ET.parse(path).getroot().iter("testcase")}


def main():
    if sys.argv[1] == "--failed":
        print("\n".join(n for n, o in outcomes(sys.argv[2]).items() if o[0] == "failed"))
        return
    first = outcomes(sys.argv[1])
    again = outcomes(sys.argv[2]) if len(sys.argv) > 2 and os.path.exists(sys.argv[2]) else {}
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    notes = []
    for name, (what, why) in first.items():
        if what == "failed" and again.get(name, ("failed",))[0] == "passed":
            what = "passed"
            notes.append("UNSTEADY %s" % name)
        elif what == "skipped":
            notes.append("%s: %s" % (name, why))
        elif what in ("failed", "missing"):
            notes.append("FAILED %s%s" % (name, " (%s)" % why if why else ""))
            what = "failed"
        counts[what] += 1
    print(counts["passed"], counts["failed"], counts["skipped"])
    print("\n".join(notes))


main()
