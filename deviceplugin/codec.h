/* SPDX-License-Identifier: Apache-2.0
 *
 * Between protobuf bytes and the structs of deviceplugin/dp.h, with every bound in one place. No
 * state. What comes in is hostile: memory is limited while parsing, and IDs are checked before
 * anybody sees them.
 */
#ifndef PGPU_DEVICEPLUGIN_CODEC_H
#define PGPU_DEVICEPLUGIN_CODEC_H

#include "base/buf.h"
#include "base/err.h"
#include "deviceplugin/dp.h"
#include "proto/deviceplugin.pb-c.h"
#include "proto/podresources.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Methods, as they stand on the wire (kubelet 1.36). */
#define DP_RPC_REGISTER "/v1beta1.Registration/Register"
#define DP_RPC_OPTIONS "/v1beta1.DevicePlugin/GetDevicePluginOptions"
#define DP_RPC_LIST_AND_WATCH "/v1beta1.DevicePlugin/ListAndWatch"
#define DP_RPC_PREFERRED "/v1beta1.DevicePlugin/GetPreferredAllocation"
#define DP_RPC_ALLOCATE "/v1beta1.DevicePlugin/Allocate"
#define DP_RPC_PRE_START "/v1beta1.DevicePlugin/PreStartContainer"
#define DP_RPC_PODS_LIST "/v1.PodResourcesLister/List"
#define DP_RPC_PODS_GET "/v1.PodResourcesLister/Get"
#define DP_RPC_PODS_ALLOCATABLE "/v1.PodResourcesLister/GetAllocatableResources"

#define DP_API_VERSION "v1beta1"
#define DP_HEALTHY "Healthy"
#define DP_UNHEALTHY "Unhealthy"

/* Container requests in one Allocate. Kubelets send one. */
#define DP_CONTAINERS_MAX 16
/* Memory that parsing one message may take: requests, and the pods of a node. */
#define DP_PARSE_MAX ((size_t)8 << 20)
#define DP_PARSE_PODS_MAX ((size_t)64 << 20)
/* The largest PodResources answer taken; Kata's limit as well. */
#define DP_PODS_MESSAGE_MAX ((size_t)16 << 20)

/* 1 to 63 printable ASCII characters without space. */
bool dp_id_valid(const char *id);

/* protobuf-c's unpack with a limit on the memory it takes; NULL for malformed or too much. Free
 * with dp_unpack_free. */
ProtobufCMessage *dp_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t len,
                            size_t max);
void dp_unpack_free(void *msg); /* a message from dp_unpack, or NULL */

/* Appends the packed message. */
int dp_pack(const ProtobufCMessage *m, struct buf *out, struct err *e);

/* A checked AllocateRequest; the strings point into `msg`. */
struct dp_allocate_request {
    V1beta1__AllocateRequest *msg;
    size_t n;
    struct dp_container_request req[DP_CONTAINERS_MAX];
};
int dp_decode_allocate(const uint8_t *data, size_t len, struct dp_allocate_request *ret,
                       struct err *e);
void dp_allocate_request_fini(struct dp_allocate_request *r);

int dp_encode_allocate(const struct dp_container_response *resp, size_t n, struct buf *out,
                       struct err *e);

/* ListAndWatchResponse. Refuses invalid and duplicate IDs; `dev` must be sorted by ID. */
int dp_encode_list(const struct dp_device *dev, size_t n, struct buf *out, struct err *e);

int dp_encode_register(const char *resource, const char *endpoint, struct buf *out, struct err *e);
int dp_encode_options(struct buf *out, struct err *e);

/* ListPodResourcesResponse as a flat table; strings point into `msg`. */
struct dp_pod_table {
    V1__ListPodResourcesResponse *msg;
    size_t n;
    struct dp_pod_device *v;
};
int dp_decode_pods(const uint8_t *data, size_t len, struct dp_pod_table *ret, struct err *e);
void dp_pod_table_fini(struct dp_pod_table *t);

#endif
