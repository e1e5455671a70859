/* SPDX-License-Identifier: Apache-2.0
 *
 * Our .proto files against upstream's names, numbers and types (Kubernetes 1.36:
 * k8s.io/kubelet/pkg/apis/{deviceplugin/v1beta1,podresources/v1,pluginregistration/v1}/api.proto).
 * The table is written out by hand, apart from our files.
 */
#include "proto/deviceplugin.pb-c.h"
#include "proto/pluginregistration.pb-c.h"
#include "proto/podresources.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum kind { STR, BOOL, I32, I64, U64, MSG };

struct field {
    unsigned number;
    const char *name;
    enum kind kind;
    bool repeated;
    const char *type; /* of MSG: the full name */
};

#define FIELDS_MAX 6
struct message {
    const ProtobufCMessageDescriptor *d;
    const char *name;
    struct field f[FIELDS_MAX];
};

static const struct message table[] = {
    {&v1beta1__empty__descriptor, "v1beta1.Empty", {{0, NULL, STR, false, NULL}}},
    {&v1beta1__device_plugin_options__descriptor,
     "v1beta1.DevicePluginOptions",
     {{1, "pre_start_required", BOOL, false, NULL},
      {2, "get_preferred_allocation_available", BOOL, false, NULL}}},
    {&v1beta1__register_request__descriptor,
     "v1beta1.RegisterRequest",
     {{1, "version", STR, false, NULL},
      {2, "endpoint", STR, false, NULL},
      {3, "resource_name", STR, false, NULL},
      {4, "options", MSG, false, "v1beta1.DevicePluginOptions"}}},
    {&v1beta1__list_and_watch_response__descriptor,
     "v1beta1.ListAndWatchResponse",
     {{1, "devices", MSG, true, "v1beta1.Device"}}},
    {&v1beta1__device__descriptor,
     "v1beta1.Device",
     {{1, "ID", STR, false, NULL},
      {2, "health", STR, false, NULL},
      {3, "topology", MSG, false, "v1beta1.TopologyInfo"}}},
    {&v1beta1__topology_info__descriptor,
     "v1beta1.TopologyInfo",
     {{1, "nodes", MSG, true, "v1beta1.NUMANode"}}},
    {&v1beta1__numanode__descriptor, "v1beta1.NUMANode", {{1, "ID", I64, false, NULL}}},
    {&v1beta1__pre_start_container_request__descriptor,
     "v1beta1.PreStartContainerRequest",
     {{1, "devices_ids", STR, true, NULL}}},
    {&v1beta1__pre_start_container_response__descriptor,
     "v1beta1.PreStartContainerResponse",
     {{0, NULL, STR, false, NULL}}},
    {&v1beta1__preferred_allocation_request__descriptor,
     "v1beta1.PreferredAllocationRequest",
     {{1, "container_requests", MSG, true, "v1beta1.ContainerPreferredAllocationRequest"}}},
    {&v1beta1__container_preferred_allocation_request__descriptor,
     "v1beta1.ContainerPreferredAllocationRequest",
     {{1, "available_deviceIDs", STR, true, NULL},
      {2, "must_include_deviceIDs", STR, true, NULL},
      {3, "allocation_size", I32, false, NULL}}},
    {&v1beta1__preferred_allocation_response__descriptor,
     "v1beta1.PreferredAllocationResponse",
     {{1, "container_responses", MSG, true, "v1beta1.ContainerPreferredAllocationResponse"}}},
    {&v1beta1__container_preferred_allocation_response__descriptor,
     "v1beta1.ContainerPreferredAllocationResponse",
     {{1, "deviceIDs", STR, true, NULL}}},
    {&v1beta1__allocate_request__descriptor,
     "v1beta1.AllocateRequest",
     {{1, "container_requests", MSG, true, "v1beta1.ContainerAllocateRequest"}}},
    {&v1beta1__container_allocate_request__descriptor,
     "v1beta1.ContainerAllocateRequest",
     {{1, "devices_ids", STR, true, NULL}}},
    {&v1beta1__allocate_response__descriptor,
     "v1beta1.AllocateResponse",
     {{1, "container_responses", MSG, true, "v1beta1.ContainerAllocateResponse"}}},
    {&v1beta1__container_allocate_response__descriptor,
     "v1beta1.ContainerAllocateResponse",
     {{1, "envs", MSG, true, "v1beta1.ContainerAllocateResponse.EnvsEntry"},
      {2, "mounts", MSG, true, "v1beta1.Mount"},
      {3, "devices", MSG, true, "v1beta1.DeviceSpec"},
      {4, "annotations", MSG, true, "v1beta1.ContainerAllocateResponse.AnnotationsEntry"},
      {5, "cdi_devices", MSG, true, "v1beta1.CDIDevice"}}},
    {&v1beta1__container_allocate_response__envs_entry__descriptor,
     "v1beta1.ContainerAllocateResponse.EnvsEntry",
     {{1, "key", STR, false, NULL}, {2, "value", STR, false, NULL}}},
    {&v1beta1__container_allocate_response__annotations_entry__descriptor,
     "v1beta1.ContainerAllocateResponse.AnnotationsEntry",
     {{1, "key", STR, false, NULL}, {2, "value", STR, false, NULL}}},
    {&v1beta1__mount__descriptor,
     "v1beta1.Mount",
     {{1, "container_path", STR, false, NULL},
      {2, "host_path", STR, false, NULL},
      {3, "read_only", BOOL, false, NULL}}},
    {&v1beta1__device_spec__descriptor,
     "v1beta1.DeviceSpec",
     {{1, "container_path", STR, false, NULL},
      {2, "host_path", STR, false, NULL},
      {3, "permissions", STR, false, NULL}}},
    {&v1beta1__cdidevice__descriptor, "v1beta1.CDIDevice", {{1, "name", STR, false, NULL}}},

    {&v1__list_pod_resources_request__descriptor,
     "v1.ListPodResourcesRequest",
     {{0, NULL, STR, false, NULL}}},
    {&v1__list_pod_resources_response__descriptor,
     "v1.ListPodResourcesResponse",
     {{1, "pod_resources", MSG, true, "v1.PodResources"}}},
    {&v1__pod_resources__descriptor,
     "v1.PodResources",
     {{1, "name", STR, false, NULL},
      {2, "namespace", STR, false, NULL},
      {3, "containers", MSG, true, "v1.ContainerResources"},
      {4, "cpu_ids", I64, true, NULL},
      {5, "memory", MSG, true, "v1.ContainerMemory"}}},
    {&v1__container_resources__descriptor,
     "v1.ContainerResources",
     {{1, "name", STR, false, NULL},
      {2, "devices", MSG, true, "v1.ContainerDevices"},
      {3, "cpu_ids", I64, true, NULL},
      {4, "memory", MSG, true, "v1.ContainerMemory"},
      {5, "dynamic_resources", MSG, true, "v1.DynamicResource"}}},
    {&v1__container_devices__descriptor,
     "v1.ContainerDevices",
     {{1, "resource_name", STR, false, NULL},
      {2, "device_ids", STR, true, NULL},
      {3, "topology", MSG, false, "v1.TopologyInfo"}}},
    {&v1__container_memory__descriptor,
     "v1.ContainerMemory",
     {{1, "memory_type", STR, false, NULL},
      {2, "size", U64, false, NULL},
      {3, "topology", MSG, false, "v1.TopologyInfo"}}},
    {&v1__topology_info__descriptor, "v1.TopologyInfo", {{1, "nodes", MSG, true, "v1.NUMANode"}}},
    {&v1__numanode__descriptor, "v1.NUMANode", {{1, "ID", I64, false, NULL}}},
    {&v1__dynamic_resource__descriptor,
     "v1.DynamicResource",
     {{2, "claim_name", STR, false, NULL},
      {3, "claim_namespace", STR, false, NULL},
      {4, "claim_resources", MSG, true, "v1.ClaimResource"}}},
    {&v1__claim_resource__descriptor,
     "v1.ClaimResource",
     {{1, "cdi_devices", MSG, true, "v1.CDIDevice"},
      {2, "driver_name", STR, false, NULL},
      {3, "pool_name", STR, false, NULL},
      {4, "device_name", STR, false, NULL},
      {5, "share_id", STR, false, NULL}}},
    {&v1__cdidevice__descriptor, "v1.CDIDevice", {{1, "name", STR, false, NULL}}},
    {&v1__allocatable_resources_request__descriptor,
     "v1.AllocatableResourcesRequest",
     {{0, NULL, STR, false, NULL}}},
    {&v1__allocatable_resources_response__descriptor,
     "v1.AllocatableResourcesResponse",
     {{1, "devices", MSG, true, "v1.ContainerDevices"},
      {2, "cpu_ids", I64, true, NULL},
      {3, "memory", MSG, true, "v1.ContainerMemory"}}},
    {&v1__get_pod_resources_request__descriptor,
     "v1.GetPodResourcesRequest",
     {{1, "pod_name", STR, false, NULL}, {2, "pod_namespace", STR, false, NULL}}},
    {&v1__get_pod_resources_response__descriptor,
     "v1.GetPodResourcesResponse",
     {{1, "pod_resources", MSG, false, "v1.PodResources"}}},

    {&pluginregistration__info_request__descriptor,
     "pluginregistration.InfoRequest",
     {{0, NULL, STR, false, NULL}}},
    {&pluginregistration__plugin_info__descriptor,
     "pluginregistration.PluginInfo",
     {{1, "type", STR, false, NULL},
      {2, "name", STR, false, NULL},
      {3, "endpoint", STR, false, NULL},
      {4, "supported_versions", STR, true, NULL}}},
    {&pluginregistration__registration_status__descriptor,
     "pluginregistration.RegistrationStatus",
     {{1, "plugin_registered", BOOL, false, NULL}, {2, "error", STR, false, NULL}}},
    {&pluginregistration__registration_status_response__descriptor,
     "pluginregistration.RegistrationStatusResponse",
     {{0, NULL, STR, false, NULL}}},
};

