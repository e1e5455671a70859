/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: the files of a host as `pgpuctl doctor` reads them. The first byte of an input names the
 * file ('0' and on, see below), the rest is its contents; the others are healthy. Whatever is in
 * them, the findings are well formed and printable.
 */
#include "base/cleanup.h"
#include "cli/doctor.h"
#include "cli/doctor_files.h"

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *path, *healthy;
} files[] = {
    {"/etc/containerd/config.toml",
     "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.kata-gpu-snp]\n"
     "runtime_type = \"io.containerd.kata.v2\"\n"
     "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.kata-gpu-snp.options]\n"
     "ConfigPath = \"/opt/kata.toml\"\n"},
    {"/etc/crio/crio.conf", ""},
    {"/opt/kata.toml", "[hypervisor.qemu]\n"},
    {"/var/lib/kubelet/config.yaml", "featureGates: {}\n"},
    {"/var/lib/dpkg/status", ""},
    {"/proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : sev_snp\n"},
    {"/proc/930/cmdline", "kubelet --config /var/lib/kubelet/config.yaml"},
    {"/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", "{}"},
    {"/proc/812/limits", ""},
    {"/proc/cmdline", ""},
    {"/sys/fs/cgroup/misc.capacity", ""},
};

static char dir[64];

static void
put(const char *path, const void *data, size_t len)
{
    char full[256];
    struct err e = ERR_INIT;

    (void)snprintf(full, sizeof(full), "%s%.*s", dir, (int)(strrchr(path, '/') - path), path);
    FUZZ_ASSERT(fs_mkdirs(full, 0755, &e) == 0);
    (void)snprintf(full, sizeof(full), "%s%s", dir, path);
    _cleanup_fd_ int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_ASSERT(fd >= 0 && fs_write_all(fd, data, len, &e) == 0);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)st;
    (void)type;
    (void)w;
    return remove(path);
}

static void
clean(void)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
start(void)
{
    if (dir[0])
        return;
    /* In memory where that can be had: each input writes two files. */
    (void)snprintf(dir, sizeof(dir), "%s/pgpu-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_ASSERT(mkdtemp(dir) != NULL);
    FUZZ_ASSERT(atexit(clean) == 0);
    put("/proc/812/comm", "containerd", 10);
    put("/proc/812/cmdline", "/usr/bin/containerd", 19);
    put("/proc/930/comm", "kubelet", 7);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        put(files[i].path, files[i].healthy, strlen(files[i].healthy));
}

static void
check(const struct doctor *d)
{
    FUZZ_ASSERT(d->n > 0 && d->n <= DOCTOR_FINDINGS_MAX);
    for (size_t i = 0; i < d->n; i++) {
        const struct doctor_finding *f = &d->v[i];

        FUZZ_ASSERT(f->area && f->check && f->status <= DOCTOR_ERROR);
        for (const char *p = f->seen; *p; p++)
            FUZZ_ASSERT(*p >= 0x20 && *p < 0x7f);
        for (const char *p = f->object; *p; p++)
            FUZZ_ASSERT(*p >= 0x20 && *p < 0x7f);
        for (const char *p = f->cure; *p; p++)
            FUZZ_ASSERT(*p >= 0x20 && *p < 0x7f);
    }
}

static void
examine(void)
{
    static const struct doctor_area *const areas[] = {&doctor_tee,     &doctor_kernel,
                                                      &doctor_kubelet, &doctor_runtime,
                                                      &doctor_kata,    &doctor_operator};
    const struct cli c = {.root = dir};
    struct doctor d = {.c = &c, .host = {.fd = -1}, .hw = {.fd = -1}, .config_path = "none"};
    struct err e = ERR_INIT;

    d.v = calloc(DOCTOR_FINDINGS_MAX, sizeof(*d.v));
    FUZZ_ASSERT(d.v && fs_root_open(&d.host, dir, &e) == 0 && fs_root_open(&d.hw, dir, &e) == 0);
    FUZZ_ASSERT(config_load(NULL, &d.conf, &e) == 0 && hwd_config_load(NULL, &d.hwd_conf, &e) == 0);
    (void)doctor_read(&d.host, "/var/lib/dpkg/status", FUZZ_MAX, &d.dpkg);
    doctor_procs_read(&d.host, &d.procs);
    doctor_cri_read(&d);
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
        d.area = areas[i];
        areas[i]->run(&d);
    }
    check(&d);
    doctor_release(&d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t i = size > 0 ? (size_t)(data[0] - '0') % ARRAY_SIZE(files) : 0;

    if (size < 1 || size > FUZZ_MAX)
        return 0;
    start();
    put(files[i].path, data + 1, size - 1);
    examine();
    put(files[i].path, files[i].healthy, strlen(files[i].healthy));
    return 0;
}
