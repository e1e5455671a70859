/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `operator`: others who would manage the same GPUs. NVIDIA's GPU Operator and its
 * operands are recognised by their processes, sockets and files on the host; their labels are in
 * the API server, which is not asked.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHECKPOINT_MAX ((size_t)8 << 20)
#define ENVIRON_MAX ((size_t)1 << 20)
#define CC_MANAGER_READY ".cc-manager-ctr-ready"
/* In pgpud's state directory: which of the validations it wrote itself, one a line. */
#define OURS "validations"

enum {
    C_OPERAND_RUNNING,
    C_GPU_HOLDER_RUNNING,
    C_PLUGIN_COMPETES,
    C_PLUGIN_SOCKET_STALE,
    C_RESOURCE_OWNED,
    C_OPERATOR_DRIVER,
    C_OPERATOR_PRESENT,
    C_OPERATOR_LABELS,
};

static const struct doctor_check checks[] = {
    [C_OPERAND_RUNNING] = {"OPERAND_RUNNING", DOCTOR_ERROR, "operands that fight pgpu",
                           "These programs bind, unbind, reset or switch the same GPUs, in use or "
                           "not.",
                           "kubectl label node NODE nvidia.com/gpu.deploy.vfio-manager=false "
                           "nvidia.com/gpu.deploy.cc-manager=false "
                           "nvidia.com/gpu.deploy.kata-sandbox-device-plugin=false "
                           "nvidia.com/gpu.deploy.sandbox-device-plugin=false"},
    [C_GPU_HOLDER_RUNNING] = {"GPU_HOLDER_RUNNING", DOCTOR_WARNING, "programs that hold GPUs",
                              "They keep GPUs of the nvidia driver open, so that none of them can "
                              "be unbound.",
                              "stop it on this node; it sees no GPU that is on vfio-pci anyway"},
    [C_PLUGIN_COMPETES] = {"PLUGIN_COMPETES", DOCTOR_ERROR, "other GPU plugins",
                           "Two plugins of one resource replace each other at the kubelet, and "
                           "each tears down what the other promised.",
                           "take the other plugin's DaemonSet off this node"},
    [C_PLUGIN_SOCKET_STALE] = {"PLUGIN_SOCKET_STALE", DOCTOR_INFO, "sockets of former plugins",
                               "A socket that nobody listens on is only a leftover.",
                               "rm the socket; the kubelet does it when it starts"},
    [C_RESOURCE_OWNED] = {"RESOURCE_OWNED", DOCTOR_WARNING, "IDs that the kubelet remembers",
                          "The kubelet remembers device IDs of another plugin for our resource. "
                          "Pods that have them cannot be matched to a GPU by pgpud.",
                          "drain the node before pgpu takes over, then restart the kubelet"},
    [C_OPERATOR_DRIVER] = {"OPERATOR_DRIVER", DOCTOR_WARNING, "driver container",
                           "The GPU Operator's driver container loads the nvidia driver, which "
                           "takes the GPUs.",
                           "kubectl label node NODE "
                           "nvidia.com/gpu.workload.config=vm-passthrough"},
    [C_OPERATOR_PRESENT] = {"OPERATOR_PRESENT", DOCTOR_INFO, "GPU Operator",
                            "Its validator ran here. Beside it, three operands must be off.",
                            "helm: kataSandboxDevicePlugin.enabled=false, "
                            "vfioManager.enabled=false, ccManager.enabled=false"},
    [C_OPERATOR_LABELS] = {"OPERATOR_LABELS", DOCTOR_INFO, "labels of the node",
                           "nvidia.com/gpu.deploy.* and nvidia.com/cc.mode tell NVIDIA's operands "
                           "what to do here.",
                           "kubectl get node NODE --show-labels"},
};

/* ---- processes ---- */

