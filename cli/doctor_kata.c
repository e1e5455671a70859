/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `kata`: every Kata handler that the runtimes know and that is made for GPUs, with
 * the file it reads. Keys and defaults after Kata 4.1.0's configuration-qemu-nvidia-gpu*.toml.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)
#define DOCS_MAX 16
#define CREATE_TIMEOUT_MIN 1200

enum {
    C_KATA_MISSING,
    C_KATA_CONFIG,
    C_KATA_COLD_PLUG_OFF,
    C_KATA_HOT_PLUG,
    C_KATA_POD_RESOURCES,
    C_KATA_NOT_CONFIDENTIAL,
    C_KATA_TIMEOUT,
    C_KATA_ANNOTATIONS_WIDE,
    C_KATA_NO_INITDATA,
    C_KATA_NO_POD_ANNOTATIONS,
    C_KATA_BY_ANNOTATION,
    C_RUNTIME_CLASS,
};

static const struct doctor_check checks[] = {
    [C_KATA_MISSING] = {"KATA_MISSING", DOCTOR_WARNING, "Kata handlers for GPUs",
                        "Confidential GPU pods run under a Kata handler such as "
                        "kata-qemu-nvidia-gpu-snp.",
                        "install Kata 3.29 or later with kata-deploy, with the shims "
                        "qemu-nvidia-gpu-snp and qemu-nvidia-gpu-tdx"},
    [C_KATA_CONFIG] = {"KATA_CONFIG", DOCTOR_ERROR, "handler's configuration",
                       "Every sandbox of the handler fails where its file is missing or wrong.",
                       "install the handler again, or correct the file"},
    [C_KATA_COLD_PLUG_OFF] = {"KATA_COLD_PLUG_OFF", DOCTOR_ERROR, "cold_plug_vfio",
                              "Confidential guests take GPUs at start only; with no-port Kata "
                              "never asks for the pod's GPUs.",
                              "cold_plug_vfio = \"root-port\" in [hypervisor.qemu], as a drop-in "
                              "in config.d beside the file"},
    [C_KATA_HOT_PLUG] = {"KATA_HOT_PLUG", DOCTOR_WARNING, "hot_plug_vfio",
                         "Confidential guests cannot take a GPU after their start, and the key "
                         "makes the other one void.",
                         "hot_plug_vfio = \"no-port\""},
    [C_KATA_POD_RESOURCES] = {"KATA_POD_RESOURCES", DOCTOR_ERROR, "pod_resource_api_sock",
                              "Kata learns the pod's GPUs from the kubelet by this socket; without "
                              "it the VM comes up without GPUs.",
                              "pod_resource_api_sock = "
                              "\"/var/lib/kubelet/pod-resources/kubelet.sock\" in [runtime] (the "
                              "kubelet's real directory)"},
    [C_KATA_NOT_CONFIDENTIAL] = {"KATA_NOT_CONFIDENTIAL", DOCTOR_ERROR, "confidential_guest",
                                 "The handler's name promises a confidential VM and its file "
                                 "starts a plain one.",
                                 "confidential_guest = true, and sev_snp_guest = true for SEV-SNP, "
                                 "in [hypervisor.qemu]"},
    [C_KATA_TIMEOUT] = {"KATA_TIMEOUT", DOCTOR_WARNING, "create_container_timeout",
                        "A VM with eight GPUs takes many minutes to start; the default is 60 s.",
                        "create_container_timeout = 1200 in [runtime]"},
    [C_KATA_ANNOTATIONS_WIDE] = {"KATA_ANNOTATIONS_WIDE", DOCTOR_ERROR, "enable_annotations",
                                 "The list says which settings a pod may change. Patterns match "
                                 "anywhere in the key: \".*\" lets a pod replace the hypervisor "
                                 "and the firmware.",
                                 "enable_annotations = [\"cc_init_data\"], plus what tenants need"},
    [C_KATA_NO_INITDATA] = {"KATA_NO_INITDATA", DOCTOR_INFO, "initdata",
                            "Tenants give the guest its policy and its key broker by cc_init_data.",
                            "add \"cc_init_data\" to enable_annotations"},
    [C_KATA_NO_POD_ANNOTATIONS] = {"KATA_NO_POD_ANNOTATIONS", DOCTOR_WARNING, "pod_annotations",
                                   "containerd hands a pod's annotations to Kata only where the "
                                   "handler lists them; initdata is dropped without a word "
                                   "otherwise.",
                                   "pod_annotations = [\"io.katacontainers.*\"] for the handler, "
                                   "and restart containerd"},
    [C_KATA_BY_ANNOTATION] = {"KATA_BY_ANNOTATION", DOCTOR_WARNING, "how Kata finds GPUs",
                              "Kata before 3.24 (before 3.27 with CRI-O) does not ask the kubelet: "
                              "the pod must name its GPUs in an annotation cdi.k8s.io/..., which "
                              "a tenant can choose; the guard refuses what was not allocated.",
                              "upgrade Kata to 3.29 or later; until then see deploy/ for the "
                              "admission policy that adds the annotation"},
    [C_RUNTIME_CLASS] = {"RUNTIME_CLASS", DOCTOR_INFO, "RuntimeClasses",
                         "A RuntimeClass selects nodes by labels (nvidia.com/cc.ready.state and "
                         "the TEE's); where they differ pods stay Pending.",
                         "kubectl get runtimeclass -o yaml; kubectl get node NODE --show-labels"},
};

