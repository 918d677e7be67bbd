/*
 * Commands of the schema module dump.
 */
#include "monitor/monitor-priv.h"

#include "migration/dump.h"
#include "monitor/hmp-dump.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What "file:PATH" and "fd:NAME" mean; -1 and *error. session NULL: no names. */
static int open_protocol(struct session *session, const char *protocol, GError **error)
{
    const char *path;
    int fd;

    if (session && g_str_has_prefix(protocol, "fd:")) {
        return session_take_fd(session, protocol + strlen("fd:"), error);
    }
    if (!g_str_has_prefix(protocol, "file:")) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Invalid parameter 'protocol'");
        return -1;
    }
    path = protocol + strlen("file:");
    /* A pipe that nobody reads is an error rather than a wait. */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Could not open '%s': %s", path,
                    g_strerror(errno));
    }
    return fd;
}

static bool dump_to(struct machine *m, struct session *session, const struct dump_options *options,
                    const char *protocol, bool detach, GError **error)
{
    int fd;

    if (!dump_check(m, options, error)) {
        return false;
    }
    fd = open_protocol(session, protocol, error);
    return fd >= 0 && dump_run(m, options, fd, detach, error);
}

bool qmp_dump_guest_memory(struct qmp_call *call, const struct qmp_dump_guest_memory_arg *arg,
                           GError **errp)
{
    const struct dump_options options = {
        .format = arg->has_format ? arg->format : DUMP_GUEST_MEMORY_FORMAT_ELF,
        .paging = arg->paging,
        .has_begin = arg->has_begin,
        .has_length = arg->has_length,
        .begin = (uint64_t)arg->begin,
        .length = (uint64_t)arg->length,
    };

    return dump_to(call->machine, call->session, &options, arg->protocol,
                   arg->has_detach && arg->detach, errp);
}

struct dump_query_result *qmp_query_dump(struct qmp_call *call, GError **errp)
{
    return dump_query(call->machine);
}

struct dump_guest_memory_capability *qmp_query_dump_guest_memory_capability(struct qmp_call *call,
                                                                            GError **errp)
{
    struct dump_guest_memory_capability *capability =
        g_new0(struct dump_guest_memory_capability, 1);

    capability->formats = dump_guest_memory_format_list_new();
    for (int f = 0; f < DUMP_GUEST_MEMORY_FORMAT__MAX; f++) {
        if (dump_format_available((enum dump_guest_memory_format)f)) {
            dump_guest_memory_format_list_append(capability->formats,
                                                 (enum dump_guest_memory_format)f);
        }
    }
    return capability;
}

/* ---- for people */

static bool take_option(struct dump_options *options, bool *detach, char letter)
{
    switch (letter) {
    case 'p':
        options->paging = true;
        return true;
    case 'd':
        *detach = true;
        return true;
    case 'z':
        options->format = DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB;
        return true;
    case 'l':
        options->format = DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO;
        return true;
    case 's':
        options->format = DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY;
        return true;
    case 'w':
        options->format = DUMP_GUEST_MEMORY_FORMAT_WIN_DMP;
        return true;
    default:
        return false;
    }
}

static bool take_number(const char *text, bool *has, uint64_t *value, GString *out)
{
    char *end;

    if (!text) {
        return true;
    }
    *value = g_ascii_strtoull(text, &end, 0);
    *has = *end == '\0' && end != text;
    if (!*has) {
        g_string_append_printf(out, "invalid char '%c' in expression\n", *end);
    }
    return *has;
}

/* The words behind the options: a file name and two numbers. */
static bool take_words(char **word, struct dump_options *options, GString *out)
{
    guint n = g_strv_length(word);

    if (n == 0) {
        g_string_append(out, "dump-guest-memory: filename expected\n");
    } else if (n > 3) {
        g_string_append(out, "dump-guest-memory: extraneous characters at the end of line\n");
    } else {
        return take_number(n > 1 ? word[1] : NULL, &options->has_begin, &options->begin, out) &&
               take_number(n > 2 ? word[2] : NULL, &options->has_length, &options->length, out);
    }
    g_string_append(out, "Try \"help dump-guest-memory\" for more information\n");
    return false;
}

void hmp_dump_guest_memory(struct machine *m, const char *args, GString *out)
{
    struct dump_options options = {.format = DUMP_GUEST_MEMORY_FORMAT_ELF};
    g_auto(GStrv) word = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *protocol = NULL;
    unsigned at = 0, formats = 0;
    bool detach = false;

    if (!g_shell_parse_argv(args, NULL, &word, NULL)) {
        word = g_new0(char *, 1);
    }
    for (; word[at] && word[at][0] == '-' && word[at][1]; at++) {
        if (word[at][2] || !take_option(&options, &detach, word[at][1])) {
            g_string_append_printf(out,
                                   "dump-guest-memory: unsupported option %s\n"
                                   "Try \"help dump-guest-memory\" for more information\n",
                                   word[at]);
            return;
        }
        formats += strchr("zlsw", word[at][1]) != NULL;
    }
    if (formats > 1) {
        g_string_append(out, "Error: only one of '-z|-l|-s|-w' can be set\n");
        return;
    }
    if (!take_words(word + at, &options, out)) {
        return;
    }
    protocol = g_strdup_printf("file:%s", word[at]);
    if (!dump_to(m, NULL, &options, protocol, detach, &error)) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}

void hmp_info_dump(struct machine *m, GString *out)
{
    struct dump_query_result *result = dump_query(m);

    g_string_append_printf(out, "Status: %s\n", dump_status_str(result->status));
    if (result->status == DUMP_STATUS_ACTIVE) {
        g_string_append_printf(out, "Finished: %.2f %%\n",
                               100.0 * (double)result->completed / (double)result->total);
    }
    dump_query_result_free(result);
}