static ProtobufCType
type_of(enum kind k)
{
    switch (k) {
    case STR:
        return PROTOBUF_C_TYPE_STRING;
    case BOOL:
        return PROTOBUF_C_TYPE_BOOL;
    case I32:
        return PROTOBUF_C_TYPE_INT32;
    case I64:
        return PROTOBUF_C_TYPE_INT64;
    case U64:
        return PROTOBUF_C_TYPE_UINT64;
    case MSG:
        break;
    }
    return PROTOBUF_C_TYPE_MESSAGE;
}

static void
check_field(const struct message *m, const struct field *f)
{
    const ProtobufCFieldDescriptor *d =
        protobuf_c_message_descriptor_get_field(m->d, (unsigned)f->number);

    if (!d)
        fail_msg("%s has no field %u", m->name, f->number);
    if (strcmp(d->name, f->name) != 0 || d->type != type_of(f->kind) ||
        (d->label == PROTOBUF_C_LABEL_REPEATED) != f->repeated)
        fail_msg("%s field %u: %s differs from upstream's %s", m->name, f->number, d->name,
                 f->name);
    if (f->kind == MSG) {
        const ProtobufCMessageDescriptor *sub = d->descriptor;

        assert_string_equal(sub->name, f->type);
    }
}

static void
names_numbers_and_types_are_upstreams(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        unsigned n = 0;

        assert_string_equal(table[i].d->name, table[i].name);
        while (n < FIELDS_MAX && table[i].f[n].name)
            check_field(&table[i], &table[i].f[n++]);
        if (table[i].d->n_fields != n)
            fail_msg("%s has %u fields, upstream %u", table[i].name, table[i].d->n_fields, n);
    }
}

