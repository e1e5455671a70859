/* SPDX-License-Identifier: Apache-2.0
 */
#include "guard_world.h"

const char initdata_plain[] =
    "H4sIAAAAAAACAytLLSrOzM9TsFVQMtAz1DNQ4krMSc8vyizJyAWJFWckGpmaKXFFpySWJMZyKSUm6pXk5+YogeQqgIRhT"
    "J4SFwD4KwUORAAAAA==";
const char initdata_plain_digest[] =
    "4196918ba40566422c213eecc6de30ed087bfe370f322199d25fb38b55831d79";
const char initdata_policy[] =
    "H4sIAAAAAAACAyXJQQrCQAxA0f2cIuQAQ0UXInTVG7i1IqFNp4Nj0mZSwdtrcfE3/73ZalaBFrCJh9hgoJLUss+v/dWZj"
    "ucThttITveAi5Y8fKJxUtx9oeFJieGX+OOvvYw80VYcOmNy7lScsrBded24OlxamKhU7gXDF7d8dNOAAAAA";
const char initdata_policy_digest[] = "d6f873a3d3cc694db0a0cb96736ccbf364cf9fb40a090c86e22673b1eaf4"
                                      "95a485004e37b3dd466cda0f5c787d088f0d";
const char policy_open[] = "cGFja2FnZSBhZ2VudF9wb2xpY3kKZGVmYXVsdCBDcmVhdGVDb250YWluZXJSZXF1ZXN0ID"
                           "o9IHRydWUK";
const char policy_closed[] = "cGFja2FnZSBhZ2VudF9wb2xpY3kKZGVmYXVsdCBDcmVhdGVDb250YWluZXJSZXF1ZXN0"
                             "IDo9IGZhbHNlCg==";

static const char *const kinds[] = {KIND, "nvidia.com/GH100"};
static const char *const required[] = {"example.com/iommu=on", "example.com/sized"};

