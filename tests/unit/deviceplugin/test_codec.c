/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec and back-off.
 */
#include "deviceplugin/backoff.h"
#include "deviceplugin/codec.h"

#include "base/fs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
ids_are_checked(void **state)
{
    char id[DP_ID_MAX + 1];

    (void)state;
    assert_true(dp_id_valid("0000:41:00.0"));
    assert_true(dp_id_valid("x"));
    assert_false(dp_id_valid(""));
    assert_false(dp_id_valid("a b"));
    assert_false(dp_id_valid("a\nb"));
    assert_false(dp_id_valid("\x7f"));
    assert_false(dp_id_valid("\xc3\xa4"));
    memset(id, 'a', sizeof(id));
    id[DP_ID_MAX] = '\0';
    assert_false(dp_id_valid(id)); /* 64 */
    id[DP_ID_MAX - 1] = '\0';
    assert_true(dp_id_valid(id)); /* 63 */
}

static void
lists_are_encoded(void **state)
{
    struct dp_device dev[3] = {{"0000:41:00.0", true, 1}, {"0000:42:00.0", false, -1}};
    V1beta1__ListAndWatchResponse *m;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(dp_encode_list(dev, 2, &b, &e), 0);
    m = v1beta1__list_and_watch_response__unpack(NULL, b.len, b.data);
    assert_non_null(m);
    assert_int_equal(m->n_devices, 2);
    assert_string_equal(m->devices[0]->id, "0000:41:00.0");
    assert_string_equal(m->devices[0]->health, "Healthy");
    assert_int_equal(m->devices[0]->topology->nodes[0]->id, 1);
    assert_string_equal(m->devices[1]->health, "Unhealthy");
    assert_null(m->devices[1]->topology); /* -1 is not sent */
    v1beta1__list_and_watch_response__free_unpacked(m, NULL);
    buf_clear(&b);
    assert_int_equal(dp_encode_list(NULL, 0, &b, &e), 0);
    assert_int_equal(b.len, 0);
    /* refused: twice the same, an invalid ID */
    (void)str_copy(dev[1].id, sizeof(dev[1].id), "0000:41:00.0");
    assert_int_equal(dp_encode_list(dev, 2, &b, &e), -EINVAL);
    (void)str_copy(dev[1].id, sizeof(dev[1].id), "zz zz");
    assert_int_equal(dp_encode_list(dev, 2, &b, &e), -EINVAL);
    buf_fini(&b);
}

static void
options_ask_for_preferences_only(void **state)
{
    V1beta1__DevicePluginOptions *m;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 64);
    assert_int_equal(dp_encode_options(&b, &e), 0);
    m = v1beta1__device_plugin_options__unpack(NULL, b.len, b.data);
    assert_true(m->get_preferred_allocation_available);
    assert_false(m->pre_start_required);
    v1beta1__device_plugin_options__free_unpacked(m, NULL);
    buf_fini(&b);
}

static void
register_is_encoded(void **state)
{
    V1beta1__RegisterRequest *m;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(dp_encode_register("nvidia.com/pgpu", "pgpu-1-2.sock", &b, &e), 0);
    m = v1beta1__register_request__unpack(NULL, b.len, b.data);
    assert_string_equal(m->version, "v1beta1");
    assert_string_equal(m->endpoint, "pgpu-1-2.sock");
    assert_string_equal(m->resource_name, "nvidia.com/pgpu");
    assert_true(m->options->get_preferred_allocation_available);
    v1beta1__register_request__free_unpacked(m, NULL);
    buf_fini(&b);
}

static void
allocate_answers_are_encoded(void **state)
{
    struct dp_device_spec spec = {"/dev/vfio/devices/vfio3", "/dev/vfio/devices/vfio3", "mrw"};
    char cdi[1][256] = {"nvidia.com/pgpu=0000:41:00.0"};
    struct dp_container_response resp = {1, &spec, 1, cdi};
    V1beta1__ContainerAllocateResponse *c;
    V1beta1__AllocateResponse *m;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(dp_encode_allocate(&resp, 0, &b, &e), -EINVAL); /* would leak in kubelets */
    assert_int_equal(dp_encode_allocate(&resp, 1, &b, &e), 0);
    m = v1beta1__allocate_response__unpack(NULL, b.len, b.data);
    assert_int_equal(m->n_container_responses, 1);
    c = m->container_responses[0];
    assert_int_equal(c->n_devices, 1);
    assert_string_equal(c->devices[0]->host_path, "/dev/vfio/devices/vfio3");
    assert_string_equal(c->devices[0]->container_path, "/dev/vfio/devices/vfio3");
    assert_string_equal(c->devices[0]->permissions, "mrw");
    assert_int_equal(c->n_cdi_devices, 1);
    assert_string_equal(c->cdi_devices[0]->name, cdi[0]);
    assert_int_equal(c->n_envs + c->n_mounts + c->n_annotations, 0);
    v1beta1__allocate_response__free_unpacked(m, NULL);
    buf_fini(&b);
}

