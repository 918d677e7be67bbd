/*
 * Names in the schema and what becomes of them in C. docs/schema-compiler.md has the rules.
 */
#ifndef QAPI_NAMES_H
#define QAPI_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "pool.h"

/* A member or branch: "guest-panic" -> guest_panic, "default" -> q_default. */
const char *name_to_c(struct pool *pool, const char *name);

/* A type: "GuestPanicInformation" -> guest_panic_information. */
const char *type_name_to_c(struct pool *pool, const char *name);

/* Constant of an enumeration: "run_state" (or a given prefix), "io-error" -> RUN_STATE_IO_ERROR. */
const char *enum_constant(struct pool *pool, const char *enum_c_name, const char *value);

/* Letters to upper case, everything that is not a letter or digit to '_'. */
const char *name_to_upper(struct pool *pool, const char *name);

/* The same to lower case: the part of a function's name that a command or event gives. */
const char *name_to_lower(struct pool *pool, const char *name);

/* What is left of @name behind a downstream prefix "__rfqdn_" and, if @also_x, behind "x-". */
const char *name_stem(const char *name, bool also_x);

/* Whether @name begins with a letter and has only letters, digits, '-' and '_' behind a possible
 * downstream prefix. A value of an enumeration (@value) may begin with a digit. */
bool name_is_valid(const char *name, bool value);

#endif
