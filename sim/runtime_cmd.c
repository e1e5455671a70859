/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: the commands. A table of words; each takes the rest of the line. Words are
 * separated by blanks; "..." keeps blanks together, and \ takes the next character as it is.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
split(struct rt_line *l)
{
    char *in = l->text, *out = l->text;
    bool quoted = false, word = false;

    for (; *in; in++) {
        bool blank = !quoted && strchr(" \t\r\n", *in);

        if (blank && word)
            *out++ = '\0';
        if (!blank && !word && l->n == RT_WORDS_MAX)
            return false;
        if (!blank && !word)
            l->word[l->n++] = out;
        word = !blank;
        if (blank)
            continue;
        if (*in == '"') {
            quoted = !quoted;
            continue;
        }
        if (*in == '\\' && in[1])
            in++;
        *out++ = *in;
    }
    *out = '\0';
    return !quoted;
}

/* ---- words of a pod or a container ---- */

struct wanted {
    const char *word;
    enum rt_list list;
    bool pair;    /* KEY=VALUE */
    bool foreign; /* of the pretended other plugin */
};

static const struct wanted wanted[] = {
    {"annotation", RT_ANNOTATIONS, true, false},
    {"env", RT_ENV, true, false},
    {"device", RT_DEVICES, false, false},
    {"cdi", RT_CDI, false, false},
    {"foreign-annotation", RT_ANNOTATIONS, true, true},
    {"foreign-env", RT_ENV, true, true},
    {"foreign-device", RT_DEVICES, false, true},
    {"foreign-cdi", RT_CDI, false, true},
    {"foreign-hook", RT_HOOKS, false, true},
};

static bool
add_wish(struct rt_op *op, const struct wanted *w, const char *text)
{
    struct rt_edits *x = w->foreign ? &op->foreign : &op->wish;
    _cleanup_free_ char *key = strdup(text);
    char *eq = key && w->pair ? strchr(key, '=') : NULL;
    struct err ignored = ERR_INIT;
    struct rt_item *i;

    if (!key || !*key || (w->pair && !eq))
        return false;
    if (eq)
        *eq++ = '\0';
    i = rt_edits_add(x, w->list, key, eq ? eq : "");
    if (i && w->foreign && w->list == RT_DEVICES)
        (void)rt_device_numbers(op->rt, key, i, &ignored);
    return i != NULL;
}

/* "annotation K=V" and "annotation=K=V" alike. */
static bool
take_wish(struct rt_op *op, const struct rt_line *l, size_t *at, bool container)
{
    const char *s = l->word[*at];

    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        size_t n = strlen(wanted[i].word);

        if (strncmp(s, wanted[i].word, n) != 0 || (s[n] != '\0' && s[n] != '='))
            continue;
        if (!container && (wanted[i].foreign || wanted[i].list != RT_ANNOTATIONS))
            return false;
        if (s[n] == '=')
            return add_wish(op, &wanted[i], s + n + 1);
        return ++*at < l->n && add_wish(op, &wanted[i], l->word[*at]);
    }
    return false;
}

/* ---- operations ---- */

static void
queue(struct rt_op *op, rt_call_fn act)
{
    rt_op_call(op, act, NULL);
    rt_op_queue(op);
}

static const char *usage_of(const char *command);

static void
refuse(struct rt_op *op, const struct rt_line *l)
{
    rt_answer(op->done, op->ctx, rt_error("usage: %s", usage_of(l->word[0])));
    rt_op_free(op);
}

static void
act_run_pod(struct rt_op *op, const struct rt_line *l)
{
    bool ok = l->n >= 4 && str_copy(op->pod_word, sizeof(op->pod_word), l->word[1]) &&
              str_copy(op->name, sizeof(op->name), l->word[2]) &&
              str_copy(op->handler, sizeof(op->handler), l->word[3]);

    for (size_t i = 4; ok && i < l->n; i++) {
        if (strcmp(l->word[i], "kata") == 0)
            op->with_vmm = true;
        else if (strcmp(l->word[i], "confidential") == 0)
            op->confidential = true;
        else
            ok = take_wish(op, l, &i, false);
    }
    if (ok)
        queue(op, rt_act_run_pod);
    else
        refuse(op, l);
}

