/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines on the control socket, whatever is in them: there is always one answer, within its limit,
 * and an error is JSON.
 */
#include "daemon/events.h"
#include "daemon/request.h"
#include "tests/fuzz/fuzz.h"

#include <json-c/json.h>
#include <string.h>

static int
run_words(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)ctx;
    (void)e;
    for (size_t i = 0; i < call->argc; i++) {
        FUZZ_ASSERT(call->argv[i][0]);
        (void)buf_put_str(out, call->argv[i]);
    }
    (void)buf_put_str(out, "\n");
    return 0;
}

static const struct request rows[] = {
    {.name = "status", .args = "", .run = run_words},
    {.name = "mode", .args = "WORDS", .run = run_words},
    {.name = "mode set", .args = "MODE", .changes = true, .run = run_words},
    {.name = NULL},
};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_set set = {.n = 0};
    struct request_call call = {.pid = -1, .uid = -1};
    struct request_result result;
    struct events *ev = NULL;
    struct err e = ERR_INIT;
    struct buf out;
    char line[REQUEST_LINE_MAX];
    const char *text;

    if (size >= sizeof(line))
        return 0;
    memcpy(line, data, size);
    line[size] = '\0';
    FUZZ_ASSERT(events_new(&ev, &e) == 0);
    for (int i = 0; i < 5; i++)
        events_act(ev, &(struct act){.kind = ACT_HWD, .text = line});
    request_add(&set, rows, NULL);
    request_add(&set, events_requests, ev);
    buf_init(&out, 65536);
    request_run(&set, line, &call, &out, &result);
    text = buf_cstr(&out);
    FUZZ_ASSERT(text && out.len > 0 && text[out.len - 1] == '\n');
    FUZZ_ASSERT(result.ok || result.why[0]);
    FUZZ_ASSERT(!result.ok || result.row);
    if (!result.ok) {
        json_object *o = json_tokener_parse(text);

        FUZZ_ASSERT(json_object_is_type(o, json_type_object));
        (void)json_object_put(o);
    }
    buf_fini(&out);
    events_free(ev);
    return 0;
}