static const struct operand {
    const char *program;  /* first argument's last part, or comm; a pattern */
    const char *argument; /* must stand in the arguments as well; NULL: none */
    unsigned check;
    const char *what;
} operands[] = {
    {"vfio-manage", NULL, C_OPERAND_RUNNING, "NVIDIA's VFIO manager (its preStop unbinds GPUs)"},
    {"vfio-manager", NULL, C_OPERAND_RUNNING, "NVIDIA's VFIO manager"},
    {"k8s-cc-manager", NULL, C_OPERAND_RUNNING, "NVIDIA's CC manager (resets GPUs in use)"},
    {"cc-manager", NULL, C_OPERAND_RUNNING, "NVIDIA's CC manager (resets GPUs in use)"},
    {"python*", "cc-manager", C_OPERAND_RUNNING, "NVIDIA's CC manager (resets GPUs in use)"},
    {"python*", "/app/main.py", C_OPERAND_RUNNING, "NVIDIA's CC manager (resets GPUs in use)"},
    {"nvidia-sandbox-device-plugin", NULL, C_OPERAND_RUNNING, "NVIDIA's sandbox device plugin"},
    {"nvidia-sandbox-", NULL, C_OPERAND_RUNNING, "NVIDIA's sandbox device plugin"},
    {"sandbox-device-plugin", NULL, C_OPERAND_RUNNING, "NVIDIA's sandbox device plugin"},
    {"nvidia-kubevirt-gpu-device-plugin", NULL, C_OPERAND_RUNNING, "NVIDIA's KubeVirt plugin"},
    {"kata-device-plugin", NULL, C_OPERAND_RUNNING, "another Kata device plugin"},
    {"k8s-kata-manager", NULL, C_OPERAND_RUNNING, "NVIDIA's Kata manager (writes CDI files)"},
    {"nvidia-persistenced", NULL, C_GPU_HOLDER_RUNNING, "keeps every GPU of the driver open"},
    {"nvidia-persiste", NULL, C_GPU_HOLDER_RUNNING, "keeps every GPU of the driver open"},
    {"nv-hostengine", NULL, C_GPU_HOLDER_RUNNING, "DCGM keeps GPUs open"},
    {"dcgm-exporter", NULL, C_GPU_HOLDER_RUNNING, "DCGM keeps GPUs open"},
    {"nvidia-device-plugin", NULL, C_GPU_HOLDER_RUNNING, "plugin for ordinary containers"},
    {"nvidia-device-p", NULL, C_GPU_HOLDER_RUNNING, "plugin for ordinary containers"},
};

static bool
said(const struct doctor *d, size_t from, const char *object)
{
    for (size_t i = from; i < d->n; i++)
        if (strcmp(d->v[i].object, object) == 0)
            return true;
    return false;
}

/* Other people's images start a /app/main.py too; the CC manager has the variables that NVIDIA's
 * DaemonSet gives it. Where they may not be read it is named. */
static bool
is_operand(const struct doctor *d, const struct operand *o, const struct doctor_proc *p)
{
    static const char *const its[] = {
        "DEFAULT_CC_MODE=", "CC_READINESS_FILE=", "EVICT_OPERATOR_COMPONENTS="};
    _cleanup_free_ char *vars = NULL;
    char path[64], v[256];

    if (o->argument && !strstr(p->args, o->argument))
        return false;
    if (!o->argument || strcmp(o->argument, "/app/main.py") != 0 ||
        strstr(p->args, "--default-cc-mode"))
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", p->pid);
    if (doctor_read(&d->host, path, ENVIRON_MAX, &vars) < 0)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(its); i++)
        if (doctor_word(vars, its[i], v, sizeof(v)))
            return true;
    return false;
}

static size_t
check_operand(struct doctor *d, size_t from, const struct operand *o)
{
    const struct doctor_proc *p = NULL;
    size_t n = 0;

    while ((p = doctor_proc_next(&d->procs, p, o->program))) {
        char who[64];

        if (!is_operand(d, o, p))
            continue;
        (void)snprintf(who, sizeof(who), "%s[%d]", p->comm, p->pid);
        if (said(d, from, who))
            continue;
        doctor_bad(d, &checks[o->check], who, "%s", o->what);
        n++;
    }
    return n;
}

