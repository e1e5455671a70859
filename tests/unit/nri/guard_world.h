/* SPDX-License-Identifier: Apache-2.0
 *
 * A node with five GPUs and one pod, for the guard's tests. As it is made, everything is in order:
 *
 *   MINE    0000:41:00.0  allocated to container team/train/main, the pod under test
 *   SECOND  0000:42:00.0  idle
 *   OTHERS  0000:61:00.0  another pod's, in use by its sandbox
 *   IDLE    0000:81:00.0  nobody's
 *   INIT    0000:a1:00.0  handed out, listed for nobody: some init container's
 */
#ifndef PGPU_TESTS_UNIT_NRI_GUARD_WORLD_H
#define PGPU_TESTS_UNIT_NRI_GUARD_WORLD_H

#include "base/cleanup.h"
#include "nri/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { MINE, SECOND, OTHERS, IDLE, INIT, DEVICES };

#define SNP "kata-qemu-nvidia-gpu-snp"
#define PLAIN "kata-qemu-nvidia-gpu"
#define OLD_SNP "kata-old-snp" /* may choose devices by annotation */
#define OLD_PLAIN "kata-old"
#define STRICT "kata-strict-snp" /* has a list of required annotations */
#define KIND "nvidia.com/pgpu"
#define INITDATA "io.katacontainers.config.hypervisor.cc_init_data"
#define AGENT_POLICY "io.katacontainers.config.agent.policy"

/* version 0.1.0, sha256, one file, no policy; and its digest */
extern const char initdata_plain[], initdata_plain_digest[];
/* the same with sha384 and a policy that allows no container at all */
extern const char initdata_policy[], initdata_policy_digest[];
/* agent policies in base64: every container, none */
extern const char policy_open[], policy_closed[];

#define LIST_MAX 96

struct world {
    struct guard_handler handlers[16];
    struct guard_policy policy;
    struct guard_device dev[DEVICES];
    struct guard_view view;
    struct nri_pod pod;
    struct nri_container c;
    struct nri_adjust adjust;
    struct nri_kv pod_kv[LIST_MAX], c_kv[LIST_MAX], adjust_kv[LIST_MAX], mounts[LIST_MAX];
    struct nri_device nodes[LIST_MAX], adjust_nodes[LIST_MAX];
    const char *cdi[LIST_MAX], *adjust_cdi[LIST_MAX];
    bool runtime_cdi;
    /* what came of it */
    struct guard_verdict v;
    struct guard_injection *inj;
};

void world_init(struct world *w); /* the container has the node of MINE */
void world_fini(struct world *w);

void pod_has(struct world *w, const char *key, const char *value);
void container_has(struct world *w, const char *key, const char *value);
void request_cdi(struct world *w, const char *name);
void request_node(struct world *w, const char *path, char type, int64_t major, int64_t minor);
void request_device(struct world *w, size_t device);
void request_nothing(struct world *w);
void list_for(struct world *w, size_t device, const char *ns, const char *pod, const char *ctr);
void give(struct world *w, size_t device);      /* to team/train/main, handed out */
void take_back(struct world *w, size_t device); /* no longer handed out, whoever is listed */

enum step { RUN, CREATE, VALIDATE };
void world_run(struct world *w, enum step step);

const struct guard_finding *finding_of(const struct world *w, enum guard_rule rule);
bool owns(const struct world *w, size_t device);

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                            \
    } while (0)

#endif
