/*
 * What a stream of records holds, for people: migration streams and saved machine states. Nothing
 * is needed for it but the stream, which names all its fields.
 */
#ifndef MIGRATION_STREAM_PRINT_H
#define MIGRATION_STREAM_PRINT_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

/* Prints the records from where `in` is up to the last one or the end of the file. false and
 * *error: it is no stream, is damaged or cut short; what is before that is printed. */
bool stream_print(FILE *in, FILE *out, GError **error);

#endif
