/*
 * libFuzzer target: what any client can send to a session, up to the point where a command would
 * run.
 *
 * The first byte chooses the mode (bit 0: negotiated, bit 1: oob) and the size of the pieces in
 * which the rest arrives. The same bytes in one piece must give the same replies, and every reply
 * must be JSON that the parser itself takes.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

#include "qapi/json.h"
#include <json-c/json.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In place of the real table and state: no machine is linked in. */
static bool run_nothing(struct qmp_call *call, struct json_object *args, GString *ret,
                        GError **errp)
{
    return true;
}

static const struct qmp_command table[] = {
    {"query-status", 0, run_nothing},         {"stop", 0, run_nothing},
    {"qmp_capabilities", 0, run_nothing},     {"query-version", 0, run_nothing},
    {"yank", QMP_CMD_ALLOW_OOB, run_nothing},
};

const struct qmp_command *qmp_command_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

enum run_state runstate_get(const struct runstate *run)
{
    return RUN_STATE_RUNNING;
}

static void check_reply(GString *reply)
{
    struct json_tokener *tokener = json_text_tokener_new();
    struct json_object *value = NULL;

    g_assert_true(json_text_parse(tokener, reply->str, reply->len, &value, NULL));
    g_assert_true(json_object_is_type(value, json_type_object));
    json_object_put(value);
    json_tokener_free(tokener);
}

static void answer(struct json_object *value, struct qmp_mode mode, GString *replies)
{
    g_autoptr(GString) reply = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct qmp_request request;

    if (qmp_request_parse(&request, value, mode, &error)) {
        g_string_append(replies, request.command->name);
        if (request.has_id) {
            qapi_json_append_any(replies, request.id);
        }
    } else {
        qmp_append_error(reply, &request, error);
        check_reply(reply);
        g_string_append(replies, reply->str);
    }
    qmp_request_clear(&request);
}

static GString *run(const uint8_t *data, size_t size, size_t piece, struct qmp_mode mode)
{
    struct json_stream *js = json_stream_new();
    GString *replies = g_string_new(NULL);
    size_t done = 0;

    while (done < size) {
        size_t n = MIN(piece, size - done);
        enum json_stream_result result;

        memcpy(json_stream_room(js, n), data + done, n);
        json_stream_add(js, n);
        done += n;
        do {
            g_autoptr(GError) error = NULL;
            struct qmp_request none = {0};
            struct json_object *value;

            result = json_stream_next(js, &value, &error);
            if (result == JSON_STREAM_VALUE) {
                answer(value, mode, replies);
            } else if (result == JSON_STREAM_ERROR) {
                qmp_append_error(replies, &none, error);
            }
        } while (result != JSON_STREAM_MORE);
    }
    json_stream_free(js);
    return replies;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_mode mode;
    GString *whole, *pieces;

    if (size < 2) {
        return 0;
    }
    mode.negotiated = data[0] & 1;
    mode.oob = data[0] & 2;
    whole = run(data + 1, size - 1, size - 1, mode);
    pieces = run(data + 1, size - 1, 1 + (data[0] >> 2), mode);
    g_assert_cmpstr(whole->str, ==, pieces->str);
    g_string_free(whole, TRUE);
    g_string_free(pieces, TRUE);
    return 0;
}
