/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `kubelet`: its sockets and what of its configuration decides whether Kata finds the
 * pod's GPUs. The configuration is read as the kubelet does: the file, then the drop-ins of
 * --config-dir (none without it) in the order of names, then the command line.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "base/yamldoc.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FILE_MAX ((size_t)1 << 20)
#define DROPINS "/etc/kubernetes/kubelet.conf.d"
/* Kata's create_container_timeout for GPUs is 1200 s; the kubelet must not give up before. */
#define REQUEST_TIMEOUT_MIN 1200.0

enum {
    C_KUBELET_DOWN,
    C_PLUGIN_DIR,
    C_POD_RESOURCES_DOWN,
    C_KUBELET_ROOT,
    C_KUBELET_CONFIG,
    C_POD_RESOURCES_GET_OFF,
    C_REQUEST_TIMEOUT_SHORT,
    C_IMAGE_PER_CLASS_OFF,
};

static const struct doctor_check checks[] = {
    [C_KUBELET_DOWN] = {"KUBELET_DOWN", DOCTOR_ERROR, "kubelet.sock",
                        "GPUs are registered with the kubelet through this socket.",
                        "systemctl start kubelet; journalctl -u kubelet"},
    [C_PLUGIN_DIR] = {"PLUGIN_DIR", DOCTOR_ERROR, "device-plugins directory",
                      "Whoever may write there can register itself as the GPUs' plugin.",
                      "chown root:root /var/lib/kubelet/device-plugins; chmod 0750 the same"},
    [C_POD_RESOURCES_DOWN] =
        {"POD_RESOURCES_DOWN", DOCTOR_ERROR, "PodResources socket",
         "Kata asks it at sandbox creation which GPUs the pod has; without it "
         "the VM silently comes up without GPUs. pgpud learns from it who has "
         "which.",
         "start the kubelet; in a container mount its pod-resources directory"},
    [C_KUBELET_ROOT] = {"KUBELET_ROOT", DOCTOR_ERROR, "kubelet's directory",
                        "pgpud looks for the kubelet's sockets in another directory than the "
                        "kubelet makes them in.",
                        "set kubelet.plugin_dir and kubelet.pod_resources in pgpud.yaml"},
    [C_KUBELET_CONFIG] = {"KUBELET_CONFIG", DOCTOR_WARNING, "kubelet's configuration",
                          "What cannot be read cannot be checked.",
                          "correct the file; kubelet says the same in its log"},
    [C_POD_RESOURCES_GET_OFF] = {"POD_RESOURCES_GET_OFF", DOCTOR_ERROR, "KubeletPodResourcesGet",
                                 "Kata asks for one pod by the call Get, which exists since "
                                 "Kubernetes 1.27 and is off before 1.34 unless this gate is set.",
                                 "featureGates: {KubeletPodResourcesGet: true} in the kubelet's "
                                 "configuration, and restart it"},
    [C_REQUEST_TIMEOUT_SHORT] = {"REQUEST_TIMEOUT_SHORT", DOCTOR_WARNING, "runtimeRequestTimeout",
                                 "A VM with eight GPUs needs many minutes to start; after 2 "
                                 "minutes, the default, the kubelet gives up and tries again.",
                                 "runtimeRequestTimeout: 20m in the kubelet's configuration, and "
                                 "restart it"},
    [C_IMAGE_PER_CLASS_OFF] = {"IMAGE_PER_CLASS_OFF", DOCTOR_WARNING, "RuntimeClassInImageCriApi",
                               "With a snapshotter for one handler (nydus) and the host's for "
                               "others, an image pulled for one class is missing for the other.",
                               "featureGates: {RuntimeClassInImageCriApi: true} in the kubelet's "
                               "configuration, and restart it"},
};

/* ---- its sockets ---- */

