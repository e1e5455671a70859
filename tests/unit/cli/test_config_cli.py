# SPDX-License-Identifier: Apache-2.0
"""pgpuctl config, version, help, colours and names of devices as users see them; pgpud is a
socket here.

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

    def ask(self, answer, *args, status=0):
        """What pgpuctl prints when pgpud answers so, and what it asked."""
        path = os.path.join(self.dir.name, "control.sock")
        asked = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen(1)

            def serve():
                with server.accept()[0] as c:
                    asked.append(c.recv(100))
                    c.sendall(answer)

            t = threading.Thread(target=serve)
            t.start()
            out, err = self.run_it("--control", path, *args, status=status)
            t.join()
        os.unlink(path)
        return out, err, asked

    def test_show_prints_what_pgpud_answers(self):
        out, _, asked = self.ask(b"# the mode\nmode: on\n", "config", "show")
        self.assertEqual(asked, [b"config\n"])
        self.assertEqual(out, "# the mode\nmode: on\n")

    def test_show_as_json(self):
        yaml = (b"# the mode\nmode: on\nunlock_devtools: false\nhttp:\n  listen: '1.2.3.4:80'\n"
                b"nri:\n  sockets: [/a, /b]\n  handlers:\n    - match: \"kata-*\"\n      n: 7\n"
                b"  index: \"10\"\nresources: []\nname: \"\"\nwait: 25s\n")
        out, _, _ = self.ask(yaml, "--json", "config", "show")
        self.assertEqual(json.loads(out), {
            "mode": "on", "unlock_devtools": False, "http": {"listen": "1.2.3.4:80"},
            "nri": {"sockets": ["/a", "/b"], "handlers": [{"match": "kata-*", "n": 7}],
                    "index": "10"},
            "resources": [], "name": "", "wait": "25s"})
        out, err, _ = self.ask(b"mode: [\n", "--json", "config", "show", status=1)
        self.assertEqual(out, "")
        self.assertIn("pgpud's answer", err)

    def test_a_device_may_be_named_as_nvidia_smi_prints_it(self):
        conf = self.file("pgpud.yaml", "state_dir: {0}\naudit: {{file: {0}/none.log}}\n".format(
            self.dir.name))
        node = ("--root", self.dir.name, "--control", self.dir.name + "/none.sock", "--json", "why",
                "--config", conf)
        for word, device in (("0000:2A:00.0", "0000:2a:00.0"), ("2A:00.0", "0000:2a:00.0"),
                             ("00000000:2A:00.0", "0000:2a:00.0"),
                             ("00010000:2A:00.0", "10000:2a:00.0"),
                             ("10000:2a:00.0", "10000:2a:00.0")):
            said = json.loads(self.run_it(*node, word, status=1)[0])
            self.assertEqual(said["kind"], "device", word)
            self.assertIn("No device %s is known" % device, said["text"])
        for word in ("000:2a:00.0", "2a:00.8", "0000:2a:00.0.", "0x2a:00.0", "000000002A:00.0",
                     "0" * 300 + ":2a:00.0"):
            self.assertEqual(json.loads(self.run_it(*node, word, status=1)[0])["kind"], "pod", word)

    def run_on_terminal(self, *args, **env):
        """What it prints where stdout is a terminal."""
        own, its = os.openpty()
        keep = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        with subprocess.Popen([PGPUCTL, *args], stdin=subprocess.DEVNULL, stdout=its, stderr=its,
                              env={**keep, **env}) as p:
            os.close(its)
            out = b""
            while True:
                try:
                    part = os.read(own, 4096)
                except OSError:  # EIO: nobody has the other end
                    break
                if not part:
                    break
                out += part
            p.wait(60)
        os.close(own)
        return out.decode()

    def test_colours_on_a_terminal_that_has_them_and_unless_refused(self):
        self.file("bad.yaml", "not CDI\n")
        args = ("cdi", "lint", self.dir.name)
        colour = "\x1b["
        self.assertIn(colour, self.run_on_terminal(*args, TERM="xterm"))
        self.assertIn(colour, self.run_on_terminal(*args, TERM="xterm", NO_COLOR=""))
        self.assertNotIn(colour, self.run_on_terminal(*args, TERM="xterm", NO_COLOR="1"))
        self.assertNotIn(colour, self.run_on_terminal(*args, TERM="dumb"))
        self.assertNotIn(colour, self.run_on_terminal("--no-color", *args, TERM="xterm"))

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
