/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod brings for its guest: initdata, and the agent policy that is in it or in an annotation
 * of its own.
 */
#include "nri/guard_priv.h"

#include "nri/initdata.h"
#include "nri/policy.h"

#include <stdlib.h>
#include <string.h>

struct guard_guest {
    struct initdata *initdata; /* NULL: none, or it cannot be read */
    char *policy;              /* of the annotation; NULL: none, or it cannot be read */
    size_t policy_len;
    bool unreadable; /* some policy may be there, and nobody knows what it says */
    char digest[2 * INITDATA_DIGEST_MAX + 1];
    struct err fault; /* of the initdata */
};

static void
read_initdata(struct guard_guest *t, const char *value)
{
    static const char hex[] = "0123456789abcdef";

    if (initdata_parse(value, strlen(value), &t->initdata, &t->fault) < 0) {
        t->unreadable = true;
        return;
    }
    for (size_t i = 0; i < t->initdata->digest_len; i++) {
        t->digest[2 * i] = hex[t->initdata->digest[i] >> 4];
        t->digest[2 * i + 1] = hex[t->initdata->digest[i] & 0xf];
    }
}

struct guard_guest *
guard_guest_new(const struct nri_pod *pod)
{
    struct guard_guest *t = calloc(1, sizeof(*t));
    const char *value;
    struct err ignored = ERR_INIT;

    if (!t)
        return NULL;
    /* An empty value is what Kata's configuration has where there is none. */
    value = guard_annotation(pod, INITDATA_ANNOTATION);
    if (value && value[0])
        read_initdata(t, value);
    value = guard_annotation(pod, POLICY_ANNOTATION);
    if (value && value[0] &&
        policy_decode(value, strlen(value), &t->policy, &t->policy_len, &ignored) < 0)
        t->unreadable = true;
    return t;
}

void
guard_guest_free(struct guard_guest *t)
{
    if (!t)
        return;
    initdata_free(t->initdata);
    free(t->policy);
    free(t);
}

const char *
guard_guest_algorithm(const struct guard_guest *t)
{
    return t->initdata ? t->initdata->algorithm : "";
}

const char *
guard_guest_digest(const struct guard_guest *t)
{
    return t->digest;
}

const char *
guard_guest_fault(const struct guard_guest *t)
{
    return t->fault.num != 0 ? t->fault.msg : NULL;
}

bool
guard_guest_allows(const struct guard_guest *t, const char *key)
{
    const struct initdata *i = t->initdata;

    if (t->unreadable)
        return false;
    if (i && i->policy && !policy_allows_annotation(i->policy, i->policy_len, key))
        return false;
    return !t->policy || policy_allows_annotation(t->policy, t->policy_len, key);
}
