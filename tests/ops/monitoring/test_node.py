# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes pgpud on the simulated node. Its parsers take both formats; every query
of the dashboard runs and has data; every metric that a rule names is there; a broken GPU makes its
alert fire, and its cure ends it."""

import json
import os
import re
import socket
import sys

import node
import prometheus

HERE = os.path.join(node.source_dir(), "deploy", "monitoring")
GPU = "0000:9a:00.0"
BAD_GPU = "0000:db:00.0"
WINDOW = "1m"  # of rates: it sees the whole test
RULE_WINDOW = "5s"
RULE_FOR = "2s"
problems = []


def check(good, text):
    if not good:
        problems.append(text)


def families(text):
    """Names of the samples in a text, without labels and values."""
    return {re.split(r"[ {]", line)[0] for line in text.splitlines()
            if line and not line.startswith("#")}


# ---- the text itself ----

def check_texts(n):
    status, headers, text = n.http("/metrics")
    check(status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"),
          "/metrics: %d %s" % (status, headers))
    status, said = prometheus.promtool("check", "metrics", text=text)
    check(status == 0 and not said.strip(), "promtool check metrics: %s" % said)
    _, headers, om = n.http("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    check(headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"),
          "OpenMetrics is not answered: %s" % headers)
    check(om.endswith("# EOF\n"), "OpenMetrics does not end in # EOF")
    check(families(om) == families(text), "the formats tell different things: %s" % sorted(
        families(om) ^ families(text)))
    check(families(n.control("metrics")) == families(text), "the control socket tells others")
    for word in ("default", "model", "thief"):  # names of pods and namespaces
        check('"%s"' % word not in text, "a tenant's name is in the metrics: " + word)
    return text


def check_documented(text):
    """docs/metrics.md lists exactly what the program has: what is there is documented."""
    with open(os.path.join(node.source_dir(), "docs", "metrics.md"), encoding="utf-8") as f:
        known = set(re.findall(r"^\| `(\w+)` ", f.read(), re.M))
    for name in families(text):
        check(name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known,
              "not in docs/metrics.md: " + name)


# ---- health ----

def check_health(n):
    status, _, text = n.http("/livez")
    check(status == 200 and text.startswith("loop: ok"), "/livez: %d %s" % (status, text))
    status, _, text = n.http("/readyz")
    check(status == 200, "/readyz: %d %s" % (status, text))
    for verb in ("live", "ready", "hwd"):  # a probe gives up after a second; so kubelets repeat it
        n.wait_for("pgpuctl health " + verb,
                   lambda v=verb: n.pgpuctl("health", v).returncode == 0)
    status, headers, text = n.http("/readyz", method="HEAD")
    check(status == 200 and not text, "HEAD /readyz: %d %r" % (status, text))
    check(n.http("/metrics", method="POST")[0] == 405, "POST is not refused")


def check_not_ready(n):
    """Without the hardware service it is alive and not ready, and says why."""
    n.stop("hwd")
    n.wait_for("/readyz 503", lambda: n.http("/readyz")[0] == 503)
    _, headers, text = n.http("/readyz", Accept="application/json")
    said = json.loads(text)
    why = [c["why"] for c in said["checks"] if c["name"] == "hwd"]
    check(headers["Content-Type"] == "application/json" and not said["ok"] and why and
          "hardware service" in why[0], "/readyz: %s" % text)
    n.wait_for("pgpuctl health ready says why", lambda: "hwd: the hardware service is not connected"
               in n.pgpuctl("health", "ready", check=1).stdout)
    n.pgpuctl("health", "hwd", check=1)
    n.wait_for("still alive", lambda: n.pgpuctl("health", "live").returncode == 0)
    n.run("hwd")
    n.wait_for("ready again", lambda: n.http("/readyz")[0] == 200)


# ---- Prometheus ----

def scraped(p, times=3):
    """Waits until it has scraped so often from now on."""
    def count():
        got = p.query('count_over_time(up{job="pgpu"}[1h])')
        return got[0][1] if got else 0
    begin = count()
    node.wait_for("scrapes", lambda: count() >= begin + times)


def use_gpus(n, pod):
    """A pod comes and goes, and another one is refused."""
    n.admit("default/" + pod, pgpu=2)
    got = n.runtime("run-pod default %s kata-qemu-nvidia-gpu-snp kata" % pod)
    check(got["ok"], "sandbox: %s" % got)
    n.runtime("create-container default/%s main" % pod)
    tries = iter(range(1000))

    def refused():  # a runtime that got its answer late has dropped us; we come back
        got = n.runtime("run-pod default thief%s-%d kata-qemu-nvidia-gpu-snp annotation=cdi.k8s.io/x"
                        "=nvidia.com/pgpu=%s" % (pod, next(tries), GPU))
        return not got["ok"]

    n.wait_for("the thief is refused", refused)
    n.end("default/" + pod)
    n.runtime("stop-pod default/" + pod)
    n.wait_healthy("nvidia.com/pgpu", n.gpus)


def expressions():
    """(title, query) of every panel, with its variables as Grafana would fill them in."""
    with open(os.path.join(HERE, "dashboard.json"), encoding="utf-8") as f:
        board = json.load(f)
    for panel in board["panels"]:
        for t in panel.get("targets", []):
            expr = t["expr"]
            for name, value in (("$__rate_interval", WINDOW), ("$job", ".*"), ("$instance", ".*")):
                expr = expr.replace(name, value)
            yield panel["title"], expr


def has_data(p, expr):
    return any(v == v for _, v in p.query(expr))  # NaN is none


def check_dashboard(p):
    n = 0
    for title, expr in expressions():
        n += 1
        try:  # a device under recovery has a reason only now and then
            node.wait_for("panel \"%s\" has no data: %s" % (title, expr),
                          lambda e=expr: has_data(p, e), 10)
        except node.Failed as e:
            problems.append(str(e))
    return n


def check_rules(p):
    """Every expression runs; every metric in one is there, whatever its labels say."""
    rules = json.loads(p.get("/api/v1/rules"))["data"]["groups"]
    count = 0
    for rule in (r for g in rules for r in g["rules"]):
        count += 1
        check(rule["health"] != "err", "%s: %s" % (rule["name"], rule.get("lastError")))
        p.query(rule["query"])
        for name in set(re.findall(r"\b(pgpud_\w+|up)\b", rule["query"])):
            check(p.query("count(last_over_time(%s[1m]))" % name), "%s: no series of %s" % (
                rule["name"], name))
    return count


def check_alert(n, p):
    n.node("fault %s fsp-error" % BAD_GPU)
    n.wait_unit(BAD_GPU, state="quarantined")
    alert = p.wait_alert("PgpuDeviceQuarantined", device=BAD_GPU)
    reason = n.unit(BAD_GPU)["reason"]
    for part in (BAD_GPU, "node-1"):
        check(part in alert["annotations"]["summary"], "summary: %s" % alert["annotations"])
    check("pgpuctl why " + BAD_GPU in alert["annotations"]["runbook"], "runbook: %s" % alert)
    p.wait_alert("PgpuDevicesNotReady", resource="nvidia.com/pgpu")
    scraped(p)
    check(p.query('pgpud_quarantine_total{reason="%s"} > 0' % alert["labels"]["reason"]),
          "no quarantine is counted for %s (now %s)" % (alert["labels"], reason))
    dashboard = check_dashboard(p)  # now also the panels about failures have something to show
    n.node("fault %s clear" % BAD_GPU)
    n.restart("pgpud")  # recovery may have come to its end already
    n.wait_unit(BAD_GPU, state="ready")
    node.wait_for("the alert ends", lambda: not p.alerts("PgpuDeviceQuarantined"))
    return dashboard


def loud(p):
    return [a["labels"] for a in p.alerts() if a["labels"]["severity"] != "info"]


def test_rules(n):
    """The rules without their patience: minutes are seconds here."""
    with open(os.path.join(HERE, "rules.prometheus.yaml"), encoding="utf-8") as f:
        text = re.sub(r"^( +for:) .*$", r"\1 " + RULE_FOR, f.read(), flags=re.M)
        text = re.sub(r"\[\d+[mh]\]", "[%s]" % RULE_WINDOW, text)
    path = n.path("rules.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def main():
    node.require_simulation()
    prometheus.programs()
    port = prometheus.free_port()
    other = socket.create_server(("127.0.0.1", port))  # the port is taken at first
    with node.Node(gpus=8, pgpud={"http": {"listen": "127.0.0.1:%d" % port},
                                  "health_interval": "2s"}) as n:
        n.wait_healthy("nvidia.com/pgpu", 8)
        check("Address already in use" in n.status()["http_why"], "a taken port is not told of")
        other.close()
        n.wait_for("the port is taken over", lambda: not n.status()["http_why"])
        with prometheus.Prometheus(n.path("prometheus"), "127.0.0.1:%d" % port,
                                   test_rules(n)) as p:
            scraped(p, 1)
            check_health(n)
            for pod in ("one", "two", "three"):  # rates need an increase between two scrapes
                use_gpus(n, pod)
                scraped(p, 2)
            text = check_texts(n)
            check_documented(text)
            node.wait_for(lambda: "no alerts on a healthy node; there are %s" % loud(p),
                          lambda: not loud(p))
            panels = check_alert(n, p)
            rules = check_rules(p)
            check_not_ready(n)
    print("%d metrics in %d bytes, %d rules, %d queries" % (
        len(families(text)), len(text), rules, panels))
    print("\n".join(problems) if problems else "good")
    sys.exit(1 if problems else 0)


main()