static void
check_processes(struct doctor *d)
{
    size_t from = d->n;
    size_t count[2] = {0, 0};

    if (!d->procs.readable) {
        doctor_unknown(d, &checks[C_OPERAND_RUNNING], NULL,
                       "the host's processes are not visible (hostPID, or --host)");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(operands); i++) {
        const struct operand *o = &operands[i];

        count[o->check == C_GPU_HOLDER_RUNNING] += check_operand(d, from, o);
    }
    if (count[0] == 0)
        doctor_ok(d, &checks[C_OPERAND_RUNNING], "none running");
    if (count[1] == 0)
        doctor_ok(d, &checks[C_GPU_HOLDER_RUNNING], "none running");
}

/* ---- sockets of other plugins ---- */

/* Names of known plugins' sockets; ours begin with "pgpu". */
static bool
gpu_socket(const char *name)
{
    static const char *const known[] = {"sandbox-pgpu.sock", "sandbox-nvswitch.sock",
                                        "kata-device-plugin.sock"};
    size_t len = strlen(name);

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return len > 5 && strcmp(name + len - 5, ".sock") == 0 &&
           (strncmp(name, "nvidia", 6) == 0 || strncmp(name, "kubevirt-", 9) == 0);
}

static void
check_sockets(struct doctor *d)
{
    const char *dir = d->conf.kubelet.plugin_dir;
    struct err e = ERR_INIT;
    char **names = NULL;
    size_t found = 0;
    int n = fs_list(&d->host, doctor_path(d, dir), 4096, &names, &e);

    if (n < 0) {
        if (n != -ENOENT)
            doctor_unknown(d, &checks[C_PLUGIN_COMPETES], dir, "%s", e.msg);
        return;
    }
    for (int i = 0; i < n; i++) {
        char path[400];
        int r;

        if (!gpu_socket(names[i]))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        r = doctor_knock(d, path, SOCK_STREAM);
        if (r == 0) {
            doctor_bad(d, &checks[C_PLUGIN_COMPETES], path, "another plugin listens there");
            found++;
        } else if (r == -ECONNREFUSED) {
            doctor_bad(d, &checks[C_PLUGIN_SOCKET_STALE], path, "nobody listens there");
            doctor_cure(d, "rm %s (the kubelet does it when it starts)", path);
        } else if (r == -EACCES || r == -EPERM) {
            doctor_unknown(d, &checks[C_PLUGIN_COMPETES], path, "%s", strerror(-r));
            found++;
        }
    }
    fs_names_free(names);
    if (found == 0)
        doctor_ok(d, &checks[C_PLUGIN_COMPETES], "none in %s", dir);
}

/* ---- the kubelet's checkpoint ---- */

/* The first registered ID of a resource that is no full PCI address, i.e. not of our making. */
static bool
foreign_id(json_object *ids, char *buf, size_t size)
{
    struct pci_addr a;

    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        const char *id = json_object_get_string(json_object_array_get_idx(ids, i));

        if (id && !pci_addr_parse(id, &a)) {
            (void)snprintf(buf, size, "%.60s", id);
            return true;
        }
    }
    return false;
}

static void
check_registered(struct doctor *d, json_object *registered, const char *path)
{
    const struct resource_conf *r;
    size_t n = config_resources(&d->conf, &r), found = 0;

    for (size_t i = 0; i < n; i++) {
        json_object *ids;
        char id[64];

        if (!json_object_object_get_ex(registered, r[i].name, &ids) ||
            !json_object_is_type(ids, json_type_array) || !foreign_id(ids, id, sizeof(id)))
            continue;
        doctor_bad(d, &checks[C_RESOURCE_OWNED], r[i].name, "device \"%s\" in %s", id, path);
        found++;
    }
    if (found == 0)
        doctor_ok(d, &checks[C_RESOURCE_OWNED], "none of another plugin");
}

