/*
 * Names of a guest's functions, from an ELF file (vmlinux, or any other executable of x86) or a
 * list in the form of Linux's System.map and /proc/kallsyms. Constant once loaded; any thread.
 */
#ifndef MACHINE_SYMBOLS_H
#define MACHINE_SYMBOLS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define SYMBOLS_ERROR (symbols_error_quark())
GQuark symbols_error_quark(void);

struct symbols;

/* NULL and *error (naming the file) when it cannot be read, is neither form, or has no function. */
struct symbols *symbols_load(const char *path, GError **error);
void symbols_free(struct symbols *symbols); /* NULL is fine */

/* "name+0xoffset" of the function that holds the address, as the file has it; owned by the caller.
 * NULL: none does. */
char *symbols_describe(const struct symbols *symbols, uint64_t addr);

/* The same for an address to return to: that of the instruction behind a call, which may be beyond
 * the function's end where the call does not return. */
char *symbols_describe_return(const struct symbols *symbols, uint64_t addr);

#endif
