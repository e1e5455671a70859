# SPDX-License-Identifier: Apache-2.0
"""The container image: made twice with one digest, readable by umoci and skopeo, without a shell; its bill
of materials says of every file what it is; its programs serve a pod on the simulated node from the
image's root, and their health is asked as the manifests' probes ask it."""

import filecmp
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import node

PROGRAMS = ("usr/sbin/pgpud", "usr/sbin/pgpu-hwd", "usr/sbin/pgpu-nri-launch", "usr/bin/pgpuctl")
IDENT = re.compile(r"SPDXRef-[A-Za-z0-9.-]+$")


def want(truth, what):
    if not truth:
        sys.exit("FAILED: " + what)


def step(text):
    print("== " + text, flush=True)


def build(out):
    """The digest of an image that is made in `out`."""
    script = os.path.join(node.source_dir(), "deploy/image/build")
    text = subprocess.run([script, "--build", node.bin_dir(), "--out", out, "--tag", "test", "--sizes"],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    print("   " + text.strip().replace("\n", "\n   "))
    return text.split()[0]


def check_twice(d):
    step("two builds, one digest")
    one, two = d + "/one", d + "/elsewhere/two"
    os.makedirs(d + "/elsewhere")
    digest = build(one)
    want(build(two) == digest, "two builds differ")
    want(filecmp.cmp(one + ".spdx.json", two + ".spdx.json", shallow=False), "two bills of materials differ")
    got = json.loads(subprocess.run(["skopeo", "inspect", "oci:%s:test" % one], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout)
    want(got["Digest"] == digest, "skopeo: %s" % got)
    copied = d + "/copied"
    subprocess.run(["skopeo", "copy", "-q", "--preserve-digests", "oci:%s:test" % one,
                    "oci:%s:test" % copied], check=True)
    for name in os.listdir(one + "/blobs/sha256"):
        with open(one + "/blobs/sha256/" + name, "rb") as f:
            want(hashlib.sha256(f.read()).hexdigest() == name, "blob " + name)
    return one, digest


def unpack(image, d):
    subprocess.run(["umoci", "unpack", "--image", image + ":test", d + "/bundle"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = d + "/bundle/rootfs"
    files = {os.path.relpath(os.path.join(path, f), root) for path, _, names in os.walk(root)
             for f in names}
    step("%d files, no shell and nothing set-uid" % len(files))
    want(set(PROGRAMS) <= files, "programs are missing: %s" % (set(PROGRAMS) - files))
    for name in files:
        mode = os.stat(os.path.join(root, name)).st_mode
        want(not mode & 0o7022, "%s has mode %o" % (name, mode))
        want(name in PROGRAMS or re.match(r"(usr/lib/lib|lib64/ld-)|usr/share/misc/pci.ids$|etc/(passwd|"
                                          r"group|os-release)$", name), "what is %s?" % name)
    for name in PROGRAMS:
        done = subprocess.run(["chroot", root, "/" + name, "--version"], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        want(done.returncode == 0 and done.stdout.startswith(os.path.basename(name)), done.stdout)
        with open(os.path.join(root, name), "rb") as f:
            want(b".debug_info" not in f.read(), name + " is not stripped")
    return root, files


def check_spdx(path, root, files, digest):
    step("bill of materials: form, identifiers, relations, checksums")
    with open(path, encoding="utf-8") as f:
        doc = json.load(f)
    for key in ("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo",
                "packages", "files", "relationships"):
        want(key in doc, key + " is missing")
    want((doc["spdxVersion"], doc["dataLicense"], doc["SPDXID"]) ==
         ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT"), "head")
    want(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", doc["creationInfo"]["created"]), "created")
    idents = [x["SPDXID"] for x in [doc] + doc["packages"] + doc["files"]]
    want(len(set(idents)) == len(idents) and all(IDENT.match(i) for i in idents), "identifiers")
    for r in doc["relationships"]:
        want({r["spdxElementId"], r["relatedSpdxElement"]} <= set(idents), "relation %s" % r)
    want(any(r["relationshipType"] == "DESCRIBES" for r in doc["relationships"]), "DESCRIBES")
    sums = {}
    for f in doc["files"]:
        with open(os.path.join(root, f["fileName"]), "rb") as data:
            bytes_ = data.read()
        for c in f["checksums"]:
            want(hashlib.new(c["algorithm"].lower(), bytes_).hexdigest() == c["checksumValue"],
                 "checksum of " + f["fileName"])
        sums[f["SPDXID"]] = hashlib.sha1(bytes_).hexdigest()
    want({f["fileName"][2:] for f in doc["files"]} == files, "files of the image and of the document")
    owned = []
    for p in doc["packages"]:
        for key in ("name", "versionInfo", "downloadLocation", "licenseConcluded", "licenseDeclared"):
            want(p.get(key), "%s of %s" % (key, p["SPDXID"]))
        own = [r["relatedSpdxElement"] for r in doc["relationships"] if r["spdxElementId"] == p["SPDXID"]
               and r["relationshipType"] == "CONTAINS" and r["relatedSpdxElement"] in sums]
        if p["filesAnalyzed"]:
            code = hashlib.sha1("".join(sorted(sums[i] for i in own)).encode()).hexdigest()
            want(p["packageVerificationCode"]["packageVerificationCodeValue"] == code, "code of " + p["name"])
        owned += own
    want(sorted(owned) == sorted(sums), "every file belongs to one package")
    names = {p["name"] for p in doc["packages"]}
    want({"pgpu", "libc6", "libgrpc29"} <= names or {"pgpu", "libc6"} <= names, "packages: %s" % names)
    want(doc["packages"][0]["checksums"][0]["checksumValue"] == digest.split(":")[1], "the image's digest")
    print("   %d packages, %d with a declared licence" % (
        len(names), sum(p["licenseDeclared"] != "NOASSERTION" for p in doc["packages"])))


def check_serves(root):
    step("pgpud and pgpu-hwd from the image, on the simulated node")
    # what is mounted below /tmp later, as the simulated /sys, is seen from within too
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    for name in ("proc", "dev", "tmp"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
        subprocess.run(["mount", "--bind", "/" + name, os.path.join(root, name)], check=True)
    enter = ["chroot", root]
    with node.Node(gpus=2, programs={"pgpud": "/usr/sbin/pgpud", "pgpu-hwd": "/usr/sbin/pgpu-hwd"},
                   wrap={"pgpud": enter, "hwd": enter}) as n:
        want(n.dir.startswith("/tmp/"), "the node is below /tmp")
        for name in ("pgpud", "hwd"):
            got = os.readlink("/proc/%d/root" % n.process[name].pid)
            want(got == root, "%s runs in %s" % (name, got))
        n.wait_healthy("nvidia.com/pgpu", 2)
        n.admit("default/model", pgpu=1)
        want(n.units()[0]["model"] != "", "no product name")
        for probe in ("live", "ready"):
            done = subprocess.run(enter + ["/usr/bin/pgpuctl", "--control",
                                           n.pgpud_config["control_socket"], "health", probe],
                                  check=False, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            want(done.returncode == 0, "pgpuctl health %s: %s" % (probe, done.stdout))
        done = subprocess.run(enter + ["/usr/bin/pgpuctl", "--hwd", n.pgpud_config["hwd_socket"], "health",
                                       "hwd"], check=False, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        want(done.returncode == 0, "pgpuctl health hwd: " + done.stdout)
        n.end("default/model")


def main():
    node.require_simulation()
    for tool in ("umoci", "skopeo", "dpkg-query", "unshare"):
        if not shutil.which(tool):
            node.skip(tool + " is not installed")
    if "PGPU_IN_NAMESPACE" not in os.environ:  # our mounts are nobody else's
        os.environ["PGPU_IN_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable] + sys.argv)
    with tempfile.TemporaryDirectory(prefix="pgpu-image.", dir="/tmp") as d:
        image, digest = check_twice(d)
        root, files = unpack(image, d)
        check_spdx(image + ".spdx.json", root, files, digest)
        try:
            check_serves(root)
        finally:
            for name in ("proc", "dev", "tmp"):
                subprocess.run(["umount", "-l", os.path.join(root, name)], check=False,
                               stderr=subprocess.DEVNULL)
    print("done")


if __name__ == "__main__":
    os.environ["TMPDIR"] = "/tmp"
    try:
        main()
    except node.Failed as e:
        sys.exit("FAILED: %s" % e)
