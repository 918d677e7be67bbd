/*
 * A schema's files as a list of top-level items: expressions and documentation, in order. What the
 * expressions mean is not looked at here, except for include and pragma, which are carried out.
 */
#ifndef QAPI_PARSE_H
#define QAPI_PARSE_H

#include "doc.h"
#include "pool.h"
#include "report.h"

enum node_kind {
    NODE_OBJECT,
    NODE_ARRAY,
    NODE_STRING,
    NODE_BOOL,
};

/* A value of the schema's JSON dialect. */
struct node {
    enum node_kind kind;
    unsigned line;      /* where the value begins */
    const char *string; /* NODE_STRING */
    bool boolean;       /* NODE_BOOL */

    struct node *children; /* NODE_OBJECT, NODE_ARRAY: first child */
    size_t n_children;

    const char *key; /* as a member of an object */
    unsigned key_line;
    struct node *next; /* sibling */
};

/* A definition with the documentation before it, or free-form documentation (node is NULL). */
struct item {
    struct place place;
    struct node *node;
    struct doc *doc; /* may be NULL beside a node */
    bool doc_failed; /* documentation stands before it, but is broken */
};

struct pragmas {
    bool doc_required;
    GHashTable *command_name_exceptions; /* sets of names */
    GHashTable *command_returns_exceptions;
    GHashTable *documentation_exceptions;
    GHashTable *member_name_exceptions;
};

struct parsed {
    GPtrArray *items;   /* struct item * */
    GPtrArray *sources; /* struct source *, in order of first mention */
    struct pragmas pragmas;
};

/* Reads @path and all that it includes; complaints go to @report. Freed with parsed_free(). */
struct parsed *schema_parse(struct pool *pool, struct report *report, const char *path);
void parsed_free(struct parsed *parsed);

/* The member @key of object @node, or NULL. */
struct node *node_get(const struct node *node, const char *key);

/* What @node is, for messages: "an object", "a string"... */
const char *node_kind_text(const struct node *node);

#endif