static void
check_sockets(struct doctor *d)
{
    const char *dir = d->conf.kubelet.plugin_dir;
    char sock[160];
    struct stat st;
    int r = doctor_stat(&d->host, doctor_path(d, dir), &st);

    if (r == -ENOENT)
        doctor_bad(d, &checks[C_PLUGIN_DIR], dir, "the directory does not exist");
    else if (r < 0)
        doctor_unknown(d, &checks[C_PLUGIN_DIR], dir, "%s", strerror(-r));
    else if (st.st_uid != 0 || (st.st_mode & 0022))
        doctor_bad(d, &checks[C_PLUGIN_DIR], dir, "owner %u, mode %04o: others may write there",
                   (unsigned)st.st_uid, (unsigned)(st.st_mode & 07777));
    else
        doctor_ok(d, &checks[C_PLUGIN_DIR], "mode %04o, root's", (unsigned)(st.st_mode & 07777));
    if (r == -ENOENT)
        doctor_cure(d, "start the kubelet, which makes it, or set kubelet.plugin_dir in "
                       "pgpud.yaml");

    (void)snprintf(sock, sizeof(sock), "%s/kubelet.sock", dir);
    r = doctor_knock(d, sock, SOCK_STREAM);
    if (r == 0)
        doctor_ok(d, &checks[C_KUBELET_DOWN], "answers");
    else if (r == -EACCES || r == -EPERM)
        doctor_unknown(d, &checks[C_KUBELET_DOWN], sock, "%s", strerror(-r));
    else
        doctor_bad(d, &checks[C_KUBELET_DOWN], sock, "%s", strerror(-r));

    r = doctor_knock(d, d->conf.kubelet.pod_resources, SOCK_STREAM);
    if (r == 0)
        doctor_ok(d, &checks[C_POD_RESOURCES_DOWN], "answers");
    else if (r == -EACCES || r == -EPERM)
        doctor_unknown(d, &checks[C_POD_RESOURCES_DOWN], d->conf.kubelet.pod_resources, "%s",
                       strerror(-r));
    else
        doctor_bad(d, &checks[C_POD_RESOURCES_DOWN], d->conf.kubelet.pod_resources, "%s",
                   strerror(-r));
}

/* ---- its configuration ---- */

enum gate { GATE_UNSET, GATE_OFF, GATE_ON };

struct kubelet {
    const struct doctor_proc *proc;
    bool have_file;
    char from[256]; /* the main file */
    bool broken;
    int unread; /* -errno: something that counts could not be read, nobody knows what is in it */
    char what[256]; /* that */
    enum gate get, image;
    char timeout[32]; /* "" = default */
    unsigned major, minor;
    char version_from[64];
};

static enum gate
gate_of(const char *v)
{
    return strcasecmp(v, "true") == 0 ? GATE_ON : GATE_OFF;
}

static void
take_doc(struct kubelet *k, const struct yamldoc_node *n)
{
    const char *v;

    if ((v = yamldoc_text(yamldoc_path(n, "featureGates.KubeletPodResourcesGet"))))
        k->get = gate_of(v);
    if ((v = yamldoc_text(yamldoc_path(n, "featureGates.RuntimeClassInImageCriApi"))))
        k->image = gate_of(v);
    if ((v = yamldoc_text(yamldoc_get(n, "runtimeRequestTimeout"))))
        (void)str_copy(k->timeout, sizeof(k->timeout), v);
}

static int
unread(struct kubelet *k, const char *path, int r)
{
    if (r < 0 && !k->unread) {
        k->unread = r;
        (void)str_copy(k->what, sizeof(k->what), path);
    }
    return r;
}

/* 0 or -errno; what is no YAML is a finding. */
static int
take_file(struct doctor *d, struct kubelet *k, const char *path)
{
    _cleanup_free_ char *text = NULL;
    struct yamldoc *doc = NULL;
    struct err e = ERR_INIT;
    int r = doctor_read(&d->host, path, FILE_MAX, &text);

    if (r < 0)
        return r;
    if (yamldoc_parse(path, text, strlen(text), NULL, &doc, &e) < 0) {
        k->broken = true;
        (void)unread(k, path, -EINVAL);
        doctor_bad(d, &checks[C_KUBELET_CONFIG], path, "%s", e.msg);
        return 0;
    }
    take_doc(k, yamldoc_root(doc, 0));
    yamldoc_free(doc);
    return 0;
}

static void
take_dir(struct doctor *d, struct kubelet *k, const char *dir)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(&d->host, dir, 1024, &names, &e);

    for (int i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (len > 5 && strcmp(names[i] + len - 5, ".conf") == 0)
            (void)unread(k, path, take_file(d, k, path));
    }
    if (n >= 0)
        fs_names_free(names);
    else
        (void)unread(k, dir, n);
}

