/* Which events are wanted: names, and conditions on members such as data.reason=guest-shutdown. */
#ifndef GODWITCTL_FILTER_H
#define GODWITCTL_FILTER_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

struct filter;

struct filter *filter_new(void); /* wants every event */
void filter_free(struct filter *filter);
/* Adds names, separated by commas; letters of any case. */
void filter_add_names(struct filter *filter, const char *names);
/* The names, in order; ended by NULL. They stay the filter's. */
char **filter_names(const struct filter *filter);
/* Adds PATH=VALUE or PATH!=VALUE; all must hold. An absent member equals nothing. Error:
 * G_SHELL_ERROR. */
bool filter_add_condition(struct filter *filter, const char *text, GError **error);
bool filter_wants(const struct filter *filter, struct json_object *event);

#endif
