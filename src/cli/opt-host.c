/* Options about the process on its host: -msg, -overcommit, -audiodev, -add-fd, -chroot, -runas,
 * -sandbox. */
#include "cli/options-priv.h"

#include "base/fdset.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

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

/* The descriptor that the process was started with stays as it is; a copy goes into the set. */
bool opt_add_fd(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    uint64_t fd = UINT64_MAX, set = UINT64_MAX;
    const char *opaque = p ? params_take(p, "opaque") : NULL, *problem = NULL;
    bool ok = p && params_take_uint(p, "fd", 0, INT_MAX, &fd, error) &&
              params_take_uint(p, "set", 0, INT64_MAX, &set, error) && params_end(p, error);
    int copy = ok && fd <= INT_MAX ? fcntl((int)fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (ok) {
        problem = fd == UINT64_MAX    ? "fd option is required and must be non-negative"
                  : fd <= 2           ? "fd cannot be a standard I/O stream"
                  : set == UINT64_MAX ? "set option is required and must be non-negative"
                  : copy < 0          ? "fd is not valid or already in use"
                                      : NULL;
    }
    if (problem) {
        g_set_error(error, CLI_ERROR, 0, "%s", problem);
        ok = false;
    }
    if (ok) {
        fdset_add((int64_t)set, copy, opaque);
    } else if (copy >= 0) {
        close(copy);
    }
    params_free(p);
    return ok;
}

/* ---- confinement */

bool opt_chroot(struct options *o, const char *arg, GError **error)
{
    g_free(o->confinement.root);
    o->confinement.root = g_strdup(arg);
    return true;
}

bool opt_runas(struct options *o, const char *arg, GError **error)
{
    return confinement_set_user(&o->confinement, arg, error);
}

/* "allow", "deny", or the third word where there is one: 0, 1, 2. */
static bool take_permission(struct params *p, const char *name, const char *third, int *value,
                            GError **error)
{
    const char *text = params_take(p, name);

    if (!text) {
        return true;
    }
    *value = strcmp(text, "allow") == 0          ? 0
             : strcmp(text, "deny") == 0         ? 1
             : third && strcmp(text, third) == 0 ? 2
                                                 : -1;
    if (*value < 0) {
        g_set_error(error, CLI_ERROR, 0, "invalid argument for %s: '%s', use allow%s deny%s%s",
                    name, text, third ? "," : " or", third ? " or " : "", third ? third : "");
    }
    return *value >= 0;
}

bool opt_sandbox(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "enable", error);
    struct sandbox *s = &o->confinement.sandbox;
    int obsolete = 1, elevation = 0, spawn = 0, resources = 0;
    bool ok = p && params_take_bool(p, "enable", &s->enabled, error) &&
              take_permission(p, "obsolete", NULL, &obsolete, error) &&
              take_permission(p, "elevateprivileges", "children", &elevation, error) &&
              take_permission(p, "spawn", NULL, &spawn, error) &&
              take_permission(p, "resourcecontrol", NULL, &resources, error) &&
              params_end(p, error);

    s->allows_obsolete = obsolete == 0;
    s->elevation = elevation == 0   ? ELEVATION_ALLOWED
                   : elevation == 1 ? ELEVATION_DENIED
                                    : ELEVATION_DENIED_TO_CHILDREN;
    s->denies_spawn = spawn == 1;
    s->denies_resource_control = resources == 1;
    params_free(p);
    return ok;
}
