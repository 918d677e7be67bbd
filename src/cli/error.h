/* The error domain of the command line: what a user wrote can't be done. No codes. */
#ifndef CLI_ERROR_H
#define CLI_ERROR_H

#include <glib.h>

#define CLI_ERROR (g_quark_from_static_string("cli-error"))

#endif
