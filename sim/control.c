/* SPDX-License-Identifier: Apache-2.0
 *
 * Control commands of the simulated node: one table, one function each. Text in, text out; used by
 * `pgpu-sim ctl`, by tests and by the demo. Entered without the kernel's lock; commands run with
 * it held and may block without it, as a VMM's open does.
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"
#include "sim/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 12

struct cmd {
    struct sim_kernel *k;
    int argc;
    char **argv;
    char *reply;
    size_t size;
};

struct verb {
    const char *name, *args, *help;
    int min; /* words after the name */
    int (*run)(struct cmd *c, struct err *e);
};

static int
the_fn(const struct cmd *c, int arg, bool any, struct fn **ret, struct err *e)
{
    struct pci_addr a;
    struct fn *f = NULL;

    if (!pci_addr_parse(c->argv[arg], &a))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "%s: \"%s\" is no PCI address (want 0000:18:00.0)", c->argv[0],
                       c->argv[arg]);
    f = fn_at(c->k, a);
    if (!f || (!any && !f->dir))
        return err_set(e, ENODEV, ERR_CLASS_INVALID, "%s: no function at %s", c->argv[0],
                       c->argv[arg]);
    *ret = f;
    return 0;
}

static int
number(const struct cmd *c, int arg, unsigned long max, unsigned long *ret, struct err *e)
{
    if (!parse_ulong(c->argv[arg], strlen(c->argv[arg]), ret) || *ret > max)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: \"%s\" is no number up to %lu",
                       c->argv[0], c->argv[arg], max);
    return 0;
}

static int
kernel_error(const struct cmd *c, int r, struct err *e)
{
    return r >= 0 ? 0
                  : err_errno(e, -r, ERR_CLASS_INVALID, "%s%s%s", c->argv[0],
                              c->argc > 1 ? " " : "", c->argc > 1 ? c->argv[1] : "");
}

/* ---- faults and knobs ---- */

static int
run_faults(struct cmd *c, struct err *e)
{
    const char *name, *help;
    size_t i, used = 0;

    (void)e;
    for (i = 0; (name = sim_gpu_fault_name(i, &help)); i++)
        used += (size_t)showf(c->reply + used, c->size - used, "%-22s %s\n", name, help);
    return 0;
}

static int
run_fault(struct cmd *c, struct err *e)
{
    struct fn *f = NULL;
    int i, r = the_fn(c, 1, true, &f, e);

    for (i = 2; r == 0 && i < c->argc; i++)
        r = sim_gpu_fault(f->gpu, c->argv[i], e);
    if (r < 0)
        return r;
    if (strcmp(c->argv[c->argc - 1], "clear") == 0)
        c->k->wake_gen++; /* a reset that hung for ever comes back */
    k_changed(c->k);
    return 0;
}

static int
run_knob(struct cmd *c, struct err *e)
{
    unsigned long n, v;
    struct fn *f = NULL;
    int r = the_fn(c, 1, true, &f, e);

    if (r == 0)
        r = number(c, 2, SIM_KNOBS - 1, &n, e);
    if (r == 0 && c->argc > 3) {
        r = number(c, 3, 0xffff, &v, e);
        if (r == 0)
            sim_gpu_set_knob(f->gpu, (unsigned)n, (uint16_t)v);
    }
    if (r == 0)
        (void)showf(c->reply, c->size, "0x%x\n", sim_gpu_knob(f->gpu, (unsigned)n));
    return r;
}

/* ---- VMM ---- */

static int
run_vmm_open(struct cmd *c, struct err *e)
{
    bool touch = true, group;
    struct fn *f = NULL;
    int i, r = the_fn(c, 1, false, &f, e);

    if (r < 0)
        return r;
    group = f->cdev_node == NULL;
    for (i = 2; i < c->argc; i++) {
        if (strcmp(c->argv[i], "group") == 0)
            group = true;
        else if (strcmp(c->argv[i], "cdev") == 0)
            group = false;
        else if (strcmp(c->argv[i], "untouched") == 0)
            touch = false;
        else
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "vmm-open: \"%s\" is none of group, cdev, untouched", c->argv[i]);
    }
    return kernel_error(c, vmm_open(c->k, f, group, touch), e);
}

static int
run_vmm_close(struct cmd *c, struct err *e)
{
    struct fn *f = NULL;
    int r = the_fn(c, 1, true, &f, e);

    return r < 0 ? r : kernel_error(c, vmm_close(c->k, f), e);
}

/* ---- plugging ---- */

