# SPDX-License-Identifier: Apache-2.0
"""pgpuctl config, version and help as their users see them; pgpud is a socket here.

usage: test_config_cli.py PGPUCTL"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PGPUCTL = sys.argv.pop(1)


class ConfigCli(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="pgpu-config.")
        self.addCleanup(self.dir.cleanup)

    def file(self, name, text):
        path = os.path.join(self.dir.name, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def run_it(self, *args, status=0):
        done = subprocess.run([PGPUCTL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done)
        return done.stdout, done.stderr

    def test_good_files_of_both_services_are_told_apart_by_name(self):
        pgpud = self.file("pgpud.yaml", "mode: ppcie\n")
        hwd = self.file("hwd.yaml", "modes: [on]\n")
        out, _ = self.run_it("config", "check", pgpud, hwd)
        self.assertEqual(out, "%s: good\n%s: good\n" % (pgpud, hwd))
        # each is bad as the other one's
        self.run_it("config", "check", self.file("hwd-2.yaml", "mode: ppcie\n"), status=1)
        self.run_it("config", "check", self.file("other.yaml", "modes: [on]\n"), status=1)

    def test_a_bad_file_is_named_with_line_and_key_and_the_others_are_still_checked(self):
        bad = self.file("pgpud.yaml", "prepare: eager\nmoed: on\n")
        good = self.file("good.yaml", "")
        out, err = self.run_it("config", "check", bad, good, status=1)
        self.assertIn("%s:2" % bad, err)
        self.assertIn("moed", err)
        self.assertEqual(out, "%s: good\n" % good)
        _, err = self.run_it("config", "check", self.dir.name + "/none.yaml", status=1)
        self.assertIn("none.yaml", err)

    def test_the_same_as_json(self):
        bad = self.file("pgpud.yaml", "mode: purple\n")
        good = self.file("hwd.yaml", "")
        out, _ = self.run_it("--json", "config", "check", good, bad, status=1)
        rows = json.loads(out)
        self.assertEqual([(r["file"], r["good"]) for r in rows], [(good, True), (bad, False)])
        self.assertIn("purple", rows[1]["error"])
        self.assertNotIn("error", rows[0])

    def test_show_prints_what_pgpud_answers(self):
        path = os.path.join(self.dir.name, "control.sock")
        asked = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen(1)

            def serve():
                with server.accept()[0] as c:
                    asked.append(c.recv(100))
                    c.sendall(b"# the mode\nmode: on\n")

            t = threading.Thread(target=serve)
            t.start()
            out, _ = self.run_it("--control", path, "config", "show")
            t.join()
        self.assertEqual(asked, [b"config\n"])
        self.assertEqual(out, "# the mode\nmode: on\n")

    def test_show_without_pgpud_fails(self):
        _, err = self.run_it("--control", self.dir.name + "/none.sock", "config", "show", status=1)
        self.assertIn("none.sock", err)

    def test_version_and_help_are_verbs_too(self):
        out, _ = self.run_it("version")
        self.assertEqual(out, self.run_it("--version")[0])
        self.assertEqual("pgpuctl %s\n" % json.loads(self.run_it("--json", "version")[0])["version"],
                         out)
        self.assertEqual(self.run_it("help", "cc", "set")[0], self.run_it("cc", "set", "--help")[0])
        self.assertEqual(self.run_it("help")[0], self.run_it("--help")[0])
        _, err = self.run_it("help", "cc", "sett", status=2)
        self.assertIn("sett", err)

    def test_wrong_usage_is_status_2(self):
        for args in (["config"], ["config", "frob"], ["config", "show", "x"], ["completion"],
                     ["completion", "csh"], ["version", "x"], ["--root=", "devices"],
                     ["--hwd", "", "devices"]):
            self.run_it(*args, status=2)


unittest.main()
