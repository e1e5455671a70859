/* SPDX-License-Identifier: Apache-2.0
 *
 * NVRAM in a text file: a title line, then "knob value" per line. See sim/nvram.h.
 */
#include "sim/nvram.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TITLE "pgpu-sim nvram 1\n"
#define FILE_MAX 4096

static const unsigned on_at_factory[] = {KNOB_CCD_ALLOW, KNOB_CCM_ALLOW, KNOB_BAR0_DEC_ALLOW,
                                         KNOB_COUPLE_ALLOW, KNOB_PPCIE_ALLOW};

static int
parse(struct sim_nvram *nv, const char *text, size_t len, struct err *e)
{
    const char *p = text, *end = text + len;

    if (len < strlen(TITLE) || memcmp(text, TITLE, strlen(TITLE)) != 0)
        return err_set(e, EBADMSG, ERR_CLASS_INVALID, "read %s: no NVRAM file of pgpu-sim",
                       nv->path);
    for (p += strlen(TITLE); p < end;) {
        char *stop;
        unsigned long k, v = 0;

        k = strtoul(p, &stop, 10);
        if (stop != p && *stop == ' ')
            v = strtoul(stop + 1, &stop, 16);
        if (*stop != '\n' || k == 0 || k >= SIM_KNOBS || v > 0xffff)
            return err_set(e, EBADMSG, ERR_CLASS_INVALID,
                           "read %s: line \"%.*s\" is not \"<knob 1..%d> <16-bit hex value>\"",
                           nv->path, (int)strcspn(p, "\n"), p, SIM_KNOBS - 1);
        nv->knob[k] = (uint16_t)v;
        p = stop + 1;
    }
    return 0;
}

int
sim_nvram_init(struct sim_nvram *nv, const char *path, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int r;

    memset(nv, 0, sizeof(*nv));
    for (size_t i = 0; i < ARRAY_SIZE(on_at_factory); i++)
        nv->knob[on_at_factory[i]] = 1;
    if (!path)
        return 0;
    nv->path = strdup(path);
    if (!nv->path)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "open NVRAM %s: out of memory", path);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return 0;
    r = fs_read_file(AT_FDCWD, path, FILE_MAX, &text, &len, e);
    if (r == 0)
        r = parse(nv, text, len, e);
    if (r < 0)
        sim_nvram_fini(nv);
    return r;
}

void
sim_nvram_fini(struct sim_nvram *nv)
{
    free(nv->path);
    nv->path = NULL;
}

static int
save(const struct sim_nvram *nv, struct err *e)
{
    _cleanup_free_ char *dir = strdup(nv->path);
    _cleanup_fd_ int fd = -1;
    char text[FILE_MAX];
    const char *name = nv->path;
    size_t n;
    char *slash;

    if (!dir)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "save %s: out of memory", nv->path);
    slash = strrchr(dir, '/');
    if (slash) {
        name = nv->path + (slash - dir) + 1;
        slash[slash == dir ? 1 : 0] = '\0';
    }
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_HW, "save %s: open its directory", nv->path);
    n = (size_t)snprintf(text, sizeof(text), "%s", TITLE);
    for (unsigned k = 1; k < SIM_KNOBS; k++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%u 0x%04x\n", k, nv->knob[k]);
    return fs_publish(fd, name, text, n, 0600, e);
}

int
sim_nvram_set(struct sim_nvram *nv, unsigned knob, uint16_t val, struct err *e)
{
    uint16_t old;
    int r;

    if (knob == 0 || knob >= SIM_KNOBS)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "set knob %u: knobs are 1 to %d", knob,
                       SIM_KNOBS - 1);
    old = nv->knob[knob];
    if (old == val)
        return 0;
    nv->knob[knob] = val;
    if (!nv->path)
        return 0;
    r = save(nv, e);
    if (r < 0)
        nv->knob[knob] = old;
    return r;
}