static void
act_create(struct rt_op *op, const struct rt_line *l)
{
    bool ok = l->n >= 3 && str_copy(op->pod_word, sizeof(op->pod_word), l->word[1]) &&
              str_copy(op->name, sizeof(op->name), l->word[2]);

    for (size_t i = 3; ok && i < l->n; i++)
        ok = take_wish(op, l, &i, true);
    if (ok)
        queue(op, rt_act_create);
    else
        refuse(op, l);
}

/* POD, and NAME where `words` is 3; a last word "keep-vmm" where it is said. */
static void
act_plain(struct rt_op *op, const struct rt_line *l, size_t words, rt_call_fn act)
{
    bool keep =
        act == rt_act_stop_pod && l->n == words + 1 && strcmp(l->word[words], "keep-vmm") == 0;

    op->keep_vmm = keep;
    if (l->n < words || (l->n != words && !keep) ||
        !str_copy(op->pod_word, sizeof(op->pod_word), l->word[1]) ||
        (words > 2 && !str_copy(op->name, sizeof(op->name), l->word[2])))
        refuse(op, l);
    else
        queue(op, act);
}

static bool
go_down(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    rt_down(op->rt, op->keep_socket);
    return true;
}

static bool
go_up(struct rt_op *op, struct rt_container *c)
{
    struct err e = ERR_INIT;

    (void)c;
    if (op->rt->up) {
        rt_op_fail(op, "request", NULL, NULL, "the runtime is up");
        return false;
    }
    if (rt_up(op->rt, &e) < 0) {
        rt_op_fail(op, "start", NULL, NULL, "%s", e.msg);
        return false;
    }
    op->rt->restarts++;
    return true;
}

static void
act_life(struct rt_op *op, const struct rt_line *l, bool down, bool up)
{
    op->keep_socket = !up && l->n == 2 && strcmp(l->word[1], "stale") == 0;
    if (l->n != 1 && !op->keep_socket) {
        refuse(op, l);
        return;
    }
    if (down)
        rt_op_call(op, go_down, NULL);
    if (up)
        rt_op_call(op, go_up, NULL);
    rt_op_queue(op);
}

/* ---- at once ---- */

static void
cmd_hang(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    bool on = l->n == 2 && strcmp(l->word[1], "on") == 0;

    if (l->n != 2 || (!on && strcmp(l->word[1], "off") != 0)) {
        rt_answer(done, ctx, rt_error("hang on|off"));
        return;
    }
    rt_hang(rt, on);
    rt_answer(done, ctx, rt_ok());
}

static void
cmd_timeout(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    long request, registration = (long)(rt->opt.registration_usec / 1000);

    if (l->n < 2 || l->n > 3 || !rt_number(l->word[1], 86400000, &request) || request == 0 ||
        (l->n == 3 && !rt_number(l->word[2], 86400000, &registration)) || registration == 0) {
        rt_answer(done, ctx, rt_error("timeout REQUEST-MS [REGISTRATION-MS]"));
        return;
    }
    rt->opt.request_usec = (uint64_t)request * 1000;
    rt->opt.registration_usec = (uint64_t)registration * 1000;
    rt_answer(done, ctx, rt_ok());
}

/* ---- the table ---- */

static struct rt_op *
operation(struct sim_runtime *rt, sim_runtime_done done, void *ctx)
{
    struct rt_op *op = rt_op_new(rt, done, ctx);

    if (!op)
        rt_answer(done, ctx, rt_error("out of memory"));
    return op;
}

#define OPERATION(name, ...)                                                                       \
    static void cmd_##name(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done,       \
                           void *ctx)                                                              \
    {                                                                                              \
        struct rt_op *op = operation(rt, done, ctx);                                               \
                                                                                                   \
        if (op)                                                                                    \
            __VA_ARGS__;                                                                           \
    }