/* "group=4", "numa=1", "vfs=2", "missing=a+b", "garbage=a+b", "root" */
int
sim_spec_option(struct sim_fn_spec *s, const char *word, struct err *e)
{
    const char *eq = strchr(word, '=');
    char *end = NULL;
    long v;

    if (strcmp(word, "root") == 0) {
        s->on_root_bus = true;
        return 0;
    }
    if (eq && strncmp(word, "missing=", 8) == 0)
        s->missing = eq + 1;
    else if (eq && strncmp(word, "garbage=", 8) == 0)
        s->garbage = eq + 1;
    else if (eq && strncmp(word, "driver=", 7) == 0)
        s->driver = eq + 1;
    else if (eq) {
        v = strtol(eq + 1, &end, 0);
        if (end == eq + 1 || *end || v < -2 || v > 65535)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\": no number after =", word);
        if (strncmp(word, "group=", 6) == 0)
            s->group = (int)v;
        else if (strncmp(word, "numa=", 5) == 0)
            s->numa_node = (int)v;
        else if (strncmp(word, "vfs=", 4) == 0 && v >= 0)
            s->num_vfs = (unsigned)v;
        else
            eq = NULL;
    }
    if (!eq)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "\"%s\" is none of group=, numa=, vfs=, driver=, missing=, garbage=, root",
                       word);
    return 0;
}

/* A hot-plugged function has no decode until it is enabled. */
static int
run_plug(struct cmd *c, struct err *e)
{
    struct sim_fn_spec s = {.group = c->k->no_iommu ? -2 : -1, .numa_node = 0};
    struct fn *f = NULL;
    int i, r;

    if (!pci_addr_parse(c->argv[1], &s.addr))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "plug: \"%s\" is no PCI address", c->argv[1]);
    f = fn_at(c->k, s.addr);
    /* As pciehp: a slot's next card is looked at when the removal of the last one has ended. */
    while (f && f->leaving)
        if (!k_wait(c->k, UINT64_MAX))
            return err_set(e, ECANCELED, ERR_CLASS_INVALID, "plug: the node is stopping");
    if (f && f->plugged)
        return err_set(e, EEXIST, ERR_CLASS_INVALID, "plug: %s is there already", c->argv[1]);
    if (!f && c->argc < 3)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "plug: which model?");
    if (!f) {
        s.model = c->argv[2];
        for (i = 3; i < c->argc; i++) {
            r = sim_spec_option(&s, c->argv[i], e);
            if (r < 0)
                return r;
        }
        r = fn_new(c->k, &s, NULL, &f, e);
        if (r < 0)
            return r;
    }
    f->plugged = true;
    sim_gpu_cfg_write(f->gpu, 4, 2, 0);
    r = core_rescan_lock(c->k);
    if (r < 0)
        return kernel_error(c, r, e);
    fn_enumerate(c->k, f, true);
    if (c->k->autoprobe)
        (void)core_probe_any(c->k, f);
    core_rescan_unlock(c->k);
    return 0;
}

static void *
unplug_thread(void *arg)
{
    struct fn *f = arg;
    struct sim_kernel *k = f->k;

    k_lock(k);
    if (core_rescan_lock(k) == 0) {
        (void)core_remove(k, f);
        core_rescan_unlock(k);
    }
    f->leaving = false;
    k->inside--;
    k_changed(k);
    k_unlock(k);
    return NULL;
}

/* Surprise removal: the function stops answering at once; the kernel's own removal waits for users
 * like any other, on a thread of its own as pciehp does. */
static int
run_unplug(struct cmd *c, struct err *e)
{
    pthread_t t;
    struct fn *f = NULL;
    int r = the_fn(c, 1, false, &f, e);

    if (r < 0)
        return r;
    f->plugged = false;
    f->leaving = true;
    c->k->inside++;
    r = pthread_create(&t, NULL, unplug_thread, f);
    if (r != 0) {
        f->leaving = false;
        c->k->inside--;
        return kernel_error(c, -r, e);
    }
    (void)pthread_detach(t);
    return 0;
}

/* ---- drivers, files, switches ---- */

static int
run_load(struct cmd *c, struct err *e)
{
    if (c->argc > 2) {
        if (strcmp(c->argv[1], "vfio-pci") != 0 || strcmp(c->argv[2], "disable_idle_d3=1") != 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "load: %s has no parameter %s", c->argv[1],
                           c->argv[2]);
        if (!drv_find(c->k, c->argv[1]))
            c->k->disable_idle_d3 = true;
    }
    (void)drv_load(c->k, c->argv[1]);
    return 0;
}

static int
run_unload(struct cmd *c, struct err *e)
{
    return kernel_error(c, drv_unload(c->k, c->argv[1]), e);
}

static int
run_attr(struct cmd *c, struct err *e)
{
    struct fn *f = NULL;
    char *list;
    int r = the_fn(c, 1, false, &f, e);

    if (r < 0)
        return r;
    if (strcmp(c->argv[3], "missing") == 0) {
        kn_remove_child(f->dir, c->argv[2]);
    } else if (strcmp(c->argv[3], "garbage") == 0) {
        if (asprintf(&list, "%s,%s", f->garbage, c->argv[2]) < 0)
            abort();
        free(f->garbage);
        f->garbage = list;
    } else if (strcmp(c->argv[3], "good") == 0) {
        f->garbage[0] = '\0';
    } else {
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "attr: \"%s\" is none of missing, garbage, good", c->argv[3]);
    }
    return 0;
}