/* ---- one handler's files: the base and its drop-ins ---- */

struct kata {
    const struct cri_handler *h;
    const struct doctor_cri *cri;
    char file[256];
    size_t n;
    struct toml *doc[DOCS_MAX];
    char *text[DOCS_MAX]; /* what `doc` was made of */
};

static void
kata_close(struct kata *k)
{
    for (size_t i = 0; i < k->n; i++) {
        toml_free(k->doc[i]);
        free(k->text[i]);
    }
}

static int
kata_add(const struct doctor *d, struct kata *k, const char *path, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int r;

    if (k->n == DOCS_MAX)
        return 0;
    r = doctor_read(&d->host, doctor_path(d, path), FILE_MAX, &text);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_INVALID, "%s", path);
    r = toml_parse(path, text, strlen(text), NULL, &k->doc[k->n], e);
    if (r < 0)
        return r;
    k->text[k->n++] = TAKE_PTR(char, text);
    return 0;
}

static int
kata_add_dropins(const struct doctor *d, struct kata *k, struct err *e)
{
    struct err ignored = ERR_INIT;
    char dir[300], path[600];
    char **names = NULL;
    int n, r = 0;

    (void)snprintf(dir, sizeof(dir), "%.*s/config.d", (int)(strrchr(k->file, '/') - k->file),
                   k->file);
    n = fs_list(&d->host, doctor_path(d, dir), 256, &names, &ignored);
    for (int i = 0; i < n && r >= 0; i++) {
        size_t len = strlen(names[i]);

        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (len > 5 && strcmp(names[i] + len - 5, ".toml") == 0)
            r = kata_add(d, k, path, e);
    }
    if (n >= 0)
        fs_names_free(names);
    return r;
}

/* The file that the runtime names, else the first default of Kata's that is there. */
static int
kata_open(const struct doctor *d, struct kata *k, struct err *e)
{
    static const char *const defaults[] = {
        "/etc/kata-containers/configuration.toml",
        "/usr/share/defaults/kata-containers/configuration.toml",
        "/opt/kata/share/defaults/kata-containers/configuration.toml"};
    struct stat st;
    int r;

    (void)str_copy(k->file, sizeof(k->file), k->h->config);
    for (size_t i = 0; !k->file[0] && i < ARRAY_SIZE(defaults); i++)
        if (doctor_stat(&d->host, defaults[i], &st) == 0)
            (void)str_copy(k->file, sizeof(k->file), defaults[i]);
    if (k->file[0] != '/')
        return err_set(e, ENOENT, ERR_CLASS_INVALID, "handler %s: no configuration file",
                       k->h->name);
    r = kata_add(d, k, k->file, e);
    return r < 0 ? r : kata_add_dropins(d, k, e);
}

/* A key of [section] or of the first table below it ([hypervisor.qemu]); of the last file that has
 * it. */
static const struct toml_value *
kata_key(const struct kata *k, const char *section, bool nested, const char *key)
{
    for (size_t i = k->n; i-- > 0;) {
        const struct toml_value *t = toml_get(toml_root(k->doc[i]), section), *v;

        for (size_t j = 0; nested && j < toml_count(t); j++)
            if ((v = toml_get(toml_item(t, j), key)))
                return v;
        if (!nested && (v = toml_get(t, key)))
            return v;
    }
    return NULL;
}

