/* SPDX-License-Identifier: Apache-2.0
 *
 * `pgpu-sim host`: the files of a healthy host around the simulated node: processes, kubelet,
 * container runtime, Kata. Files only, for what looks at a host without asking it (`pgpuctl
 * doctor`); an unhealthy host is one of which a file was changed. Formats as those of Debian 12,
 * kubeadm, containerd 1.7 and 2, CRI-O and kata-deploy.
 */
#include "sim/hostcmd.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define KATA "/opt/kata/share/defaults/kata-containers/runtimes"

struct host {
    const char *dir, *tee, *runtime, *runtime_version, *kata, *kubelet, *kubelet_root, *nri;
    bool failed;
    struct err e;
};

/* Writes DIR/path with its directories; after a failure nothing more is written. */
__attribute__((format(printf, 3, 4))) static void
put(struct host *h, const char *path, const char *fmt, ...)
{
    char full[4096], *slash;
    va_list ap;
    char text[8192];
    int n;

    if (h->failed)
        return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(text) ||
        snprintf(full, sizeof(full), "%s%s", h->dir, path) >= (int)sizeof(full)) {
        h->failed = err_set(&h->e, ENAMETOOLONG, ERR_CLASS_INVALID, "%s: too long", path) < 0;
        return;
    }
    slash = strrchr(full, '/');
    *slash = '\0';
    h->failed = fs_mkdirs(full, 0755, &h->e) < 0;
    *slash = '/';
    if (!h->failed) {
        _cleanup_fd_ int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0)
            h->failed = err_errno(&h->e, errno, ERR_CLASS_INVALID, "write %s", full) < 0;
        else
            h->failed = fs_write_all(fd, text, (size_t)n, &h->e) < 0;
    }
}

static void
put_dir(struct host *h, const char *path, mode_t mode)
{
    char full[4096];

    if (h->failed)
        return;
    (void)snprintf(full, sizeof(full), "%s%s", h->dir, path);
    h->failed = fs_mkdirs(full, mode, &h->e) < 0;
    /* The mode that was asked for, whatever the umask. */
    if (!h->failed && chmod(full, mode) < 0)
        h->failed = err_errno(&h->e, errno, ERR_CLASS_INVALID, "chmod %s", full) < 0;
}

/* Arguments are separated by NUL in /proc; a reader that wants words finds them there. */
static void
put_process(struct host *h, int pid, const char *comm, const char *args)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    put(h, path, "%s\n", comm);
    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    put(h, path, "%s", args);
    (void)snprintf(path, sizeof(path), "/proc/%d/limits", pid);
    put(h, path,
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1048576              1048576              files     \n"
        "Max locked memory         unlimited            unlimited            bytes     \n");
}