static void
parsing_is_bounded(void **state)
{
    struct dp_allocate_request q = {0};
    size_t len = 64 * 1024;
    uint8_t *data = calloc(1, len);
    struct err e = ERR_INIT;
    void *m;

    (void)state;
    for (size_t i = 0; i < len; i += 2)
        data[i] = 0x0a; /* empty container requests */
    m = dp_unpack(&v1beta1__allocate_request__descriptor, data, len, 16 * 1024);
    assert_null(m);
    m = dp_unpack(&v1beta1__allocate_request__descriptor, data, len, DP_PARSE_MAX);
    assert_non_null(m);
    dp_unpack_free(m);
    dp_unpack_free(NULL);
    assert_int_equal(dp_decode_allocate(data, len, &q, &e), -EINVAL);
    assert_null(q.msg);
    free(data);
}

/* No input may crash or leak; the sanitizers watch. */
static void
hostile_bytes_are_survived(void **state)
{
    static const uint8_t good[] = "\x0a\x1c\x0a\x0c"
                                  "0000:41:00.0"
                                  "\x0a\x0c"
                                  "0000:42:00.0";
    struct dp_allocate_request q = {0};
    struct dp_pod_table t = {0};
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint8_t b[sizeof(good) + 8];
        size_t len = sizeof(good) - 1;
        struct err e = ERR_INIT;

        memcpy(b, good, sizeof(good));
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 1664525 + 1013904223;
            b[(seed >> 8) % len] = (uint8_t)(seed >> 24);
        }
        len -= (seed >> 16) % 8;
        if (dp_decode_allocate(b, len, &q, &e) == 0) {
            assert_true(q.n > 0 && q.req[0].n_ids > 0 && dp_id_valid(q.req[0].ids[0]));
            dp_allocate_request_fini(&q);
        } else {
            assert_true(e.num > 0 && e.msg[0]);
        }
        err_clear(&e);
        if (dp_decode_pods(b, len, &t, &e) == 0)
            dp_pod_table_fini(&t);
    }
}

static void
pods_become_a_table(void **state)
{
    char ns[] = "ns", pod[] = "p", con[] = "c", res[] = "nvidia.com/pgpu", a[] = "a", b2[] = "b";
    char *ids[] = {a, b2};
    V1__ContainerDevices d, *ds[] = {&d};
    V1__ContainerResources c, *cs[] = {&c};
    V1__PodResources p, *ps[] = {&p};
    V1__ListPodResourcesResponse m = V1__LIST_POD_RESOURCES_RESPONSE__INIT;
    struct dp_pod_table t;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    v1__container_devices__init(&d);
    v1__container_resources__init(&c);
    v1__pod_resources__init(&p);
    d.resource_name = res;
    d.device_ids = ids;
    d.n_device_ids = 2;
    c.name = con;
    c.devices = ds;
    c.n_devices = 1;
    p.name = pod;
    p.namespace_ = ns;
    p.containers = cs;
    p.n_containers = 1;
    m.pod_resources = ps;
    m.n_pod_resources = 1;
    buf_init(&b, 4096);
    assert_int_equal(dp_pack(&m.base, &b, &e), 0);
    assert_int_equal(dp_decode_pods(b.data, b.len, &t, &e), 0);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.v[1].ns, "ns");
    assert_string_equal(t.v[1].pod, "p");
    assert_string_equal(t.v[1].container, "c");
    assert_string_equal(t.v[1].resource, "nvidia.com/pgpu");
    assert_string_equal(t.v[1].id, "b");
    dp_pod_table_fini(&t);
    buf_fini(&b);
}

static void
backoff_grows_with_jitter(void **state)
{
    struct backoff b = {.seed = 42}, other = {.seed = 43};
    uint64_t full = BACKOFF_MIN_USEC;
    bool differs = false;

    (void)state;
    for (int i = 0; i < 50; i++) {
        uint64_t v = backoff_next(&b);

        assert_in_range(v, full / 2, full);
        differs = differs || v != backoff_next(&other);
        full = full * 2 > BACKOFF_MAX_USEC ? BACKOFF_MAX_USEC : full * 2;
    }
    assert_true(differs);
    assert_int_equal(full, BACKOFF_MAX_USEC);
    backoff_reset(&b);
    assert_in_range(backoff_next(&b), BACKOFF_MIN_USEC / 2, BACKOFF_MIN_USEC);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_checked),
        cmocka_unit_test(lists_are_encoded),
        cmocka_unit_test(options_ask_for_preferences_only),
        cmocka_unit_test(register_is_encoded),
        cmocka_unit_test(allocate_answers_are_encoded),
        cmocka_unit_test(parsing_is_bounded),
        cmocka_unit_test(hostile_bytes_are_survived),
        cmocka_unit_test(pods_become_a_table),
        cmocka_unit_test(backoff_grows_with_jitter),
    };

    return cmocka_run_group_tests_name("deviceplugin.codec", tests, NULL, NULL);
}