static const char *
kata_text(const struct kata *k, const char *section, bool nested, const char *key)
{
    const char *s = toml_string(kata_key(k, section, nested, key));

    return s ? s : "";
}

/* ---- what is in them ---- */

static void
check_plug(struct doctor *d, const struct kata *k)
{
    const char *cold = kata_text(k, "hypervisor", true, "cold_plug_vfio");
    const char *hot = kata_text(k, "hypervisor", true, "hot_plug_vfio");
    const char *sock = kata_text(k, "runtime", false, "pod_resource_api_sock");
    const char *want = d->conf.kubelet.pod_resources;

    if (strcmp(cold, "root-port") == 0 || strcmp(cold, "switch-port") == 0 ||
        strcmp(cold, "bridge-port") == 0)
        doctor_ok(d, &checks[C_KATA_COLD_PLUG_OFF], "%s: %s", k->h->name, cold);
    else
        doctor_bad(d, &checks[C_KATA_COLD_PLUG_OFF], k->file, "handler %s: %s", k->h->name,
                   cold[0] ? cold : "not set");
    if (hot[0] && strcmp(hot, "no-port") != 0)
        doctor_bad(d, &checks[C_KATA_HOT_PLUG], k->file, "handler %s: %s", k->h->name, hot);
    if (strcmp(doctor_path(d, sock), doctor_path(d, want)) == 0) {
        doctor_ok(d, &checks[C_KATA_POD_RESOURCES], "%s: %s", k->h->name, sock);
    } else {
        doctor_bad(d, &checks[C_KATA_POD_RESOURCES], k->file, "handler %s: %s", k->h->name,
                   sock[0] ? sock : "not set");
        doctor_cure(d, "pod_resource_api_sock = \"%s\" in [runtime], as a drop-in in config.d",
                    want);
    }
}

static bool
name_promises(const char *name)
{
    return strstr(name, "snp") || strstr(name, "tdx") || strstr(name, "confidential") ||
           strstr(name, "kata-cc");
}

static void
check_guest(struct doctor *d, const struct kata *k)
{
    bool guest = false, snp = false;
    int64_t timeout = 60; /* Kata's default */

    (void)toml_bool(kata_key(k, "hypervisor", true, "confidential_guest"), &guest);
    (void)toml_bool(kata_key(k, "hypervisor", true, "sev_snp_guest"), &snp);
    if (name_promises(k->h->name)) {
        if (guest && (snp || !strstr(k->h->name, "snp")))
            doctor_ok(d, &checks[C_KATA_NOT_CONFIDENTIAL], "%s: yes", k->h->name);
        else
            doctor_bad(d, &checks[C_KATA_NOT_CONFIDENTIAL], k->file,
                       "handler %s: confidential_guest is %s, sev_snp_guest is %s", k->h->name,
                       guest ? "true" : "not true", snp ? "true" : "not true");
    }
    (void)toml_int(kata_key(k, "runtime", false, "create_container_timeout"), &timeout);
    if (timeout >= CREATE_TIMEOUT_MIN)
        doctor_ok(d, &checks[C_KATA_TIMEOUT], "%s: %lld s", k->h->name, (long long)timeout);
    else
        doctor_bad(d, &checks[C_KATA_TIMEOUT], k->file, "handler %s: %lld s", k->h->name,
                   (long long)timeout);
}

/* By the verdict of the same rules as `pgpuctl annotations lint`. */
static enum kata_outcome
ask(const struct kata_handler *h, const char *key, struct kata_verdict *v)
{
    char full[160];

    (void)snprintf(full, sizeof(full), KATA_ANNOTATION_HYPERVISOR "%s", key);
    kata_annotation_verdict(h, full, NULL, v);
    return v->outcome;
}

