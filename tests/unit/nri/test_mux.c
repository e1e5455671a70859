/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames: what is sent, and that any fragmentation is taken.
 */
#include "nri/mux.h"
#include "nri/runtimes.h"
#include "nri/utf8.h"

#include "nri/launch.h"
#include "nri/nri.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct streams {
    struct buf in, plugin, runtime;
};

static void
streams_init(struct streams *s)
{
    buf_init(&s->in, MUX_HEADER + MUX_PAYLOAD_MAX + 65536);
    buf_init(&s->plugin, 2 * MUX_PAYLOAD_MAX);
    buf_init(&s->runtime, 2 * MUX_PAYLOAD_MAX);
}

static void
streams_fini(struct streams *s)
{
    buf_fini(&s->in);
    buf_fini(&s->plugin);
    buf_fini(&s->runtime);
}

static int
take(struct streams *s, struct err *e)
{
    return mux_take(&s->in, &s->plugin, &s->runtime, e);
}

static uint8_t *
pattern(size_t n)
{
    uint8_t *p = malloc(n + 1);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 251);
    return p;
}

/* Go's peer reads with 4096 bytes first and then the whole rest: the frames must be so. */
static void
frames_are_those_that_go_sends(void **state)
{
    static const struct {
        size_t len, first, second;
    } table[] = {
        {1, 1, 0},
        {10, 10, 0},
        {4095, 4095, 0},
        {4096, 4096, 0},
        {4097, 4096, 1},
        {5050, 4096, 954},
        {8192, 4096, 4096},
        {8193, 4096, 4097},
        {2000000, 4096, 1995904},
        {MUX_PAYLOAD_MAX - 1, 4096, MUX_PAYLOAD_MAX - 4097},
        {MUX_PAYLOAD_MAX, 4096, MUX_PAYLOAD_MAX - 4096},
    };
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        uint8_t *p = pattern(table[i].len);
        uint32_t id = 0, len = 0;
        struct buf out;

        buf_init(&out, 8u << 20);
        assert_int_equal(mux_put(&out, MUX_RUNTIME, p, table[i].len, &e), 0);
        assert_true(buf_get_be32(&out, &id) && buf_get_be32(&out, &len));
        assert_int_equal(id, 2);
        assert_int_equal(len, table[i].first);
        assert_memory_equal(buf_peek(&out), p, len);
        assert_true(buf_skip(&out, len));
        if (table[i].second > 0) {
            assert_true(buf_get_be32(&out, &id) && buf_get_be32(&out, &len));
            assert_int_equal(id, 2);
            assert_int_equal(len, table[i].second);
            assert_memory_equal(buf_peek(&out), p + table[i].first, len);
            assert_true(buf_skip(&out, len));
        }
        assert_int_equal(buf_left(&out), 0);
        buf_fini(&out);
        free(p);
    }
}