OPERATION(run_pod, act_run_pod(op, l))
OPERATION(create, act_create(op, l))
OPERATION(stop_container, act_plain(op, l, 3, rt_act_stop_container))
OPERATION(remove_container, act_plain(op, l, 3, rt_act_remove_container))
OPERATION(stop_pod, act_plain(op, l, 2, rt_act_stop_pod))
OPERATION(remove_pod, act_plain(op, l, 2, rt_act_remove_pod))
OPERATION(end_vmm, act_plain(op, l, 2, rt_act_end_vmm))
OPERATION(kill_vmm, act_plain(op, l, 2, rt_act_kill_vmm))
OPERATION(restart, act_life(op, l, true, true))
OPERATION(down, act_life(op, l, true, false))
OPERATION(up, act_life(op, l, false, true))

static void cmd_help(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx);

static const struct command {
    const char *name;
    rt_command_fn run;
    const char *help;
} commands[] = {
    {"run-pod", cmd_run_pod,
     "run-pod NS NAME HANDLER [kata] [confidential] [annotation KEY=VALUE]...: with kata a VM that "
     "opens the pod's devices first"},
    {"create-container", cmd_create,
     "create-container POD NAME [device=PATH] [cdi=NAME] [annotation=KEY=VALUE] [env=KEY=VALUE] "
     "[foreign-device=PATH] [foreign-hook=PATH] [foreign-cdi=NAME] [foreign-annotation=KEY=VALUE] "
     "[foreign-env=KEY=VALUE]...: and start it; foreign: what another plugin adds"},
    {"stop-container", cmd_stop_container, "stop-container POD NAME"},
    {"remove-container", cmd_remove_container, "remove-container POD NAME"},
    {"stop-pod", cmd_stop_pod, "stop-pod POD [keep-vmm]: its VM ends first, but for keep-vmm"},
    {"remove-pod", cmd_remove_pod, "remove-pod POD"},
    {"end-vmm", cmd_end_vmm, "end-vmm POD: its VM ends, nobody is told"},
    {"kill-vmm", cmd_kill_vmm, "kill-vmm POD: as end-vmm, by SIGKILL"},
    {"status", rt_cmd_status, "status: the runtime, its release of NRI, counts"},
    {"pods", rt_cmd_pods, "pods: all sandboxes with their containers and VMs"},
    {"plugins", rt_cmd_plugins, "plugins: subscriptions, calls, errors; the last ones that ended"},
    {"wait", rt_cmd_wait,
     "wait [plugins=N] [closed=N] [connects=N] [SECONDS]: until so many are ready, and at least so "
     "many have ended and connected"},
    {"restart", cmd_restart, "restart: down and up; pods stay"},
    {"down", cmd_down, "down [stale]: the runtime ends; stale: its socket's file stays"},
    {"up", cmd_up, "up: it starts"},
    {"hang", cmd_hang, "hang on|off: does nothing at all meanwhile, as if stopped"},
    {"timeout", cmd_timeout, "timeout REQUEST-MS [REGISTRATION-MS]: how long plugins may take"},
    {"help", cmd_help, "help"},
};

static const char *
usage_of(const char *command)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, command) == 0)
            return commands[i].help;
    return "";
}

static void
cmd_help(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    struct json_object *o = rt_ok(), *list = json_object_new_array();

    (void)rt;
    (void)l;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        json_object_array_add(list, json_object_new_string(commands[i].help));
    json_object_object_add(o, "commands", list);
    rt_answer(done, ctx, o);
}

void
sim_runtime_command(struct sim_runtime *rt, const char *line, sim_runtime_done done, void *ctx)
{
    struct rt_line *l = calloc(1, sizeof(*l));
    size_t i = 0;

    if (l)
        l->text = strdup(line);
    if (!l || !l->text || !split(l)) {
        rt_answer(done, ctx, rt_error("a quote is open, or there are too many words"));
    } else {
        while (i < ARRAY_SIZE(commands) && (l->n == 0 || strcmp(l->word[0], commands[i].name) != 0))
            i++;
        if (i < ARRAY_SIZE(commands))
            commands[i].run(rt, l, done, ctx);
        else
            rt_answer(done, ctx,
                      rt_error("unknown command \"%.64s\": try help", l->n ? l->word[0] : ""));
    }
    if (l)
        free(l->text);
    free(l);
}