/* Drop-ins at their usual place, of which nobody knows whether the kubelet is told to read them. */
static bool
has_dropins(const struct doctor *d)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(&d->host, DROPINS, 1024, &names, &e);

    if (n >= 0)
        fs_names_free(names);
    return n > 0;
}

/* --feature-gates=A=true,B=false */
static void
take_gates(struct kubelet *k, char *list)
{
    char *save = NULL;

    for (char *g = strtok_r(list, ",", &save); g; g = strtok_r(NULL, ",", &save)) {
        if (strncmp(g, "KubeletPodResourcesGet=", 23) == 0)
            k->get = gate_of(g + 23);
        else if (strncmp(g, "RuntimeClassInImageCriApi=", 26) == 0)
            k->image = gate_of(g + 26);
    }
}

static void
read_config(struct doctor *d, struct kubelet *k)
{
    /* kubeadm's place, and OpenShift's (which holds the configuration, not a kubeconfig) */
    static const char *const places[] = {"/var/lib/kubelet/config.yaml",
                                         "/etc/kubernetes/kubelet.conf"};
    char path[256] = "", gates[PROC_ARGS_MAX];
    int r = -ENOENT;

    if (k->proc && doctor_proc_option(k->proc, "--config", path, sizeof(path))) {
        (void)str_copy(k->from, sizeof(k->from), path);
        r = unread(k, path, take_file(d, k, doctor_path(d, path)));
    }
    for (size_t i = 0; !path[0] && r == -ENOENT && i < ARRAY_SIZE(places); i++) {
        (void)str_copy(k->from, sizeof(k->from), places[i]);
        r = take_file(d, k, places[i]);
        if (r != -ENOENT)
            (void)unread(k, places[i], r);
    }
    k->have_file = r == 0;
    if (k->proc && doctor_proc_option(k->proc, "--config-dir", path, sizeof(path)))
        take_dir(d, k, doctor_path(d, path));
    if (!k->proc) {
        if (has_dropins(d))
            (void)unread(k, DROPINS, -ESRCH);
        return;
    }
    if (doctor_proc_option(k->proc, "--feature-gates", gates, sizeof(gates)))
        take_gates(k, gates);
    (void)doctor_proc_option(k->proc, "--runtime-request-timeout", k->timeout, sizeof(k->timeout));
}

static void
read_version(struct doctor *d, struct kubelet *k)
{
    char v[64];
    unsigned major, minor;

    if (doctor_dpkg(d, "kubelet", v, sizeof(v)) && doctor_version(v, &k->major, &k->minor))
        (void)snprintf(k->version_from, sizeof(k->version_from), "package kubelet %.40s", v);
    else if (doctor_openshift(d, &major, &minor) && major == 4) {
        k->major = 1;
        k->minor = minor + 13; /* OpenShift 4.N is Kubernetes 1.(N+13) */
        (void)snprintf(k->version_from, sizeof(k->version_from), "OpenShift %u.%u", major, minor);
    }
}

/* ---- what follows from it ---- */

/* A key that was not seen may stand in what was not read. */
static bool
hidden(struct doctor *d, const struct doctor_check *c, const struct kubelet *k)
{
    if (!k->unread)
        return false;
    doctor_unknown(d, c, k->what, "%s",
                   k->unread == -ESRCH    ? "no process kubelet is visible: whether it reads these "
                                            "drop-ins (--config-dir) is not known"
                   : k->unread == -EINVAL ? "not understood"
                                          : strerror(-k->unread));
    return true;
}

static void
check_get(struct doctor *d, const struct kubelet *k)
{
    const struct doctor_check *c = &checks[C_POD_RESOURCES_GET_OFF];
    bool known = k->major == 1;

    if (known && k->minor < 27) {
        doctor_bad(d, c, NULL, "Kubernetes 1.%u (%s) does not have the call", k->minor,
                   k->version_from);
        doctor_cure(d, "upgrade to Kubernetes 1.27 or later");
    } else if (hidden(d, c, k)) {
        return;
    } else if (k->get == GATE_OFF) {
        doctor_bad(d, c, k->from, "the gate is set to false");
    } else if (k->get == GATE_ON) {
        doctor_ok(d, c, "the gate is set");
    } else if (known && k->minor >= 34) {
        doctor_ok(d, c, "on by default (%s)", k->version_from);
    } else if (known) {
        doctor_bad(d, c, k->from, "%s, and the gate is not set", k->version_from);
    } else {
        doctor_unknown(d, c, NULL,
                       "the gate is not set, and the kubelet's version is not known from files: "
                       "`kubelet --version` must say 1.34 or later");
    }
}

