/* Run states for people: see runstates.h. */
#include "runstates.h"

#include <string.h>

const struct runstate_info runstates[] = {
    {"prelaunch", '.', STYLE_WARN, "not started, or reset while stopped; 'cont' starts it",
     "inmigrate running finish-migrate"},
    {"running", 'R', STYLE_GOOD, "the guest runs",
     "paused suspended debug io-error internal-error watchdog guest-panicked shutdown save-vm"
     " restore-vm finish-migrate colo"},
    {"paused", 'P', STYLE_WARN, "stopped on request; 'cont' lets it go on",
     "prelaunch running finish-migrate postmigrate colo"},
    {"suspended", 'S', STYLE_WARN, "the guest sleeps (ACPI S3); 'exec system_wakeup' wakes it",
     "prelaunch running finish-migrate colo"},
    {"debug", 'D', STYLE_WARN, "stopped by the debugger; it or 'cont' lets it go on",
     "prelaunch running suspended finish-migrate"},
    {"io-error", 'E', STYLE_BAD, "a device met an I/O error; 'cont' tries the request again",
     "prelaunch running finish-migrate"},
    {"internal-error", '!', STYLE_BAD, "the CPU can't go on; 'reset' is needed before 'cont'",
     "prelaunch paused finish-migrate"},
    {"watchdog", 'W', STYLE_BAD, "the watchdog expired; 'cont' lets it go on",
     "prelaunch running finish-migrate colo"},
    {"guest-panicked", 'X', STYLE_BAD, "the guest reported its own panic; 'reset' starts it anew",
     "prelaunch running finish-migrate"},
    {"shutdown", 'O', STYLE_BAD, "the guest is off and kept; 'reset' then 'cont' starts it anew",
     "prelaunch paused finish-migrate colo"},
    {"save-vm", 's', STYLE_WARN, "a snapshot or memory dump is being taken", "running prelaunch"},
    {"restore-vm", 'r', STYLE_WARN, "a snapshot is being loaded, or failed to load",
     "prelaunch running"},
    {"inmigrate", 'i', STYLE_WARN, "waits for an incoming migration",
     "prelaunch running paused suspended io-error internal-error watchdog guest-panicked shutdown"
     " finish-migrate postmigrate colo"},
    {"finish-migrate", 'f', STYLE_WARN, "the last phase of an outgoing migration",
     "prelaunch running paused suspended io-error internal-error watchdog guest-panicked shutdown"
     " postmigrate colo"},
    {"postmigrate", 'm', STYLE_WARN, "migrated away; 'cont' would run it here a second time",
     "prelaunch running finish-migrate"},
    {"colo", 'c', STYLE_WARN, "a COLO checkpoint is being made", "prelaunch running shutdown"},
};
const size_t runstates_n = G_N_ELEMENTS(runstates);

const struct runstate_info *runstate_find(const char *name)
{
    for (size_t i = 0; name && i < runstates_n; i++) {
        if (strcmp(runstates[i].name, name) == 0) {
            return &runstates[i];
        }
    }
    return NULL;
}

bool runstate_may(const struct runstate_info *from, const char *to)
{
    size_t length = strlen(to);
    for (const char *at = from->next; (at = strstr(at, to)); at += length) {
        bool starts = at == from->next || at[-1] == ' ';
        if (starts && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}
