/*
 * Arguments of commands as people write them: {"a": 1} as a whole, or a=1 b.c=text d:=[1,2] each;
 * and the words of a line in the shell.
 */
#ifndef GODWITCTL_ARGUMENTS_H
#define GODWITCTL_ARGUMENTS_H

#include "schema.h"

/* Splits a line: blanks separate words, "..." and '...' keep them together, a backslash takes the
 * next character as it is. A value that begins with { or [ runs to its closing bracket as it is, so
 * JSON needs no quotes around it. NULL with an error (G_SHELL_ERROR) when something stays open. */
char **words_split(const char *line, GError **error);

/* Whether one of the words has a value whose type only the schema can tell (a=5 may be "5"). */
bool arguments_need_schema(char **words);
/* The object that words mean for command; NULL with an error (G_SHELL_ERROR). No words are an empty
 * object. Schema may be NULL. */
struct json_object *arguments_parse(char **words, const struct schema *schema, const char *command,
                                    GError **error);

#endif
