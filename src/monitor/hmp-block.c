/* The human monitor's commands about drives: see hmp-block.h. */
#include "monitor/hmp-block.h"

#include "block/block.h"
#include "qapi/params.h"
#include <string.h>

/* Whether the drive says that it is nobody's yet: nothing else can be added now. */
static bool is_loose(const char *text, GError **error)
{
    struct params *p = params_parse_keyval(text, NULL, error);
    const char *interface = p ? params_take(p, "if") : NULL;
    bool ok = p && g_strcmp0(interface, "none") == 0;

    if (p && !ok) {
        g_set_error(error, PARAMS_ERROR, 0, "only a drive with if=none can be added now");
    }
    params_free(p);
    return ok;
}

void hmp_drive_add(struct machine *m, const char *args, GString *out)
{
    const char *text = args + strcspn(args, " ");
    g_autoptr(GError) error = NULL;

    text += strspn(text, " ");
    if (!*text || args[0] == '-') {
        g_string_append(out, "drive_add: a slot (0) and a drive's options are expected\n");
    } else if (is_loose(text, &error) &&
               block_drive_add(m->block, text, &m->board->drives, &error)) {
        g_string_append(out, "OK\n");
    } else {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}

void hmp_drive_del(struct machine *m, const char *args, GString *out)
{
    g_autoptr(GError) error = NULL;

    if (!block_drive_delete(m->block, args, &error)) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}