static void
check_checkpoint(struct doctor *d)
{
    _cleanup_free_ char *text = NULL;
    json_object *o, *data = NULL, *registered = NULL;
    char path[200];
    int r;

    (void)snprintf(path, sizeof(path), "%s/kubelet_internal_checkpoint",
                   d->conf.kubelet.plugin_dir);
    r = doctor_read(&d->host, doctor_path(d, path), CHECKPOINT_MAX, &text);
    if (r == -ENOENT) {
        doctor_ok(d, &checks[C_RESOURCE_OWNED], "none: no checkpoint yet");
        return;
    }
    if (r < 0) {
        doctor_unknown(d, &checks[C_RESOURCE_OWNED], path, "%s", strerror(-r));
        return;
    }
    o = json_tokener_parse(text);
    if (json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, "Data", &data) &&
        json_object_is_type(data, json_type_object))
        (void)json_object_object_get_ex(data, "RegisteredDevices", &registered);
    if (json_object_is_type(registered, json_type_object))
        check_registered(d, registered, path);
    else
        doctor_ok(d, &checks[C_RESOURCE_OWNED], "no device registered");
    (void)json_object_put(o);
}

/* ---- files ---- */

/* The validations that are not pgpud's own. */
static void
check_validations(struct doctor *d)
{
    _cleanup_free_ char *ours = NULL;
    const char *dir = d->conf.validations.dir;
    struct err e = ERR_INIT;
    char **names = NULL;
    char list[256] = "", record[320];
    size_t used = 0;
    int n = fs_list(&d->host, doctor_path(d, dir), 256, &names, &e), r;

    (void)snprintf(record, sizeof(record), "%s/" OURS, d->conf.state_dir);
    r = doctor_read(&d->host, doctor_path(d, record), 4096, &ours);
    for (int i = 0; i < n && used < sizeof(list); i++) {
        if (ours && doctor_has_word(ours, names[i]))
            continue;
        used +=
            (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", names[i]);
        if (strcmp(names[i], CC_MANAGER_READY) != 0)
            continue;
        (void)snprintf(record, sizeof(record), "%s/%s", dir, names[i]);
        if (r == -EACCES || r == -EPERM)
            doctor_unknown(d, &checks[C_OPERAND_RUNNING], record,
                           "either pgpud's, or NVIDIA's CC manager runs: pgpud's record cannot be "
                           "read");
        else
            doctor_bad(d, &checks[C_OPERAND_RUNNING], record,
                       "NVIDIA's CC manager says that it runs here (or was killed: then remove "
                       "the file)");
    }
    if (n >= 0)
        fs_names_free(names);
    if (used > 0)
        doctor_bad(d, &checks[C_OPERATOR_PRESENT], dir, "%s", list);
    else
        doctor_ok(d, &checks[C_OPERATOR_PRESENT], "no trace of it");
}

static void
check_driver(struct doctor *d)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(&d->host, "/run/nvidia/driver", 4096, &names, &e);
    if (n > 0)
        doctor_bad(d, &checks[C_OPERATOR_DRIVER], "/run/nvidia/driver", "a driver container runs");
    else
        doctor_ok(d, &checks[C_OPERATOR_DRIVER], "none");
    if (n >= 0)
        fs_names_free(names);
}

static void
run(struct doctor *d)
{
    check_processes(d);
    check_sockets(d);
    check_checkpoint(d);
    check_validations(d);
    check_driver(d);
    doctor_unknown(d, &checks[C_OPERATOR_LABELS], NULL,
                   "labels are in the API server, which pgpu does not ask");
}

const struct doctor_area doctor_operator = {"operator", "Other GPU software", checks,
                                            ARRAY_SIZE(checks), run};
