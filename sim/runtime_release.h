/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: what differs between releases of NRI and of the runtimes.
 */
#ifndef PGPU_SIM_RUNTIME_RELEASE_H
#define PGPU_SIM_RUNTIME_RELEASE_H

#include <stdbool.h>
#include <stdint.h>

enum rt_event {
    RT_RUN_POD = 1,
    RT_STOP_POD,
    RT_REMOVE_POD,
    RT_CREATE,
    RT_POST_CREATE,
    RT_START,
    RT_POST_START,
    RT_UPDATE,
    RT_POST_UPDATE,
    RT_STOP,
    RT_REMOVE,
    RT_UPDATE_POD,
    RT_POST_UPDATE_POD,
    RT_VALIDATE,
    RT_EVENTS
};
const char *rt_event_name(enum rt_event ev); /* the method: "RunPodSandbox" */

/* A release of containerd/nri, as far as the wire and its plugins see it. */
struct rt_release {
    const char *name;       /* "0.12" */
    uint32_t events;        /* bits of a subscription that it knows */
    bool timeouts;          /* Configure tells the time-outs */
    bool split;             /* Synchronize in parts */
    bool cdi;               /* knows ContainerAdjustment.CDI_devices */
    bool skips_bad;         /* a launched plugin that fails is skipped; else NRI does not start */
    bool validates;         /* ValidateContainerAdjustment */
    bool dedicated;         /* own methods for all events; else most are StateChange */
    bool checks_name;       /* characters of a plugin's name */
    const char *as_version; /* ConfigureRequest.NRI_version; NULL: not sent */
};

/* NULL for an unknown name: "0.6" to "0.12", patch level or not. */
const struct rt_release *rt_release_of(const char *name);
/* Which release a runtime was built with (its go.mod); NULL when not known. */
const struct rt_release *rt_release_of_runtime(const char *runtime, const char *version);
/* Is the event a method of its own in that release? */
bool rt_release_has(const struct rt_release *r, enum rt_event ev);

/* What becomes of CDI devices that a plugin asks for. */
enum rt_cdi {
    RT_CDI_DROPS, /* dropped in silence */
    RT_CDI_IF_ENABLED /* injected; an error where CDI is switched off */,
    RT_CDI_INJECTS, /* injected always */
};

struct rt_traits {
    enum rt_cdi cdi;
    bool cdi_on;    /* default of CDI for what the kubelet asks for */
    bool tells_cdi; /* fills Container.CDI_devices */
    bool crio;
};
/* -1 for a runtime or version that is not understood. */
int rt_traits_of(const char *runtime, const char *version, struct rt_traits *ret);

#endif