static struct kata_handler *
handler_of(const struct kata *k, enum kata_flavour flavour)
{
    const struct kata_handler_opts opts = {.cri = k->cri->kind, .flavour = flavour};
    struct kata_handler *h = NULL;
    struct err e = ERR_INIT;

    if (kata_handler_new(k->h->name, &opts, &h, &e) < 0)
        return NULL;
    for (size_t i = 0; i < k->n; i++)
        (void)kata_handler_config(h, k->file, k->text[i], strlen(k->text[i]), &e);
    if (kata_handler_facts(h)->flavour != KATA_FLAVOUR_UNKNOWN)
        return h;
    /* Both runtimes match the list in the same way. */
    kata_handler_free(h);
    return handler_of(k, KATA_FLAVOUR_GO);
}

/* What replaces the measured or trusted parts of a guest on the host's side. */
static void
check_wide(struct doctor *d, const struct kata *k, const struct kata_handler *h)
{
    static const char *const dangerous[] = {"path",  "virtio_fs_daemon", "jailer_path", "firmware",
                                            "image", "initrd",           "kernel"};
    const struct doctor_check *c = &checks[C_KATA_ANNOTATIONS_WIDE];
    char keys[128] = "", why[KATA_TEXT_MAX] = "", unsure[KATA_TEXT_MAX] = "";
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(dangerous); i++) {
        struct kata_verdict v;
        enum kata_outcome o = ask(h, dangerous[i], &v);

        if (o == KATA_UNSURE)
            (void)str_copy(unsure, sizeof(unsure), v.reason);
        if (o != KATA_APPLIED)
            continue;
        used += (size_t)snprintf(keys + used, sizeof(keys) - used, "%s%s", used ? ", " : "",
                                 dangerous[i]);
        if (!why[0])
            (void)str_copy(why, sizeof(why), v.reason);
    }
    if (used)
        doctor_bad(d, c, k->file, "handler %s lets pods set %s: %s", k->h->name, keys, why);
    else if (unsure[0])
        doctor_unknown(d, c, k->file, "handler %s: %s", k->h->name, unsure);
    else
        doctor_ok(d, c, "%s: %zu keys", k->h->name, kata_handler_facts(h)->n_allowed);
}

static void
check_annotations(struct doctor *d, const struct kata *k)
{
    struct kata_handler *h = handler_of(k, KATA_FLAVOUR_UNKNOWN);
    struct kata_verdict v;

    if (!h)
        return;
    check_wide(d, k, h);
    if (name_promises(k->h->name)) {
        enum kata_outcome o = ask(h, "cc_init_data", &v);

        if (o == KATA_APPLIED || o == KATA_UNSURE)
            doctor_ok(d, &checks[C_KATA_NO_INITDATA], "%s: allowed", k->h->name);
        else
            doctor_bad(d, &checks[C_KATA_NO_INITDATA], k->file,
                       "handler %s does not take cc_init_data", k->h->name);
    }
    kata_handler_free(h);
}

/* ---- which way it takes ---- */

/* kata-deploy installs below /opt/kata (or /opt/kata-SUFFIX) with a file VERSION. */
static bool
kata_version(const struct doctor *d, const struct kata *k, unsigned *major, unsigned *minor)
{
    static const char *const packages[] = {"kata-containers", "kata-runtime"};
    const char *share = strstr(k->file, "/share/");
    char path[320], v[64];

    if (share) {
        (void)snprintf(path, sizeof(path), "%.*s/VERSION", (int)(share - k->file), k->file);
        if (doctor_line(&d->host, doctor_path(d, path), v, sizeof(v)) &&
            doctor_version(v, major, minor))
            return true;
    }
    if (doctor_line(&d->host, "/opt/kata/VERSION", v, sizeof(v)) && doctor_version(v, major, minor))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(packages); i++)
        if (doctor_dpkg(d, packages[i], v, sizeof(v)) && doctor_version(v, major, minor))
            return true;
    return false;
}

/* Releases in which the ways came, by the history of kata-containers: 3.24.0 asks PodResources with
 * containerd's pod identifiers, 3.27.0 with CRI-O's, 4.0.0 falls back to annotations where the
 * socket is absent; older ones take CDI annotations alone. */