static void
put_machine(struct host *h)
{
    bool snp = strcmp(h->tee, "snp") == 0;

    put(h, "/etc/machine-id", "5a0d7c3e9b6f41f2a1c4e8d2b7f60913\n");
    put(h, "/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    put(h, "/etc/modules-load.d/pgpu.conf", "vfio-pci\n");
    put(h, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro quiet %s\n",
        snp ? "amd_iommu=on" : "intel_iommu=on");
    put(h, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: %s\nflags\t\t: fpu vme de %s\n\n",
        snp ? "AuthenticAMD" : "GenuineIntel",
        snp ? "sme sev sev_es sev_snp" : "tdx_host_platform");
    put_process(h, 1, "systemd", "/sbin/init");
    put_process(h, 602, "chronyd", "/usr/sbin/chronyd -F 1");
    put_dir(h, "/run", 0755);
    put_dir(h, "/var/log", 0755);
}

static void
put_kubelet(struct host *h)
{
    char args[1024];

    put(h, "/var/lib/kubelet/config.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        "cgroupDriver: systemd\nfeatureGates:\n  KubeletPodResourcesGet: true\n"
        "  RuntimeClassInImageCriApi: true\nruntimeRequestTimeout: 20m0s\n");
    (void)snprintf(args, sizeof(args),
                   "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --root-dir=%s",
                   h->kubelet_root);
    put_process(h, 930, "kubelet", args);
    if (strcmp(h->kubelet_root, "/var/lib/kubelet") == 0)
        put_dir(h, "/var/lib/kubelet/device-plugins", 0750);
}

static void
put_packages(struct host *h)
{
    bool crio = strcmp(h->runtime, "crio") == 0;

    put(h, "/var/lib/dpkg/status",
        "Package: kubelet\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s-1.1\n\n"
        "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s-1\n\n",
        h->kubelet, crio ? "cri-o" : "containerd.io", h->runtime_version);
}

#define KATA_HANDLER                                                                               \
    "[plugins.\"%s\".containerd.runtimes.kata-qemu-nvidia-gpu-%s]\n"                               \
    "  runtime_type = \"io.containerd.kata-qemu-nvidia-gpu-%s.v2\"\n"                              \
    "  privileged_without_host_devices = true\n"                                                   \
    "  pod_annotations = [\"io.katacontainers.*\"]\n  snapshotter = \"nydus\"\n"                   \
    "[plugins.\"%s\".containerd.runtimes.kata-qemu-nvidia-gpu-%s.options]\n"                       \
    "  ConfigPath = \"" KATA "/qemu-nvidia-gpu-%s/configuration-qemu-nvidia-gpu-%s.toml\"\n"

/* Only containerd 2 merges the CRI section of an imported file into that of config.toml; for 1.x
 * kata-deploy writes into the file itself. */
static void
put_containerd(struct host *h)
{
    bool v2 = h->runtime_version[0] == '2';
    const char *cri = v2 ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri";
    char handler[2048];
    int n = snprintf(handler, sizeof(handler), KATA_HANDLER, cri, h->tee, h->tee, cri, h->tee,
                     h->tee, h->tee);

    if (n < 0 || (size_t)n >= sizeof(handler))
        h->failed = err_set(&h->e, ENAMETOOLONG, ERR_CLASS_INVALID, "%s: too long", h->tee) < 0;
    put(h, "/etc/containerd/config.toml",
        "version = %d\nimports = [\"/opt/kata/containerd/config.d/*.toml\"]\n\n"
        "[plugins.\"io.containerd.nri.v1.nri\"]\n  disable = false\n  socket_path = \"%s\"\n"
        "  plugin_registration_timeout = \"5s\"\n  plugin_request_timeout = \"2s\"\n\n"
        "[plugins.\"%s\"]\n  enable_cdi = true\n"
        "[plugins.\"%s\".containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n%s",
        v2 ? 3 : 2, h->nri, cri, cri, v2 ? "" : handler);
    if (v2)
        put(h, "/opt/kata/containerd/config.d/kata-deploy.toml", "%s", handler);
    put_process(h, 812, "containerd", "/usr/bin/containerd");
}

static void
put_crio(struct host *h)
{
    put(h, "/etc/crio/crio.conf",
        "[crio.nri]\nenable_nri = true\nnri_listen = \"%s\"\n"
        "nri_plugin_registration_timeout = \"5s\"\nnri_plugin_request_timeout = \"2s\"\n",
        h->nri);
    put(h, "/etc/crio/crio.conf.d/99-kata-deploy.conf",
        "[crio.runtime.runtimes.kata-qemu-nvidia-gpu-%s]\n  runtime_type = \"vm\"\n"
        "  runtime_root = \"/run/vc\"\n  privileged_without_host_devices = true\n"
        "  runtime_config_path = \"" KATA
        "/qemu-nvidia-gpu-%s/configuration-qemu-nvidia-gpu-%s.toml\"\n",
        h->tee, h->tee, h->tee);
    put_process(h, 812, "crio", "/usr/bin/crio");
}

static void
put_kata(struct host *h)
{
    bool snp = strcmp(h->tee, "snp") == 0;
    char path[256];

    put(h, "/opt/kata/VERSION", "%s\n", h->kata);
    (void)snprintf(path, sizeof(path),
                   KATA "/qemu-nvidia-gpu-%s/configuration-qemu-nvidia-gpu-%s.toml", h->tee,
                   h->tee);
    put(h, path,
        "[hypervisor.qemu]\npath = \"/opt/kata/bin/qemu-system-x86_64-%s-experimental\"\n"
        "machine_type = \"q35\"\nconfidential_guest = true\n%s"
        "enable_annotations = [\"enable_iommu\", \"kernel_params\", \"kernel_verity_params\", "
        "\"default_vcpus\", \"default_memory\", \"cc_init_data\"]\n"
        "cold_plug_vfio = \"root-port\"\nhot_plug_vfio = \"no-port\"\n\n"
        "[agent.kata]\ndial_timeout = 1200\n\n"
        "[runtime]\ncreate_container_timeout = 1200\nvfio_mode = \"guest-kernel\"\n"
        "pod_resource_api_sock = \"%s/pod-resources/kubelet.sock\"\n",
        h->tee, snp ? "sev_snp_guest = true\n" : "", h->kubelet_root);
}

static bool
one_of(const char *v, const char *a, const char *b)
{
    return strcmp(v, a) == 0 || strcmp(v, b) == 0;
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct usage_args a;
    struct host h = {0};
    int rc = usage_parse(&sim_host_usage, argc, argv, &a);

    (void)ctx;
    if (rc >= 0)
        return rc;
    h.dir = usage_value(&a, "--dir", "");
    h.tee = usage_value(&a, "--tee", "snp");
    h.runtime = usage_value(&a, "--runtime", "containerd");
    h.runtime_version =
        usage_value(&a, "--runtime-version", strcmp(h.runtime, "crio") == 0 ? "1.34.2" : "2.1.4");
    h.kata = usage_value(&a, "--kata", "4.1.0");
    h.kubelet = usage_value(&a, "--kubelet", "1.34.1");
    h.kubelet_root = usage_value(&a, "--kubelet-root", "/var/lib/kubelet");
    h.nri = usage_value(&a, "--nri", "/var/run/nri/nri.sock");
    if (!h.dir[0] || strcmp(h.dir, "/") == 0)
        return usage_wrong(&a, "--dir DIR is missing");
    if (!one_of(h.tee, "snp", "tdx") || !one_of(h.runtime, "containerd", "crio"))
        return usage_wrong(&a, "--tee is snp or tdx, --runtime is containerd or crio");
    put_machine(&h);
    put_kubelet(&h);
    put_packages(&h);
    if (strcmp(h.runtime, "crio") == 0)
        put_crio(&h);
    else
        put_containerd(&h);
    put_kata(&h);
    if (h.failed)
        (void)fprintf(stderr, "pgpu-sim host: %s\n", h.e.msg);
    return h.failed;
}

static const struct usage_opt options[] = {
    {"--dir", "DIR", "where: DIR/proc, DIR/etc, DIR/run, DIR/var and DIR/opt", "dir", 0},
    {"--tee", "snp|tdx", "what its CPU has, default snp (/sys is that of `pgpu-sim node`)",
     "snp tdx", 0},
    {"--runtime", "containerd|crio", "default containerd", "containerd crio", 0},
    {"--runtime-version", "V", "default 2.1.4; CRI-O 1.34.2", NULL, 0},
    {"--kata", "V", "default 4.1.0", NULL, 0},
    {"--kubelet", "V", "default 1.34.1", NULL, 0},
    {"--kubelet-root", "DIR", "the kubelet's directory, default /var/lib/kubelet", NULL, 0},
    {"--nri", "SOCKET", "the runtime's, default /var/run/nri/nri.sock", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage sim_host_usage = {
    .name = "host",
    .args = "",
    .summary = "the files of a healthy host around a node",
    .text = "Writes what a host with kubelet, container runtime and Kata has in /proc, /etc, /run, "
            "/var and /opt: files only, no process runs. `pgpuctl doctor --host DIR` looks at "
            "them; to see it find something, change a file.",
    .opts = options,
    .run = run,
};