/* Go's duration in seconds; false where it is none. */
static bool
parse_seconds(const char *s, double *ret)
{
    double total = 0;
    char *end;

    if (!*s)
        return false;
    for (; *s; s = end + 1) {
        double n = strtod(s, &end);

        if (end == s)
            return false;
        if (*end == 'h')
            total += n * 3600;
        else if (*end == 'm' && end[1] != 's')
            total += n * 60;
        else if (*end == 's')
            total += n;
        else
            return false;
    }
    *ret = total;
    return true;
}

static void
check_timeout(struct doctor *d, const struct kubelet *k)
{
    const struct doctor_check *c = &checks[C_REQUEST_TIMEOUT_SHORT];
    double s = 0;

    if (hidden(d, c, k))
        return;
    /* "0s" and nothing mean the default. */
    if (k->timeout[0] && !parse_seconds(k->timeout, &s))
        doctor_bad(d, c, k->from, "\"%s\" is no duration", k->timeout);
    else if (s <= 0)
        doctor_bad(d, c, k->from, "not set: 2m");
    else if (s < REQUEST_TIMEOUT_MIN)
        doctor_bad(d, c, k->from, "%s", k->timeout);
    else
        doctor_ok(d, c, "%s", k->timeout);
}

static void
check_image_gate(struct doctor *d, const struct kubelet *k)
{
    const struct doctor_check *c = &checks[C_IMAGE_PER_CLASS_OFF];
    const struct cri_handler *own = NULL;

    for (size_t i = 0; i < d->cri[0].n; i++)
        if (d->cri[0].v[i].kata && d->cri[0].v[i].snapshotter[0])
            own = &d->cri[0].v[i];
    if (hidden(d, c, k))
        return;
    if (k->image == GATE_ON)
        doctor_ok(d, c, "the gate is set");
    else if (own)
        doctor_bad(d, c, k->from, "not set, and the handler %s has the snapshotter %s", own->name,
                   own->snapshotter);
    else if (d->cri[0].unread)
        doctor_unknown(d, c, NULL, "%s", d->cri[0].why);
    else
        doctor_ok(d, c, "not set, and no handler has a snapshotter of its own");
}

static void
check_root(struct doctor *d, const struct kubelet *k)
{
    char root[256] = "/var/lib/kubelet";
    const char *ours = doctor_path(d, d->conf.kubelet.plugin_dir);
    size_t n;

    if (!k->proc) {
        doctor_unknown(d, &checks[C_KUBELET_ROOT], NULL, "no process kubelet is visible");
        return;
    }
    (void)doctor_proc_option(k->proc, "--root-dir", root, sizeof(root));
    const char *theirs = doctor_path(d, root);
    n = strlen(theirs);
    while (n > 1 && theirs[n - 1] == '/')
        n--;
    if (strncmp(ours, theirs, n) == 0 && ours[n] == '/')
        doctor_ok(d, &checks[C_KUBELET_ROOT], "%s", root);
    else
        doctor_bad(d, &checks[C_KUBELET_ROOT], d->conf.kubelet.plugin_dir,
                   "the kubelet's directory is %s", root);
}

static void
run(struct doctor *d)
{
    struct kubelet k = {.proc = doctor_proc_find(&d->procs, "kubelet")};

    check_sockets(d);
    check_root(d, &k);
    read_config(d, &k);
    read_version(d, &k);
    if (!k.have_file && !k.proc && !k.unread) {
        doctor_unknown(d, &checks[C_KUBELET_CONFIG], NULL,
                       "neither a configuration of the kubelet nor its process is visible");
        return;
    }
    if (!k.have_file)
        doctor_unknown(d, &checks[C_KUBELET_CONFIG], k.from, "%s",
                       k.unread ? strerror(-k.unread) : "does not exist");
    else if (!k.broken)
        doctor_ok(d, &checks[C_KUBELET_CONFIG], "%s", k.from);
    check_get(d, &k);
    check_timeout(d, &k);
    check_image_gate(d, &k);
}

const struct doctor_area doctor_kubelet = {"kubelet", "Kubelet", checks, ARRAY_SIZE(checks), run};
