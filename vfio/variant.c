/* SPDX-License-Identifier: Apache-2.0
 *
 * Which VFIO driver a function wants. Besides vfio-pci there are variant drivers that know one
 * device family (nvgrace_gpu_vfio_pci); their modules carry aliases of the form "vfio_pci:v…", and
 * the most specific match wins (kernel: Documentation/driver-api/vfio.rst and
 * drivers/vfio/pci/vfio_pci.c, MODULE_DEVICE_TABLE with VFIO_PCI override). Stateless.
 */
#include "vfio/parse.h"
#include "vfio/paths.h"
#include "vfio/scan.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* modules.alias of Debian 12 is 1.5 MB. */
#define ALIAS_MAX (32u << 20)

bool
vfio_is_vfio_driver(const char *driver)
{
    static const char tail[] = "vfio_pci";
    const size_t n = strlen(driver), t = sizeof(tail) - 1;

    if (n < t)
        return false;
    for (size_t i = 0; i < t; i++) {
        char c = driver[n - t + i];

        if ((c == '-' ? '_' : c) != tail[i])
            return false;
    }
    /* "vfio-pci" itself, or "<family>_vfio_pci" */
    return n == t || driver[n - t - 1] == '_' || driver[n - t - 1] == '-';
}

/* The device part of the kernel's modalias, composed as drivers/pci/pci-sysfs.c modalias_show. */
static void
make_modalias(const struct vfio_fn *fn, char *buf, size_t size)
{
    (void)snprintf(buf, size, "v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", fn->vendor, fn->device,
                   fn->subsys_vendor, fn->subsys_device, fn->class_code >> 16 & 0xff,
                   fn->class_code >> 8 & 0xff, fn->class_code & 0xff);
}

static void
best_match(const char *text, size_t len, const char *modalias, char *best, size_t size)
{
    const char *end = text + len;
    int fewest = INT_MAX;

    while (text < end) {
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        size_t n = nl ? (size_t)(nl - text) : (size_t)(end - text);
        char module[64];
        int wild = vfio_match_alias(text, n, modalias, module, sizeof(module));

        if (wild >= 0 && wild < fewest && vfio_is_vfio_driver(module) &&
            str_copy(best, size, module))
            fewest = wild;
        text += n + 1;
        if (!nl)
            break;
    }
}

int
vfio_wanted_driver(const struct fs_root *root, const struct vfio_fn *fn, char *buf, size_t size,
                   struct err *e)
{
    char path[VFIO_PATH_MAX], modalias[96], best[64] = "";
    struct err none = ERR_INIT;
    struct utsname u;
    struct stat st;
    _cleanup_fd_ int fd = -1;
    int n;

    /* Without a module tree (simulated node, container without the host's files) there is no
     * variant driver to find; that is no error. */
    if (uname(&u) == 0) {
        n = snprintf(path, sizeof(path), PATH_MODULES "/%s/modules.alias", u.release);
        if (n > 0 && (size_t)n < sizeof(path))
            fd = fs_open(root, path, O_RDONLY, 0, &none);
    }
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= (off_t)ALIAS_MAX) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

        if (p != MAP_FAILED) {
            make_modalias(fn, modalias, sizeof(modalias));
            best_match(p, (size_t)st.st_size, modalias, best, sizeof(best));
            (void)munmap(p, (size_t)st.st_size);
        }
    }
    /* The module vfio_pci registers its driver as "vfio-pci". */
    if (!best[0] || strcmp(best, "vfio_pci") == 0)
        (void)str_copy(best, sizeof(best), "vfio-pci");
    if (!str_copy(buf, size, best))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "VFIO driver of %s: \"%s\" is too long",
                       PCI_STR(fn->addr), best);
    return 0;
}