static void
check_way(struct doctor *d, const struct kata *k)
{
    const struct doctor_check *c = &checks[C_KATA_BY_ANNOTATION];
    unsigned major, minor, need = k->cri->kind == KATA_CRI_CRIO ? 27 : 24;

    if (!kata_version(d, k, &major, &minor)) {
        doctor_unknown(d, c, k->h->name,
                       "the version of Kata is not known from files: 3.%u or later asks the "
                       "kubelet (containerd-shim-kata-v2 --version)",
                       need);
        return;
    }
    if (major < 3 || (major == 3 && minor < 16)) {
        doctor_bad(d, c, k->h->name, "Kata %u.%u plugs no GPUs at start", major, minor);
        doctor_severity(d, DOCTOR_ERROR);
    } else if (major == 3 && minor < need) {
        doctor_bad(d, c, k->h->name, "Kata %u.%u with %s takes annotations alone", major, minor,
                   doctor_cri_name(k->cri));
    } else {
        doctor_ok(d, c, "%s: Kata %u.%u asks PodResources%s", k->h->name, major, minor,
                  major >= 4 ? ", annotations only where its socket is absent" : "");
    }
}

static void
check_handler(struct doctor *d, const struct doctor_cri *c, const struct cri_handler *h)
{
    struct kata k = {.h = h, .cri = c};
    struct err e = ERR_INIT;

    if (kata_open(d, &k, &e) < 0) {
        if (e.num == EACCES || e.num == EPERM)
            doctor_unknown(d, &checks[C_KATA_CONFIG], h->name, "%s", e.msg);
        else
            doctor_bad(d, &checks[C_KATA_CONFIG], h->name, "%s", e.msg);
        kata_close(&k);
        return;
    }
    doctor_ok(d, &checks[C_KATA_CONFIG], "%s: %s%s", h->name, k.file,
              k.n > 1 ? " and drop-ins" : "");
    check_plug(d, &k);
    check_guest(d, &k);
    check_annotations(d, &k);
    check_way(d, &k);
    if (h->passes)
        doctor_ok(d, &checks[C_KATA_NO_POD_ANNOTATIONS], "%s: io.katacontainers.*", h->name);
    else if (name_promises(h->name))
        doctor_bad(d, &checks[C_KATA_NO_POD_ANNOTATIONS], c->file,
                   "handler %s lists none of Kata's", h->name);
    kata_close(&k);
}

static bool
plugs_at_start(const struct doctor *d, const struct doctor_cri *c, const struct cri_handler *h)
{
    struct kata k = {.h = h, .cri = c};
    struct err e = ERR_INIT;
    const char *cold = "";

    if (kata_open(d, &k, &e) >= 0)
        cold = kata_text(&k, "hypervisor", true, "cold_plug_vfio");
    bool plugs = cold[0] && strcmp(cold, "no-port") != 0;
    kata_close(&k);
    return plugs;
}

/* kata-deploy has confidential handlers without GPUs beside those with; OpenShift's handlers have
 * them without saying so. */
static bool
for_gpus(const struct doctor *d, const struct doctor_cri *c, const struct cri_handler *h)
{
    static const char *const openshift[] = {"kata-cc", "kata-snp", "kata-tdx"};

    if (!h->kata)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(openshift); i++)
        if (strncmp(h->name, openshift[i], strlen(openshift[i])) == 0)
            return true;
    return strstr(h->name, "gpu") || plugs_at_start(d, c, h);
}

static void
run(struct doctor *d)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(d->cri); i++)
        for (size_t k = 0; k < d->cri[i].n; k++)
            if (for_gpus(d, &d->cri[i], &d->cri[i].v[k])) {
                check_handler(d, &d->cri[i], &d->cri[i].v[k]);
                n++;
            }
    if (n > 0)
        doctor_ok(d, &checks[C_KATA_MISSING], "%zu", n);
    else if (d->cri[0].unread || d->cri[1].unread)
        doctor_unknown(d, &checks[C_KATA_MISSING], NULL, "%s",
                       d->cri[0].unread ? d->cri[0].why : d->cri[1].why);
    else if (d->cri[0].present || d->cri[1].present)
        doctor_bad(d, &checks[C_KATA_MISSING], NULL, "no handler is Kata's and made for GPUs");
    else
        doctor_unknown(d, &checks[C_KATA_MISSING], NULL, "no runtime was found");
    doctor_unknown(d, &checks[C_RUNTIME_CLASS], NULL,
                   "RuntimeClasses are in the API server, which pgpu does not ask");
}

const struct doctor_area doctor_kata = {"kata", "Kata Containers", checks, ARRAY_SIZE(checks), run};
