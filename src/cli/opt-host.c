/* Options about the process on its host: -msg, -overcommit, -audiodev. */
#include "cli/options-priv.h"

#include <string.h>

bool opt_msg(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    bool guest_name = false;
    bool ok = p && params_take_bool(p, "timestamp", &o->log_timestamp, error) &&
              params_take_bool(p, "guest-name", &guest_name, error) && params_end(p, error);

    if (ok && guest_name) {
        g_set_error(error, CLI_ERROR, 0, "guest-name=on is not supported");
        ok = false;
    }
    params_free(p);
    return ok;
}

bool opt_overcommit(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    bool cpu_pm = false;
    bool ok = p && params_take_bool(p, "mem-lock", &o->lock_memory, error) &&
              params_take_bool(p, "cpu-pm", &cpu_pm, error) && params_end(p, error);

    if (ok && cpu_pm) {
        g_set_error(error, CLI_ERROR, 0,
                    "cpu-pm=on is not supported: a vCPU that halts gives its host CPU back");
        ok = false;
    }
    params_free(p);
    return ok;
}

/* There are no sound devices: of the back ends only the one that plays nothing. */
bool opt_audiodev(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "driver", error);
    const char *driver = p ? params_take(p, "driver") : NULL;
    const char *id = p ? params_take(p, "id") : NULL;
    bool ok = p != NULL;

    if (ok && g_strcmp0(driver, "none") != 0) {
        g_set_error(error, CLI_ERROR, 0, "there is no audio driver '%s', only 'none'",
                    driver ? driver : "");
        ok = false;
    } else if (ok && !id) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'id' is missing");
        ok = false;
    }
    ok = ok && params_end(p, error);
    params_free(p);
    return ok;
}
