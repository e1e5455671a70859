# SPDX-License-Identifier: Apache-2.0
"""pgpuctl initdata against Python's hashlib, gzip and base64.

usage: test_initdata_cli.py PGPUCTL"""

import base64
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

KEY = "io.katacontainers.config.hypervisor.cc_init_data"
TOML = b"""version = "0.1.0"
algorithm = "sha384"

[data]
"aa.toml" = '''
[token_configs.kbs]
url = "http://kbs.example:8080"
'''
"policy.rego" = '''
package agent_policy
default CreateContainerRequest := true
'''
"""
REGO = "package agent_policy\ndefault CreateContainerRequest := true\n"


def annotation(text):
    return base64.b64encode(gzip.compress(text)).decode()


class Initdata(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="pgpu-initdata.")
        self.addCleanup(self.dir.cleanup)

    def file(self, name, data):
        path = os.path.join(self.dir.name, name)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return path

    def run_it(self, *args, status=0, stdin=b"", warns=False):
        done = subprocess.run([PGPUCTL, "initdata", *args], input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False, cwd=self.dir.name)
        self.assertEqual(done.returncode, status, done)
        # errors are on standard error, but for those that check was asked for
        self.assertEqual(bool(done.stderr),
                         warns or status == 2 or (status == 1 and args[0] != "check"), done)
        return done.stdout.decode(), done.stderr.decode()

    def test_the_digest_is_the_same_from_every_kind_of_source(self):
        want = hashlib.sha384(TOML).hexdigest() + "\n"
        value = annotation(TOML)
        for source in (self.file("id.toml", TOML), self.file("id", value),
                       self.file("id-line", value + "\n"), value):
            self.assertEqual(self.run_it("digest", source, "--format", "hex")[0], want)
        for data in (TOML, value.encode(), value.encode() + b"\n"):
            self.assertEqual(self.run_it("digest", "-", "--format", "hex", stdin=data)[0], want)

    def test_fields_are_the_digest_cut_or_filled(self):
        for algorithm in ("sha256", "sha384", "sha512"):
            text = TOML.replace(b"sha384", algorithm.encode())
            digest = hashlib.new(algorithm, text).digest()
            path = self.file("id.toml", text)
            got = json.loads(self.run_it("digest", path, "--json")[0])
            self.assertEqual(got["algorithm"], algorithm)
            self.assertEqual(got["digest"]["base64"], base64.b64encode(digest).decode())
            for tee, size in (("snp", 32), ("tdx", 48), ("cca", 64), ("sgx", 64), ("se", 256)):
                field = digest[:size].ljust(size, b"\0")
                self.assertEqual(got["fields"][tee]["hex"], field.hex())
                self.assertEqual(got["fields"][tee]["base64"], base64.b64encode(field).decode())
                bare = self.run_it("digest", path, "--tee", tee, "--format", "base64")[0]
                self.assertEqual(bare, base64.b64encode(field).decode() + "\n")
            people = self.run_it("digest", path)[0]
            for part in (digest.hex(), "HOSTDATA, 32 bytes", "MRCONFIGID, 48 bytes"):
                self.assertIn(part, people)
            self.assertEqual(list(json.loads(self.run_it(
                "digest", path, "--tee", "tdx", "--json")[0])["fields"]), ["tdx"])

    def test_what_is_encoded_is_what_others_decode(self):
        path = self.file("id.toml", TOML)
        value = self.run_it("encode", path)[0]
        self.assertEqual(gzip.decompress(base64.b64decode(value.strip(), validate=True)), TOML)
        self.assertEqual(value.count("\n"), 1)
        self.assertEqual(self.run_it("encode", "-", stdin=TOML)[0], value)
        self.assertEqual(json.loads(self.run_it("encode", path, "--json")[0]),
                         {KEY: value.strip()})
        self.assertEqual(self.run_it("show", value.strip())[0].encode(), TOML)
        _, err = self.run_it("encode", self.file("id", value), status=1)
        self.assertIn("already", err)

    def test_show_gives_the_text_or_one_of_its_values(self):
        value = annotation(TOML)
        self.assertEqual(self.run_it("show", value)[0].encode(), TOML)
        self.assertEqual(self.run_it("show", value, "policy.rego")[0], REGO)
        got = json.loads(self.run_it("show", value, "--json")[0])
        self.assertEqual(got["version"], "0.1.0")
        self.assertEqual(got["digest"]["hex"], hashlib.sha384(TOML).hexdigest())
        self.assertEqual(got["data"]["policy.rego"], REGO)
        _, err = self.run_it("show", value, "cdh.toml", status=1)
        self.assertIn('"aa.toml" "policy.rego"', err)

    def test_check_finds_what_breaks_kata(self):
        good = annotation(TOML)
        wrapped = base64.encodebytes(gzip.compress(TOML)).decode()
        cases = {
            good: [],
            TOML: [],
            wrapped: ["base64-line-breaks"],
            good[:-4]: ["gzip"],
            base64.b64encode(gzip.compress(TOML) * 2): ["gzip-trailing"],
            annotation(b"version = '0.1.0'\n"): ["algorithm", "data"],
            annotation(TOML.replace(b"sha384", b"sha-384")): ["algorithm"],
            TOML.replace(b"0.1.0", b"1.0"): ["version"],
        }
        for data, rules in cases.items():
            path = self.file("x", data)
            status = 1 if rules else 0
            got = json.loads(self.run_it("check", path, "--json", status=status)[0])
            self.assertEqual([f["rule"] for f in got["findings"]], rules)
            self.assertEqual(got["ok"], not rules)
            people = self.run_it("check", path, status=status)[0]
            for rule in rules:
                self.assertIn("ERROR  %s: " % rule, people)
            self.assertEqual(people.count("\n         breaks: "), len(rules))
            if not rules:
                self.assertIn("in order: version 0.1.0, sha384", people)

    def test_notes_are_no_errors(self):
        path = self.file("x", TOML.replace(b"[data]", b"extra = 1\n[data]"))
        self.assertIn("note   unknown-key: ", self.run_it("check", path)[0])

    def test_without_an_algorithm_there_is_no_digest_and_no_encoding(self):
        path = self.file("x", TOML.replace(b"sha384", b"md5"))
        for verb in ("digest", "encode"):
            out, err = self.run_it(verb, path, status=1)
            self.assertEqual(out, "")
            self.assertIn("md5", err)
            self.assertIn("panics", err)

    def test_faults_of_what_is_in_it_are_a_warning_and_change_no_digest(self):
        broken = {
            "aa.toml": TOML.replace(b"[token_configs.kbs]", b"[token_configs.kbs"),
            "data-value": TOML.replace(b"[data]", b"[data]\nn = 1"),
            "version": TOML.replace(b"0.1.0", b"1.0"),
            "data": b'version = "0.1.0"\nalgorithm = "sha384"\n',
            "unknown-key": TOML.replace(b"[data]", b"extra = 1\n[data]"), # only a note
        }
        for rule, text in broken.items():
            want = hashlib.sha384(text).digest()
            for source in (self.file("x.toml", text), self.file("x", annotation(text))):
                out, err = self.run_it("digest", source, "--format", "hex", warns=True)
                self.assertEqual(out, want.hex() + "\n")
                self.assertIn(rule + ": ", err)
                self.assertEqual("warning" in err, rule != "unknown-key", err)
                out, _ = self.run_it("digest", source, "--json", warns=True)
                self.assertEqual(json.loads(out)["fields"]["snp"]["hex"], want[:32].hex())
                self.assertIn("HOSTDATA", self.run_it("digest", source, warns=True)[0])
        # the form of the annotation alone
        value = base64.encodebytes(gzip.compress(TOML)).decode()
        out, err = self.run_it("digest", self.file("x", value), "--format", "hex", warns=True)
        self.assertEqual(out, hashlib.sha384(TOML).hexdigest() + "\n")
        self.assertIn("base64-line-breaks: ", err)

    def test_what_the_runtimes_measure_differently_has_no_digest(self):
        twice = base64.b64encode(gzip.compress(TOML) * 2)
        out, err = self.run_it("digest", self.file("x", twice), status=1)
        self.assertEqual(out, "")
        self.assertIn("which digest is measured depends on the runtime", err)

    def test_what_cannot_be_read_has_no_digest(self):
        for data in (b"algorithm = ", TOML[:-4], annotation(TOML)[:-4], annotation(b"x"), b""):
            self.assertEqual(self.run_it("digest", self.file("x", data), status=1)[0], "")

    def test_errors_name_the_source(self):
        for args, part in ((["check", "missing.toml"], "missing.toml"),
                           (["check", self.file("x.gz", gzip.compress(TOML))], "is gzip"),
                           (["digest", self.dir.name], self.dir.name)):
            done = subprocess.run([PGPUCTL, "initdata", *args], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(part, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_wrong_usage_is_status_2_and_help_is_0(self):
        path = self.file("id.toml", TOML)
        self.assertIn("unknown verb \"frob\"", self.run_it("frob", status=2)[1])
        for args in ([], ["digest"], ["frob", path], ["digest", path, path],
                     ["show", path, "a", "b"], ["digest", path, "--tee", "sev"],
                     ["digest", path, "--format", "octal"], ["check", path, "--tee", "snp"],
                     ["digest", path, "--nothing"]):
            self.run_it(*args, status=2)
        self.assertIn("Usage: pgpuctl initdata", self.run_it("--help")[0])


PGPUCTL = sys.argv.pop(1)
unittest.main()