static void
add_handlers(struct world *w)
{
    size_t n = 0;
    const struct guard_handler *builtin = guard_default_handlers(&n);
    const struct guard_handler extra[] = {
        {OLD_SNP, GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", true, 0, NULL},
        {OLD_PLAIN, GUARD_PLAIN, GUARD_TEE_NONE, "default", true, 0, NULL},
        {STRICT, GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", false, ARRAY_SIZE(required),
         required},
    };

    assert_true(n + ARRAY_SIZE(extra) <= ARRAY_SIZE(w->handlers));
    memcpy(w->handlers, builtin, n * sizeof(*builtin));
    memcpy(w->handlers + n, extra, sizeof(extra));
    w->policy.handlers = w->handlers;
    w->policy.n_handlers = n + ARRAY_SIZE(extra);
}

static void
add_devices(struct world *w)
{
    static const struct {
        const char *id, *node, *group_node;
        int group, numa;
    } hw[DEVICES] = {
        [MINE] = {"0000:41:00.0", "/dev/vfio/devices/vfio3", "/dev/vfio/17", 17, 0},
        [SECOND] = {"0000:42:00.0", "/dev/vfio/devices/vfio4", "/dev/vfio/18", 18, 1},
        [OTHERS] = {"0000:61:00.0", "/dev/vfio/devices/vfio5", "/dev/vfio/19", 19, 1},
        [IDLE] = {"0000:81:00.0", "/dev/vfio/devices/vfio6", "/dev/vfio/20", 20, -1},
        [INIT] = {"0000:a1:00.0", "/dev/vfio/devices/vfio7", "/dev/vfio/21", 21, 0},
    };

    for (size_t i = 0; i < DEVICES; i++)
        w->dev[i] = (struct guard_device){
            .id = hw[i].id,
            .kind = KIND,
            .node = hw[i].node,
            .group_node = hw[i].group_node,
            .major = 511,
            .minor = (int64_t)i + 3,
            .iommu_group = hw[i].group,
            .numa_node = hw[i].numa,
            .iommufd = true,
            .unverified = "it is not allocated",
            .mode = CC_MODE_ON,
            .meant = CC_MODE_ON,
            .ns = "",
            .pod = "",
            .container = "",
            .sandbox = "",
        };
    give(w, MINE);
    list_for(w, OTHERS, "rivals", "infer", "main");
    w->dev[OTHERS].handed = true;
    w->dev[OTHERS].unverified = NULL;
    w->dev[OTHERS].sandbox = "sandbox-of-rivals";
    w->dev[INIT].handed = true;
    w->dev[INIT].unverified = NULL;
}

void
world_init(struct world *w)
{
    *w = (struct world){
        .policy = {.inject = GUARD_INJECT_AUTO,
                   .wanted = CC_MODE_ON,
                   .n_kinds = ARRAY_SIZE(kinds),
                   .kinds = kinds},
        .view = {.list_ok = true, .list_why = "the kubelet does not answer"},
        .pod = {.id = "sandbox-1",
                .name = "train",
                .uid = "",
                .ns = "team",
                .handler = SNP,
                .annotations = w->pod_kv},
        .c = {.id = "c1",
              .pod_id = "sandbox-1",
              .name = "main",
              .annotations = w->c_kv,
              .cdi = w->cdi,
              .devices = w->nodes},
        .adjust = {.annotations = w->adjust_kv,
                   .devices = w->adjust_nodes,
                   .cdi = w->adjust_cdi,
                   .mounts = w->mounts},
    };
    w->policy.sets = guard_default_sets(&w->policy.n_sets);
    add_handlers(w);
    add_devices(w);
    w->view.policy = &w->policy;
    w->view.devices = w->dev;
    w->view.n_devices = DEVICES;
    request_device(w, MINE);
}

void
world_fini(struct world *w)
{
    guard_injection_free(w->inj);
    w->inj = NULL;
}

void
pod_has(struct world *w, const char *key, const char *value)
{
    w->pod_kv[w->pod.n_annotations++] = (struct nri_kv){key, value};
}

void
container_has(struct world *w, const char *key, const char *value)
{
    w->c_kv[w->c.n_annotations++] = (struct nri_kv){key, value};
}

void
request_cdi(struct world *w, const char *name)
{
    w->cdi[w->c.n_cdi++] = name;
}

void
request_node(struct world *w, const char *path, char type, int64_t major, int64_t minor)
{
    w->nodes[w->c.n_devices++] = (struct nri_device){path, type, major, minor};
}

void
request_device(struct world *w, size_t device)
{
    const struct guard_device *d = &w->dev[device];

    request_node(w, d->node, 'c', d->major, d->minor);
}

void
request_nothing(struct world *w)
{
    w->c.n_devices = w->c.n_cdi = w->c.n_annotations = 0;
}

void
list_for(struct world *w, size_t device, const char *ns, const char *pod, const char *ctr)
{
    w->dev[device].ns = ns;
    w->dev[device].pod = pod;
    w->dev[device].container = ctr;
}

void
give(struct world *w, size_t device)
{
    list_for(w, device, "team", "train", "main");
    w->dev[device].handed = true;
    w->dev[device].unverified = NULL;
}

void
take_back(struct world *w, size_t device)
{
    w->dev[device].handed = false;
    w->dev[device].unverified = "it is not allocated";
}

void
world_run(struct world *w, enum step step)
{
    struct err e = ERR_INIT;

    world_fini(w);
    memset(&w->v, 0xa5, sizeof(w->v)); /* a verdict owes nothing to what was there */
    if (step == RUN)
        guard_run_pod(&w->view, &w->pod, &w->v);
    else if (step == CREATE)
        assert_int_equal(
            guard_create_container(&w->view, &w->pod, &w->c, w->runtime_cdi, &w->v, &w->inj, &e),
            0);
    else
        assert_int_equal(
            guard_validate(&w->view, &w->pod, &w->c, &w->adjust, w->runtime_cdi, &w->v, &e), 0);
}

const struct guard_finding *
finding_of(const struct world *w, enum guard_rule rule)
{
    for (size_t i = 0; i < w->v.n; i++)
        if (w->v.v[i].rule == rule)
            return &w->v.v[i];
    return NULL;
}

bool
owns(const struct world *w, size_t device)
{
    for (size_t i = 0; i < w->v.n_own; i++)
        if (w->v.own[i] == device)
            return true;
    return false;
}