static void
what_does_not_fit_leaves_the_output_as_it_was(void **state)
{
    struct err e = ERR_INIT;
    uint8_t *p = pattern(MUX_PAYLOAD_MAX + 1);
    struct buf out;

    (void)state;
    buf_init(&out, 5000);
    assert_int_equal(mux_put(&out, MUX_PLUGIN, p, 100, &e), 0);
    assert_true(mux_put(&out, MUX_PLUGIN, p, MUX_PAYLOAD_MAX + 1, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    assert_true(mux_put(&out, MUX_PLUGIN, p, 0, &e) < 0);
    assert_true(mux_put(&out, MUX_PLUGIN, p, 4885, &e) < 0); /* one byte too many */
    assert_int_equal(e.cls, ERR_CLASS_FATAL);
    assert_int_equal(out.len, 108);
    assert_false(buf_failed(&out));
    assert_int_equal(mux_put(&out, MUX_PLUGIN, p, 4096, &e), 0);
    assert_int_equal(mux_put(&out, MUX_PLUGIN, p, 4096, &e) < 0, 1);
    buf_fini(&out);
    free(p);
}

static void
every_fragmentation_gives_the_same_streams(void **state)
{
    static const uint8_t wire[] = {
        0, 0, 0, 1, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0,   0,   2, 0, 0, 0, 1, 'x', 0, 0, 0,   1,
        0, 0, 0, 0, 0, 0, 0, 9, 0,   0,   0,   2, '?', '?', 0, 0, 0, 1, 0, 0,   0, 2, 'd', 'e',
    };
    struct err e = ERR_INIT;

    (void)state;
    for (size_t a = 0; a <= sizeof(wire); a++)
        for (size_t b = a; b <= sizeof(wire); b++) {
            const size_t cut[4] = {0, a, b, sizeof(wire)};
            struct streams s;

            streams_init(&s);
            for (int i = 0; i < 3; i++) {
                assert_true(buf_put(&s.in, wire + cut[i], cut[i + 1] - cut[i]));
                assert_int_equal(take(&s, &e), 0);
                assert_int_equal(s.in.off, 0); /* compacted */
            }
            assert_int_equal(s.in.len, 0);
            assert_int_equal(s.plugin.len, 5);
            assert_memory_equal(s.plugin.data, "abcde", 5);
            assert_int_equal(s.runtime.len, 1);
            assert_memory_equal(s.runtime.data, "x", 1);
            streams_fini(&s);
        }
}

static void
what_is_put_is_taken_at_every_size(void **state)
{
    static const size_t sizes[] = {1, 4095, 4096, 4097, 65536, 1u << 20, MUX_PAYLOAD_MAX};
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint8_t *p = pattern(sizes[i]);
        struct streams s;
        struct buf out;

        streams_init(&s);
        buf_init(&out, 8u << 20);
        assert_int_equal(mux_put(&out, MUX_PLUGIN, p, sizes[i], &e), 0);
        while (buf_left(&out) > 0) {
            size_t n = buf_left(&out) < 60000 ? buf_left(&out) : 60000;

            assert_true(buf_put(&s.in, buf_peek(&out), n));
            assert_true(buf_skip(&out, n));
            assert_int_equal(take(&s, &e), 0);
        }
        assert_int_equal(s.plugin.len, sizes[i]);
        assert_memory_equal(s.plugin.data, p, sizes[i]);
        streams_fini(&s);
        buf_fini(&out);
        free(p);
    }
}

static void
too_large_a_frame_and_too_full_a_stream_are_errors(void **state)
{
    static const uint8_t large[] = {0, 0, 0, 9, 0, 0x40, 0, 0x0b};
    static const uint8_t small[] = {0, 0, 0, 1, 0, 0, 0, 4, 'a', 'b', 'c', 'd'};
    struct err e = ERR_INIT;
    struct streams s;

    (void)state;
    streams_init(&s);
    assert_true(buf_put(&s.in, large, 7));
    assert_int_equal(take(&s, &e), 0);
    assert_true(buf_put(&s.in, large + 7, 1));
    assert_true(take(&s, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    streams_fini(&s);

    streams_init(&s);
    buf_fini(&s.plugin);
    buf_init(&s.plugin, 7);
    assert_true(buf_put(&s.in, small, sizeof(small)));
    assert_int_equal(take(&s, &e), 0);
    assert_true(buf_put(&s.in, small, sizeof(small)));
    assert_true(take(&s, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    streams_fini(&s);
}

/* ---- text, names, versions ---- */

static void
utf8_is_known_from_other_bytes(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x41",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xe1\x80",
                                      "\xe1\x80\x41",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf1\x80\x80",
                                      "\xff"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
}

static void
text_becomes_one_clean_line(void **state)
{
    char out[8];

    (void)state;
    utf8_line(out, sizeof(out), "a\nb\xff\x7f");
    assert_string_equal(out, "a b? ");
    utf8_line(out, sizeof(out), "123456\xc3\xa4");
    assert_string_equal(out, "123456"); /* a character is not cut */
    utf8_line(out, sizeof(out), "12345\xc3\xa4");
    assert_string_equal(out, "12345\xc3\xa4");
    utf8_line(out, 1, "x");
    assert_string_equal(out, "");
    utf8_line(out, sizeof(out), "\xc3");
    assert_string_equal(out, "?");
}

static void
it_is_known_who_injects_cdi_devices(void **state)
{
    static const struct {
        const char *name, *version;
        bool yes;
    } table[] = {
        {"containerd", "1.7.24~ds1", false},
        {"containerd", "v1.7.29", false},
        {"containerd", "v1.7.30", true},
        {"containerd", "1.7.34", true},
        {"containerd", "v2.0.0", false},
        {"containerd", "v2.0.11", false},
        {"containerd", "2.1.0", true},
        {"containerd", "2.1.0-rc.1", false},
        {"containerd", "2.1.0~rc1", false},
        {"containerd", "2.1.1-rc.0", true},
        {"containerd", "v2.4.0-beta.0", true},
        {"containerd", "v2.1.4-k3s1", true},
        {"containerd", "3.0", true},
        {"cri-o", "1.33.9", false},
        {"cri-o", "1.34.0", true},
        {"cri-o", "1.36.0-dev", true},
        {"other", "9.9.9", false},
        {"containerd", "", false},
        {"containerd", "v", false},
        {"containerd", "2", false},
        {"containerd", "99999999999999999999.1.1", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (nri_runtime_injects_cdi(table[i].name, table[i].version) != table[i].yes)
            fail_msg("%s %s", table[i].name, table[i].version);
}

static void
names_and_indexes_follow_the_rules(void **state)
{
    char name[LAUNCH_NAME_MAX + 1];

    (void)state;
    assert_true(nri_name_valid("pgpu"));
    assert_true(nri_name_valid("Ab.1_+-"));
    assert_false(nri_name_valid(""));
    assert_false(nri_name_valid("a/b"));
    assert_false(nri_name_valid("\xc3\xa4"));
    memset(name, 'a', sizeof(name));
    name[LAUNCH_NAME_MAX] = '\0';
    assert_false(nri_name_valid(name));
    name[LAUNCH_NAME_MAX - 1] = '\0';
    assert_true(nri_name_valid(name));
    assert_true(nri_index_valid("00"));
    assert_false(nri_index_valid("0"));
    assert_false(nri_index_valid("000"));
    assert_false(nri_index_valid("x0"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_those_that_go_sends),
        cmocka_unit_test(what_does_not_fit_leaves_the_output_as_it_was),
        cmocka_unit_test(every_fragmentation_gives_the_same_streams),
        cmocka_unit_test(what_is_put_is_taken_at_every_size),
        cmocka_unit_test(too_large_a_frame_and_too_full_a_stream_are_errors),
        cmocka_unit_test(utf8_is_known_from_other_bytes),
        cmocka_unit_test(text_becomes_one_clean_line),
        cmocka_unit_test(it_is_known_who_injects_cdi_devices),
        cmocka_unit_test(names_and_indexes_follow_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
