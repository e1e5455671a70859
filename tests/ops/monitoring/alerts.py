# SPDX-License-Identifier: Apache-2.0
"""For each alert: series that must make it fire, and such that must not. Values are in promtool's
notation, one a minute: "1x20" is twenty more of the same, "0+1x20" grows by one."""

DEVICE = '{job="pgpu", instance="n", device="0000:18:00.0"%s}'


def state(name, values):
    return {"pgpud_device_state" + DEVICE % ', state="%s"' % name: values}


def reason(name, values="1x20"):
    return {"pgpud_device_reason" + DEVICE % ', reason="%s"' % name: values}


def mode(which, name, values="1x20"):
    return {"pgpud_device_cc_mode" + which + DEVICE % ', mode="%s"' % name: values}


def node(name, values, labels=""):
    return {'%s{job="pgpu", instance="n"%s}' % (name, labels): values}


def of_pod(pod, series):
    """The same as the PodMonitor labels them."""
    return {name[:-1] + ', pod="%s"}' % pod: values for name, values in series.items()}


RESOURCE = ', resource="nvidia.com/pgpu"'


def histogram(name, low, low_values, high_values):
    """Two buckets: up to `low`, and all."""
    return {**node(name + "_bucket", low_values, ', le="%s"' % low),
            **node(name + "_bucket", high_values, ', le="10.0"'),
            **node(name + "_bucket", high_values, ', le="+Inf"')}


