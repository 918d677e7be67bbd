/* The human monitor's commands about dumps of the guest's memory. */
#include "monitor/hmp-priv.h"

#include "monitor/monitor-priv.h"
#include "qapi-commands.h"

/* The format that options ask for; false when there are several. */
static bool choose_format(const struct json_object *args, struct qmp_dump_guest_memory_arg *arg)
{
    static const struct {
        const char *option;
        enum dump_guest_memory_format format;
    } choice[] = {{"zlib", DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB},
                  {"lzo", DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO},
                  {"snappy", DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY},
                  {"windmp", DUMP_GUEST_MEMORY_FORMAT_WIN_DMP}};
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(choice); i++) {
        if (hmp_flag(args, choice[i].option)) {
            arg->has_format = true;
            arg->format = choice[i].format;
            n++;
        }
    }
    return n <= 1;
}

static void run_dump(struct hmp *h, struct json_object *args)
{
    g_autofree char *protocol = g_strconcat("file:", hmp_string(args, "filename"), NULL);
    struct qmp_dump_guest_memory_arg arg = {.paging = hmp_flag(args, "paging"),
                                            .protocol = protocol,
                                            .has_detach = true,
                                            .detach = hmp_flag(args, "detach"),
                                            .has_begin = hmp_has(args, "begin"),
                                            .begin = (int64_t)hmp_number(args, "begin"),
                                            .has_length = hmp_has(args, "length"),
                                            .length = (int64_t)hmp_number(args, "length")};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;

    if (choose_format(args, &arg)) {
        qmp_dump_guest_memory(&call, &arg, &error);
        hmp_print_error(h, error);
    } else {
        hmp_print(h, "Error: only one of '-z|-l|-s|-w' can be set\n");
    }
}

static void info_dump(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct dump_query_result *result = qmp_query_dump(&call, NULL);

    hmp_print(h, "Status: %s\n", dump_status_str(result->status));
    if (result->status == DUMP_STATUS_ACTIVE) {
        hmp_print(h, "Finished: %.2f %%\n",
                  100.0 * (double)result->completed / (double)result->total);
    }
    dump_query_result_free(result);
}

const struct hmp_command hmp_dump_commands[] = {
    {"dump-guest-memory", NULL, "[-p] [-d] [-z|-l|-s|-w] filename [begin length]",
     "write the guest's memory to a file [-p: with linear addresses, -d: in the background, "
     "-z, -l, -s, -w: compressed by zlib, lzo or snappy, or as Windows has it]",
     "paging:-p detach:-d windmp:-w zlib:-z lzo:-l snappy:-s filename:F begin:l? length:l?",
     .run = run_dump},
    {"info dump", NULL, "", "how far the last dump is", .run = info_dump},
    {0}};