static int
run_set(struct cmd *c, struct err *e)
{
    bool on = strcmp(c->argv[2], "on") == 0;

    if (!on && strcmp(c->argv[2], "off") != 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "set: \"%s\" is neither on nor off",
                       c->argv[2]);
    if (strcmp(c->argv[1], "lockdown") == 0)
        c->k->lockdown = on;
    else if (strcmp(c->argv[1], "strict-devmem") == 0)
        c->k->strict_devmem = on;
    else if (strcmp(c->argv[1], "autoprobe") == 0)
        c->k->autoprobe = on;
    else
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "set: \"%s\" is none of lockdown, strict-devmem, autoprobe", c->argv[1]);
    return 0;
}

static int
run_rules(struct cmd *c, struct err *e)
{
    return rules_command(c->k, c->argc, c->argv, c->reply, c->size, e);
}

static int
run_uevent(struct cmd *c, struct err *e)
{
    struct fn *f = NULL;
    int r = the_fn(c, 1, false, &f, e);

    if (r == 0)
        uevent_fn(c->k, f, c->argv[2]);
    return r;
}

static int
run_show(struct cmd *c, struct err *e)
{
    bool json = c->argc > 1 && strcmp(c->argv[1], "json") == 0;

    (void)e;
    control_show(c->k, json, c->reply, c->size);
    return 0;
}

static int run_help(struct cmd *c, struct err *e);

static const struct verb verbs[] = {
    {"show", "[json]", "every function with driver, power, holder, active and configured mode", 0,
     run_show},
    {"fault", "ADDR SPEC...", "inject faults into a device; \"clear\" clears all", 2, run_fault},
    {"faults", "", "the faults there are", 0, run_faults},
    {"knob", "ADDR N [VALUE]", "read or set a firmware knob", 2, run_knob},
    {"vmm-open", "ADDR [group|cdev] [untouched]", "open and hold the device as a VMM does", 1,
     run_vmm_open},
    {"vmm-close", "ADDR", "close it again", 1, run_vmm_close},
    {"plug", "ADDR [MODEL [OPTION...]]", "hot-plug a function (again)", 1, run_plug},
    {"unplug", "ADDR", "pull a function by surprise", 1, run_unplug},
    {"load", "DRIVER [PARAMETER]", "load a driver; it binds what it matches", 1, run_load},
    {"unload", "DRIVER", "unload a driver", 1, run_unload},
    {"fail", "[OP:]GLOB ERRNO [COUNT]", "writes to matching files fail (OP: write open read ioctl)",
     2, run_rules},
    {"hang", "[OP:]GLOB MS [COUNT]", "they block first (0: until rules clear), then take effect", 2,
     run_rules},
    {"ignore", "[OP:]GLOB [COUNT]", "they succeed and do nothing", 1, run_rules},
    {"fail-op", "N ERRNO", "the Nth operation from now fails", 2, run_rules},
    {"hang-op", "N MS", "the Nth operation from now hangs", 2, run_rules},
    {"rules", "[clear]", "what fails and hangs; let go what hangs", 0, run_rules},
    {"attr", "ADDR NAME missing|garbage|good", "break an attribute", 3, run_attr},
    {"set", "lockdown|strict-devmem|autoprobe on|off", "switches of the host", 2, run_set},
    {"uevent", "ADDR ACTION", "send a uevent by hand", 2, run_uevent},
    {"help", "", "this list", 0, run_help},
};

static int
run_help(struct cmd *c, struct err *e)
{
    size_t i, used = 0;

    (void)e;
    for (i = 0; i < ARRAY_SIZE(verbs); i++)
        used += (size_t)showf(c->reply + used, c->size - used, "%s %s\n        %s\n", verbs[i].name,
                              verbs[i].args, verbs[i].help);
    (void)showf(c->reply + used, c->size - used,
                "trace ADDR|all\n        register traffic as it happens, until you leave\n");
    return 0;
}

int
sim_k_control(struct sim_kernel *k, const char *line, char *reply, size_t size, struct err *e)
{
    _cleanup_free_ char *copy = strdup(line);
    char *argv[ARGS_MAX + 1] = {NULL}, *rest = copy, *word;
    struct cmd c = {.k = k, .argv = argv, .reply = reply, .size = size};
    size_t i;
    int r;

    if (!copy || size == 0)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control command: out of memory");
    reply[0] = '\0';
    while ((word = strsep(&rest, " \t\n")))
        if (*word && c.argc < ARGS_MAX)
            argv[c.argc++] = word;
    if (c.argc == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "empty command; try help");
    for (i = 0; i < ARRAY_SIZE(verbs) && strcmp(verbs[i].name, argv[0]) != 0; i++)
        ;
    if (i == ARRAY_SIZE(verbs))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "no command \"%s\"; try help", argv[0]);
    if (c.argc - 1 < verbs[i].min)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "usage: %s %s", verbs[i].name, verbs[i].args);
    k_lock(k);
    r = verbs[i].run(&c, e);
    k_unlock(k);
    return r;
}
