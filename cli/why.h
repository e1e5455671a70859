/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl why, in parts: what can be known of a device or pod (why_sources.c), put into words
 * (why_device.c, why_pod.c). One thread.
 */
#ifndef PGPU_CLI_WHY_H
#define PGPU_CLI_WHY_H

#include "base/buf.h"
#include "cli/cli.h"
#include "daemon/config.h"
#include "hwd/protocol.h"

#include <json-c/json.h>

enum why_kind { WHY_DEVICE, WHY_POD, WHY_SANDBOX };

struct why_target {
    enum why_kind kind;
    const char *word; /* as it was given */
    char device[24];  /* DEVICE: its full address */
    char ns[64];      /* POD: "" = any */
    const char *name; /* POD: name; SANDBOX: its ID or the beginning of it */
};

struct why_sources {
    const struct cli *c;
    struct config conf;
    json_object *status;   /* pgpud's; NULL: it does not answer */
    json_object *acts;     /* those that concern the target, the oldest first */
    json_object *refused;  /* the newest refused Allocates, of whichever pod */
    const char *acts_from; /* "audit log", "events", NULL: neither */
    char acts_why[ERR_MSG_MAX];
    json_object *journal;    /* array of the records of this boot that concern the target */
    struct hwd_facts *facts; /* NULL: not looked at */
    int n_facts;
};

struct why_answer {
    bool found;
    struct buf text;      /* one paragraph */
    struct buf todo;      /* what to do, "" = nothing */
    json_object *details; /* an object, for --json */
};

/* Looks everywhere; what is not there is left out. */
int why_gather(const struct cli *c, const char *config, const struct why_target *t,
               struct why_sources *ret);
void why_sources_fini(struct why_sources *s);
/* Facts of the hardware: of pgpu-hwd, else of the bus. */
void why_look_at_hardware(struct why_sources *s);

bool why_act_fits(const struct why_target *t, json_object *o);

void why_device(const struct why_sources *s, const struct why_target *t, struct why_answer *a);
void why_pod(const struct why_sources *s, const struct why_target *t, struct why_answer *a);

/* ---- words ---- */

/* "5 min" of milliseconds. */
const char *why_age(int64_t ms, char buf[32]);
/* The same since a time as acts have it; "" if it is none. */
const char *why_age_of(const char *time, char buf[32]);
/* Of pgpud's status. */
json_object *why_unit(const struct why_sources *s, const char *device);
/* The newest act of that kind, or NULL; `key`/`value` NULL: any. */
json_object *why_newest(json_object *acts, const char *kind, const char *key, const char *value);
/* Free and Healthy, and all that are listed, of pgpud's status. */
void why_count(const struct why_sources *s, unsigned *ret_free, unsigned *ret_listed);

#endif
