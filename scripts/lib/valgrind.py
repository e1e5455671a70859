# SPDX-License-Identifier: Apache-2.0
"""Runs the unit tests of a build under valgrind's memcheck.

usage: valgrind.py BUILD-DIR LOG-DIR

First line out: "passed failed skipped"; then one line "NAME: REASON" for each skipped test,
"FAILED NAME: LOG" for each failed one and "UNSTEADY NAME" for each that failed in the crowd without
a finding of memcheck's and passed alone. A test is skipped where valgrind does not know a system call
that the test needs; for openat2 there is a stand-in (tests/unit/base/valgrind_openat2.c). Tests
with deadlines of their own against gRPC are not run: under valgrind they miss them."""

import concurrent.futures
import json
import os
import re
import subprocess
import sys

SECONDS = 240
TOO_SLOW = re.compile(r"grpc|kubelet|deviceplugin|_dp_proto")
UNKNOWN_CALL = re.compile(r"unhandled \S+ syscall: (\d+)")
SYSCALLS = {"437": "openat2", "436": "close_range", "438": "pidfd_getfd"}


def tests(build):
    done = subprocess.run(["ctest", "--test-dir", build, "-L", "^unit$", "--show-only=json-v1"],
                          check=True, capture_output=True, text=True)
    for t in json.loads(done.stdout)["tests"]:
        # Only programs of this build: a script's interpreter is not ours to check.
        if "command" not in t or not t["command"][0].startswith(os.path.abspath(build) + os.sep):
            continue
        props = {p["name"]: p["value"] for p in t.get("properties", [])}
        yield (t["name"], t["command"], props.get("ENVIRONMENT", []),
               props.get("WORKING_DIRECTORY", build))


def run(job):
    name, command, env, cwd, log, shim = job
    if TOO_SLOW.search(name):
        return name, "skip", "has deadlines that valgrind makes it miss"
    env = {**os.environ, **dict(e.split("=", 1) for e in env)}
    if os.path.exists(shim):
        env["LD_PRELOAD"] = shim
    full = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite", "--child-silent-after-fork=yes",
            "--suppressions=" + os.path.join(os.path.dirname(__file__), "valgrind.supp"), *command]
    try:
        done = subprocess.run(full, cwd=cwd, env=env, timeout=SECONDS, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as e:
        text, code = (e.stdout or b"").decode(errors="replace") + "\ntimeout\n", 124
    with open(log, "w", encoding="utf-8") as f:
        f.write(text)
    if code == 0:
        return name, "ok", ""
    if code == 77:
        return name, "skip", (text.strip().split("\n") or [""])[-1]
    unknown = UNKNOWN_CALL.search(text)
    # A finding counts, whatever else failed.
    finding = re.search(r"^==\d+== \S", text, re.M)
    if unknown and not finding:
        call = SYSCALLS.get(unknown.group(1), "system call " + unknown.group(1))
        return name, "skip", "this valgrind does not know %s" % call
    return name, "finding" if finding else "fail", log


# Tests of time fail on a busy machine; more than three failing are no accident.
def second_look(jobs, results):
    again = [i for i, r in enumerate(results) if r[1] == "fail"]
    for i in again if len(again) <= 3 else []:
        verdict = run(jobs[i])
        results[i] = (verdict[0], "unsteady", "") if verdict[1] == "ok" else verdict
    return results


def main():
    build, logs = sys.argv[1:3]
    os.makedirs(logs, exist_ok=True)
    shim = os.path.abspath(os.path.join(build, "tests/unit/base/libvalgrind_openat2.so"))
    jobs = [(*t, os.path.join(logs, t[0] + ".log"), shim) for t in tests(build)]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(run, jobs))
    results = second_look(jobs, results)
    kinds = [r[1] for r in results]
    print(kinds.count("ok") + kinds.count("unsteady"), kinds.count("fail") + kinds.count("finding"),
          kinds.count("skip"))
    for name, verdict, text in results:
        if verdict == "skip":
            print("%s: %s" % (name, text))
        elif verdict == "unsteady":
            print("UNSTEADY %s" % name)
        elif verdict != "ok":
            print("FAILED %s: %s" % (name, text))


main()