# name: ([series that fire], [series that do not]); looked at after 20 minutes (35 for the one
# that waits for 30)
ALERTS = {
    "PgpuDown": ([node("up", "0x20")], [node("up", "1x20"), {'up{job="other"}': "0x20"},
                                        node("up", "1x18 0")]),
    "PgpuAbsent": ([{'up{job="other"}': "1x20"}, node("up", "1x10 stale")],
                   [node("up", "0x20"), node("up", "1x17 stale")]),
    "PgpuTargetsFewer": (
        [{**node("up", "1x20"), 'up{job="pgpu", instance="m"}': "1x5 stale"}],
        [{**node("up", "1x20"), 'up{job="pgpu", instance="m"}': "0x20"},
         {**node("up", "1x5 _x5 1x10"), 'up{job="pgpu", instance="m"}': "_x10 1x10"},
         # the pod was replaced
         {'up{job="pgpu", instance="n", pod="a"}': "1x10 stale",
          'up{job="pgpu", instance="n", pod="b"}': "_x11 1x9"}]),
    "PgpuHardwareServiceDown": ([node("pgpud_hwd_connected", "0x20")],
                                [node("pgpud_hwd_connected", "1x20")]),
    "PgpuKubeletNotConnected": ([node("pgpud_kubelet_connected", "0x20", RESOURCE)],
                                [node("pgpud_kubelet_connected", "1x20", RESOURCE)]),
    "PgpuPodResourcesDown": ([node("pgpud_pod_resources_connected", "0x20")],
                             [node("pgpud_pod_resources_connected", "1x20")]),
    "PgpuNriDown": (
        [{**node("pgpud_nri_configured", "1x20"), **node("pgpud_nri_connected", "0x20")}],
        [{**node("pgpud_nri_configured", "0x20"), **node("pgpud_nri_connected", "0x20")},
         {**node("pgpud_nri_configured", "1x20"), **node("pgpud_nri_connected", "1x20")}]),
    "PgpuCdiWriteFailed": ([node("pgpud_cdi_written", "0x20", RESOURCE)],
                           [node("pgpud_cdi_written", "1x20", RESOURCE)]),
    "PgpuConfigBad": ([node("pgpud_config_last_reload_successful", "0x20")],
                      [node("pgpud_config_last_reload_successful", "1x20")]),
    "PgpuConfigPending": ([node("pgpud_config_pending", "1x50")],
                          [node("pgpud_config_pending", "0x50"),
                           node("pgpud_config_pending", "0x20 1x20")]),
    "PgpuDeviceQuarantined": (
        [{**state("quarantined", "1x20"), **reason("FSP_SILENT")},
         # recovery takes it out for a moment, and fails
         {**state("quarantined", "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1"),
          **reason("FSP_SILENT", "1 _ 1 _ 1 _ 1 _ 1 _ 1 _ 1 _ 1 _ 1 _ 1 _ 1")},
         # the pod was replaced a minute ago; the old one's series are still looked at
         {**of_pod("a", {**state("quarantined", "1x18 stale"), **reason("FSP_SILENT", "1x18 stale")}),
          **of_pod("b", {**state("quarantined", "_x19 1x1"), **reason("FSP_SILENT", "_x19 1x1")})}],
        [{**state("quarantined", "0x20"), **reason("WAIT_RELEASE")},
         {**state("quarantined", "1x20"), **reason("NOT_CLAIMED")},
         {**state("quarantined", "1x10 0x10"), **reason("FSP_SILENT", "1x10 _x10")}]),
    "PgpuDeviceStuck": ([state("stuck", "1x20")], [state("stuck", "0x20")]),
    "PgpuDeviceArmingSlow": ([state("arming", "1x20")], [state("arming", "0x18 1 1")]),
    "PgpuDeviceReleaseSlow": ([state("releasing", "1x20")], [state("releasing", "0x15 1x4")]),
    "PgpuDeviceDisappeared": ([state("gone", "1x20")], [state("gone", "0x20")]),
    "PgpuDevicesFewer": ([node("pgpud_devices_expected", "8x10 7x10", RESOURCE),
                          # it went while the pod was replaced
                          {**node("pgpud_devices_expected", "8x8 stale", RESOURCE + ', pod="a"'),
                           **node("pgpud_devices_expected", "_x9 7x11", RESOURCE + ', pod="b"')}],
                         [{**node("pgpud_devices_expected", "8x8 stale", RESOURCE + ', pod="a"'),
                           **node("pgpud_devices_expected", "_x9 8x11", RESOURCE + ', pod="b"')},
                          node("pgpud_devices_expected", "8x20", RESOURCE),
                          node("pgpud_devices_expected", "7x10 8x10", RESOURCE)]),
    "PgpuDevicesNotReady": (
        [{**node("pgpud_devices_expected", "8x20", RESOURCE),
          **node("pgpud_devices_healthy", "7x20", RESOURCE)}],
        [{**node("pgpud_devices_expected", "8x20", RESOURCE),
          **node("pgpud_devices_healthy", "8x20", RESOURCE)},
         {**node("pgpud_devices_expected", "8x20", RESOURCE),
          **node("pgpud_devices_healthy", "8x15 7x5", RESOURCE)}]),
    "PgpuModeMismatch": (
        [{**mode("_wanted", "on"), **mode("", "on", "0x20"), **mode("", "off"),
          **state("quarantined", "1x20")}],
        [{**mode("_wanted", "on"), **mode("", "on"), **state("ready", "1x20")},
         # untouched until it is asked for (prepare: allocate)
         {**mode("_wanted", "on"), **mode("", "unknown"), **state("found", "1x20")}]),
    "PgpuScrubFailed": (
        [node("pgpud_scrub_verified_total", "0x15 1x5", ', result="error"')],
        [node("pgpud_scrub_verified_total", "1x20", ', result="error"'),
         node("pgpud_scrub_verified_total", "0+1x20", ', result="ok"')]),
    "PgpuDevtoolsUnlocked": ([node("pgpud_devtools_unlocked", "1x20")],
                             [node("pgpud_devtools_unlocked", "0x20")]),
    "PgpuAllocationsFailing": (
        [node("pgpud_allocations_total", "0+1x20", ', result="error", reason="DEADLINE"'),
         # at once, since every reason has a series from the start
         node("pgpud_allocations_total", "0x15 6x5", ', result="error", reason="DEADLINE"')],
        [node("pgpud_allocations_total", "0x15 1x5", ', result="error", reason="DEADLINE"'),
         node("pgpud_allocations_total", "0+1x20", ', result="ok", reason="NONE"')]),
    "PgpuPolicyDenials": ([node("pgpud_policy_denials_total", "0x15 1x5", ', reason="owner"')],
                          [node("pgpud_policy_denials_total", "1x20", ', reason="owner"')]),
    "PgpuNriSlow": (
        [histogram("pgpud_nri_event_duration_seconds", "0.25", "0x20", "0+9x20"),
         node("pgpud_nri_late_answers_total", "0+1x20")],
        [histogram("pgpud_nri_event_duration_seconds", "0.25", "0+9x20", "0+9x20"),
         node("pgpud_nri_late_answers_total", "3x20")]),
    "PgpuAuditWriteFailed": (
        [node("pgpud_audit_last_write_successful", "0x20"),
         node("pgpud_audit_failures_total", "0x15 1x5")],
        [{**node("pgpud_audit_last_write_successful", "1x20"),
          **node("pgpud_audit_failures_total", "1x20")}]),
    "PgpuStateWriteFailed": (
        [node("pgpud_state_writes_total", "0x15 1x5", ', result="error"')],
        [node("pgpud_state_writes_total", "0+5x20", ', result="ok"'),
         node("pgpud_state_writes_total", "0x20", ', result="error"')]),
    "PgpuEventLoopSlow": (
        [histogram("pgpud_event_loop_lag_seconds", "0.5", "0x20", "0+9x20")],
        [histogram("pgpud_event_loop_lag_seconds", "0.5", "0+9x20", "0+9x20")]),
}


def one(alert, series, fires):
    """A test for promtool: does the alert fire after 20 minutes?"""
    return {
        "name": "%s %s" % (alert, "fires" if fires else "does not fire"),
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in series.items()],
        "promql_expr_test": [{
            "expr": 'count(ALERTS{alertname="%s", alertstate="firing"})' % alert,
            "eval_time": "35m" if alert == "PgpuConfigPending" else "20m",
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }],
    }


def tests(rules):
    """All of them, as promtool reads them (JSON is YAML)."""
    out = []
    for alert, (fire, rest) in ALERTS.items():
        out += [one(alert, s, True) for s in fire] + [one(alert, s, False) for s in rest]
    return {"rule_files": [rules], "evaluation_interval": "30s", "tests": out}
