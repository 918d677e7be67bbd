/*
 * The picture of the live view, as text: what is known about the machine, drawn into so many rows
 * and columns. No terminal and no connection here, so that it is the same on paper.
 */
#ifndef GODWITCTL_TOP_VIEW_H
#define GODWITCTL_TOP_VIEW_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct top_vcpu {
    int64_t index;
    int64_t thread_id;
    char *place;          /* path, target, topology: safe text */
    int64_t host_time_us; /* of the thread, -1: not known */
    double host_percent;  /* since the look before, < 0: not known */
};

/* From at_us on, the state was this one. */
struct top_change {
    int64_t at_us;
    char *state; /* as the server names it */
};

struct top_model {
    char *server;   /* what it is and where, safe text */
    char *name;     /* the machine's, safe text; may be empty */
    int64_t now_us; /* monotonic, as all times here */
    int64_t began_us;
    bool knows_past;  /* changes goes back to before this client came */
    int64_t last_seq; /* of the events that the server's journal told */
    GArray *changes;  /* struct top_change, oldest first; the last is the present state */
    GArray *vcpus;    /* struct top_vcpu */
    GQueue events;    /* struct json_object *, oldest first */
    char *trouble;    /* why the picture may be old; NULL: it is not */
};

struct top_size {
    unsigned rows; /* 0: as many as it takes */
    unsigned columns;
    bool colour;
    bool utf8;
};

/* The picture, its lines ended by newlines, without the last one. The caller's. */
char *top_view(const struct top_model *model, const struct top_size *size);

#endif
