# SPDX-License-Identifier: Apache-2.0
"""Reads what `ctest --output-junit` wrote. First line out: "passed failed skipped"; then one line
"NAME: REASON" for each skipped test, the reason being the last thing that the test printed, and
"FAILED NAME" for each failed one."""

import re
import sys
import xml.etree.ElementTree as ET


def reason(case):
    lines = [s.strip() for s in (case.findtext("system-out") or "").split("\n") if s.strip()]
    # cmocka's own lines are no reasons
    lines = [s for s in lines if not s.startswith("[")] or ["no reason given"]
    return re.sub(r"^SKIP:?\s*", "", lines[-1])[:200]


def main():
    counts = {"run": 0, "fail": 0, "notrun": 0}
    notes = []
    for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
        status = case.get("status")
        if case.find("skipped") is not None or status in ("notrun", "disabled"):
            message = (case.find("skipped").get("message") or "") \
                if case.find("skipped") is not None else ""
            if "SKIP_RETURN_CODE" in message or "SKIP_REGULAR" in message or status == "disabled":
                counts["notrun"] += 1
                notes.append("%s: %s" % (case.get("name"), reason(case)))
            else:  # the program is not there
                counts["fail"] += 1
                notes.append("FAILED %s (its program is not there)" % case.get("name"))
        elif status == "fail" or case.find("failure") is not None:
            counts["fail"] += 1
            notes.append("FAILED %s" % case.get("name"))
        else:
            counts["run"] += 1
    print(counts["run"], counts["fail"], counts["notrun"])
    print("\n".join(notes))


main()
