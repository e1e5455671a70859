/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of faults and the parser of fault specifications. See sim/fault.h.
 */
#include "sim/fault.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum value_kind { V_NONE, V_KNOB, V_KNOB_CODE, V_MS, V_CODE, V_RESETS };

struct fault {
    const char *name;
    enum value_kind value;
    const char *help;
};

static const struct fault table[SIM_F_COUNT] = {
    [SIM_F_INVALID_KNOB] = {"invalid-knob", V_KNOB,
                            "=K: the firmware does not have knob K (0x1e3)"},
    [SIM_F_WRITE_ERROR] = {"write-error", V_KNOB_CODE,
                           "=K[:CODE]: writing knob K answers error CODE (default 0x1e5)"},
    [SIM_F_WRITE_REFUSED] = {"write-refused", V_KNOB,
                             "=K: writing knob K answers \"invalid state\" (0x9e)"},
    [SIM_F_WRITE_IGNORED] = {"write-ignored", V_KNOB,
                             "=K: writing knob K answers OK, but the value is not kept"},
    [SIM_F_INBAND_LOCKED] = {"inband-locked", V_KNOB,
                             "=K: the in-band permission of knob K reads 0 and writes are refused"},
    [SIM_F_FSP_ERROR] = {"fsp-error", V_CODE,
                         "[=CODE]: every command answers error CODE (default 0x202)"},
    [SIM_F_NO_REPLY] = {"no-reply", V_NONE, "the firmware takes commands and never answers"},
    [SIM_F_LOST_REPLY] = {"lost-reply", V_NONE,
                          "the firmware obeys commands, but the answer is lost"},
    [SIM_F_NO_CONSUME] = {"no-consume", V_NONE,
                          "the firmware never takes a command: the queue stays full"},
    [SIM_F_STALE_REPLY] = {"stale-reply", V_NONE,
                           "an old answer waits in the queue, now and after each reset"},
    [SIM_F_SLOW_REPLY] = {"slow-reply", V_MS, "=MS: each answer comes MS ms later (not scaled)"},
    [SIM_F_WRONG_TYPE] = {"wrong-type", V_NONE, "answers carry a wrong message type"},
    [SIM_F_WRONG_ECHO] = {"wrong-echo", V_NONE, "answers name another request type"},
    [SIM_F_WRONG_LENGTH] = {"wrong-length", V_NONE, "answers are one word too long"},
    [SIM_F_SHORT_REPLY] = {"short-reply", V_NONE, "answers are cut after three words"},
    [SIM_F_BOOT_NEVER] = {"boot-never", V_NONE, "after the next reset the GPU never boots"},
    [SIM_F_BOOT_SECOND_RESET] = {"boot-needs-second-reset", V_NONE,
                                 "every other reset, the next first, ends without a boot"},
    [SIM_F_MODE_NOT_LATCHED] = {"mode-not-latched", V_NONE,
                                "resets do not make the configured mode active"},
    [SIM_F_FIREWALL_STUCK] = {"firewall-stuck", V_NONE,
                              "Blackwell: the BAR0 firewall stays up after the next reset"},
    [SIM_F_RECOVERY_MODE] = {"recovery-mode", V_NONE,
                             "the firmware is in recovery mode and does not boot"},
    [SIM_F_SEC_FAULT] = {"sec-fault", V_NONE, "the GPU has locked itself: BAR0 reads 0xbadf0200"},
    [SIM_F_D3HOT_START] = {"d3hot-start", V_NONE, "the device is in D3hot now"},
    [SIM_F_D3COLD] = {"d3cold", V_NONE, "no power: nothing answers, waking does not work"},
    [SIM_F_OFF_BUS] = {"off-bus", V_NONE, "fallen off the bus: nothing answers"},
    [SIM_F_ALL_ONES] = {"all-ones", V_NONE, "BAR0 reads all-ones, config space answers"},
    [SIM_F_BADF] = {"badf", V_NONE, "every BAR0 read is 0xbadf5108"},
    [SIM_F_ALL_ONES_AFTER_RESET] = {"all-ones-after-reset", V_NONE,
                                    "BAR0 reads all-ones after any reset"},
    [SIM_F_SBR_ONLY_RECOVERY] = {"sbr-only-recovery", V_NONE,
                                 "BAR0 reads all-ones after a function reset, until a bus reset"},
    [SIM_F_RESET_HANG] = {"reset-hang", V_RESETS,
                          "[=flr|bus|all[:MS]]: the device does not come back from a reset, or "
                          "only after MS ms (not scaled)"},
    [SIM_F_RESET_FAIL] = {"reset-fail", V_RESETS,
                          "[=flr|bus|all]: the kernel cannot reset the device (ENOTTY)"},
};

