/*
 * What the process gives up before the guest runs: the rest of the file system (-chroot), its
 * user's rights (-runas), system calls that it does not need (-sandbox).
 */
#ifndef CLI_CONFINE_H
#define CLI_CONFINE_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

enum elevation {
    ELEVATION_ALLOWED,
    ELEVATION_DENIED,
    ELEVATION_DENIED_TO_CHILDREN, /* of the programs that it starts, by no_new_privs (prctl(2)) */
};

struct sandbox {
    bool enabled;
    bool allows_obsolete;
    enum elevation elevation;
    bool denies_spawn, denies_resource_control;
};

struct confinement {
    char *root; /* -chroot; NULL: not */
    char *user; /* -runas: as given, for messages; NULL: not */
    char *name; /* of that user, whose groups it gets; NULL: none but gid */
    uid_t uid;
    gid_t gid;
    struct sandbox sandbox;
};

/* NAME of a user, or UID:GID. */
bool confinement_set_user(struct confinement *c, const char *text, GError **error);
void confinement_clear(struct confinement *c);

/*
 * Does all of it, for all threads that there are and that come, and for the programs that they
 * start. For good. When all files have been opened that need the rights of the one who started us,
 * before the guest's first instruction. On failure false and *error: some of it is done.
 */
bool confine(const struct confinement *c, GError **error);

#endif