/* One message on the wire, byte for byte as grpc-go's encoder writes it. */
static void
wire_bytes_are_upstreams(void **state)
{
    static const uint8_t want[] = "\x0a\x1b\x0a\x0c"
                                  "0000:41:00.0"
                                  "\x12\x07"
                                  "Healthy"
                                  "\x1a\x02\x0a\x00";
    V1beta1__ListAndWatchResponse m = V1BETA1__LIST_AND_WATCH_RESPONSE__INIT;
    V1beta1__TopologyInfo topo = V1BETA1__TOPOLOGY_INFO__INIT;
    V1beta1__NUMANode node = V1BETA1__NUMANODE__INIT, *nodes[] = {&node};
    V1beta1__Device dev, *list[] = {&dev};
    char id[] = "0000:41:00.0", health[] = "Healthy";
    uint8_t got[64];

    (void)state;
    v1beta1__device__init(&dev);
    dev.id = id;
    dev.health = health;
    topo.nodes = nodes;
    topo.n_nodes = 1;
    dev.topology = &topo; /* node 0: an empty submessage */
    m.devices = list;
    m.n_devices = 1;
    assert_int_equal(v1beta1__list_and_watch_response__get_packed_size(&m), sizeof(want) - 1);
    (void)v1beta1__list_and_watch_response__pack(&m, got);
    assert_memory_equal(got, want, sizeof(want) - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_numbers_and_types_are_upstreams),
        cmocka_unit_test(wire_bytes_are_upstreams),
    };

    return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