const char *
sim_gpu_fault_name(size_t i, const char **ret_help)
{
    if (i >= SIM_F_COUNT)
        return NULL;
    if (ret_help)
        *ret_help = table[i].help;
    return table[i].name;
}

static int
unknown(const char *spec, struct err *e)
{
    char names[ERR_MSG_MAX];
    size_t n = 0;

    names[0] = '\0';
    for (size_t i = 0; i < SIM_F_COUNT && n < sizeof(names); i++)
        n += (size_t)snprintf(names + n, sizeof(names) - n, " %s", table[i].name);
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "set fault \"%.40s\": not one of: clear%s", spec,
                   names);
}

/* A number in C notation that ends at NUL or at `stop`. */
static bool
number(const char *s, char stop, unsigned long max, unsigned long *ret, const char **ret_end)
{
    char *end;
    unsigned long v;

    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    v = strtoul(s, &end, 0);
    if (errno || v > max || (*end != '\0' && *end != stop))
        return false;
    *ret = v;
    *ret_end = end;
    return true;
}

static bool
knob_value(struct sim_faults *f, enum sim_fault_id id, const char *val)
{
    bool with_code = table[id].value == V_KNOB_CODE;
    unsigned long k, code = 0x1e5; /* the code of the recorded refusal; invented there */
    const char *end;

    if (!val || !number(val, with_code ? ':' : '\0', SIM_KNOBS - 1, &k, &end) || k == 0)
        return false;
    if (*end == ':' && (!number(end + 1, '\0', 0xffff, &code, &end) || code == 0))
        return false;
    f->knobs[id] |= UINT64_C(1) << k;
    if (with_code)
        f->error[k] = (uint16_t)code;
    return true;
}

static bool
number_value(struct sim_faults *f, enum sim_fault_id id, const char *val)
{
    bool optional = table[id].value == V_CODE;
    unsigned long v = 0x202; /* seen on an H100 NVL, gpu-admin-tools #13 */
    const char *end;

    if (val ? !number(val, '\0', optional ? 0xffff : 86400000, &v, &end) : !optional)
        return false;
    f->value[id] = (uint32_t)v;
    return true;
}

static bool
resets_value(struct sim_faults *f, enum sim_fault_id id, const char *val)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } which[] = {{"flr", SIM_F_RESETS_FLR},
                 {"bus", SIM_F_RESETS_BUS},
                 {"all", SIM_F_RESETS_FLR | SIM_F_RESETS_BUS}};

    size_t len = val ? strcspn(val, ":") : 0;
    unsigned long ms = 0;
    const char *end;

    if (val && val[len] &&
        (id != SIM_F_RESET_HANG || !number(val + len + 1, '\0', 86400000, &ms, &end) || ms == 0))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(which); i++)
        if (val ? strlen(which[i].name) == len && memcmp(val, which[i].name, len) == 0
                : strcmp(which[i].name, "all") == 0) {
            f->value[id] = which[i].bits;
            if (id == SIM_F_RESET_HANG)
                f->hang_ms = (uint32_t)ms;
            return true;
        }
    return false;
}

static bool
set_value(struct sim_faults *f, enum sim_fault_id id, const char *val)
{
    switch (table[id].value) {
    case V_NONE:
        return val == NULL;
    case V_KNOB:
    case V_KNOB_CODE:
        return knob_value(f, id, val);
    case V_MS:
    case V_CODE:
        return number_value(f, id, val);
    case V_RESETS:
        return resets_value(f, id, val);
    }
    return false;
}

static bool
find(const char *name, size_t len, enum sim_fault_id *ret)
{
    for (size_t i = 0; i < SIM_F_COUNT; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0) {
            *ret = (enum sim_fault_id)i;
            return true;
        }
    return false;
}

int
sim_faults_apply(struct sim_faults *f, const char *spec, enum sim_fault_id *ret_id, struct err *e)
{
    const char *eq = strchr(spec, '=');
    size_t len = eq ? (size_t)(eq - spec) : strlen(spec);
    enum sim_fault_id id;
    struct sim_faults next = *f;

    if (strcmp(spec, "clear") == 0) {
        memset(f, 0, sizeof(*f));
        *ret_id = SIM_F_COUNT;
        return 0;
    }
    if (!find(spec, len, &id))
        return unknown(spec, e);
    if (!set_value(&next, id, eq ? eq + 1 : NULL))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "set fault \"%.40s\": its form is %s%s", spec,
                       table[id].name,
                       table[id].help[0] == '=' || table[id].help[0] == '[' ? table[id].help
                                                                            : " without a value");
    next.on[id] = true;
    *f = next;
    *ret_id = id;
    return 0;
}
