/*
 * AML, byte by byte (ACPI specification 5.0, chapter 20): the few forms that tables about a number
 * of like things need. What is the same for all of them is in ASL, compiled at build time.
 *
 * Names are given as in ASL: "\\_SB.PCI0", "_STA". What is opened is closed with aml_close(), the
 * last opened first.
 */
#ifndef MACHINE_X86_AML_H
#define MACHINE_X86_AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

size_t aml_scope(GByteArray *out, const char *name);
size_t aml_device(GByteArray *out, const char *name);
size_t aml_method(GByteArray *out, const char *name, unsigned args);
/* If (ArgN == value) */
size_t aml_if_arg_is(GByteArray *out, unsigned arg, uint64_t value);
void aml_close(GByteArray *out, size_t opened);

void aml_name_int(GByteArray *out, const char *name, uint64_t value);
void aml_name_string(GByteArray *out, const char *name, const char *value);
void aml_name_eisa(GByteArray *out, const char *name, const char *id); /* "PNP0C80" */
void aml_name_buffer(GByteArray *out, const char *name, const uint8_t *bytes, uint8_t n);

/* A call, for what follows as its arguments, or Return of one. */
void aml_call(GByteArray *out, const char *method);
void aml_return_call(GByteArray *out, const char *method);
void aml_int(GByteArray *out, uint64_t value);
void aml_arg(GByteArray *out, unsigned n);
/* Notify (name, ArgN) */
void aml_notify_arg(GByteArray *out, const char *name, unsigned arg);

#endif
