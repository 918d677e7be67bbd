/*
 * A schema, understood: entities (types, commands, events), each pointing at those it uses.
 */
#ifndef QAPI_SCHEMA_H
#define QAPI_SCHEMA_H

#include "parse.h"
#include "pool.h"
#include "report.h"

enum cond_kind {
    COND_DEFINED, /* a preprocessor symbol */
    COND_ALL,
    COND_ANY,
    COND_NOT, /* one operand */
};

/* An 'if'. NULL stands for "always". */
struct cond {
    enum cond_kind kind;
    const char *symbol;    /* COND_DEFINED */
    struct cond *operands; /* the others: first operand */
    struct cond *next;     /* sibling */
};

struct feature {
    const char *name;
    struct cond *cond;
    unsigned line;
    struct feature *next;
};

/* A member of an object, a value of an enumeration, a branch of a union or alternate. */
struct member {
    const char *name; /* without '*' */
    const char *c_name;
    unsigned line;
    bool optional;
    const struct node *type_node; /* NULL: value of an enumeration */
    struct entity *type;
    struct cond *cond;
    struct feature *features;
    struct member *next;
};

enum entity_kind {
    ENTITY_BUILTIN,
    ENTITY_ENUM,
    ENTITY_STRUCT,
    ENTITY_UNION,
    ENTITY_ALTERNATE,
    ENTITY_ARRAY,
    ENTITY_COMMAND,
    ENTITY_EVENT,
};

/* How a value looks in JSON. */
enum json_kind {
    JSON_STRING,
    JSON_NUMBER,
    JSON_INT,
    JSON_BOOLEAN,
    JSON_NULL,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_VALUE, /* any of them */
};

struct builtin {
    const char *name;
    const char *c_name; /* of its description and list: "int64" */
    const char *c_type; /* of a value: "int64_t " */
    enum json_kind json;
    const char *shown; /* its name in introspection */
};

/* Whose clients may run a command: at least those. */
enum command_role { ROLE_ADMIN, ROLE_OPERATOR, ROLE_OBSERVER };

struct entity {
    enum entity_kind kind;
    const char *name;
    const char *c_name;
    struct place place;
    const struct node *node; /* of the expression */
    struct doc *doc;
    bool doc_failed;
    struct cond *cond;
    struct feature *features;
    bool bad;      /* a complaint was made: make no other */
    bool implicit; /* made up: arguments given in place, a base given in place, an array */

    const struct builtin *builtin;

    /* enum: values; struct, union: own members; alternate: empty */
    struct member *members;
    const char *constant_prefix; /* enum: c_name, or what 'prefix' says */
    const char *max_constant;    /* enum: the constant behind the last value */

    /* struct, union */
    struct entity *base;
    GPtrArray *all;         /* struct member *: those of the base, then own */
    GHashTable *wire_names; /* C names of all that it may have on the wire */
    unsigned visit;         /* while looking for cycles: 0 not seen, 1 under way, 2 done */

    /* union */
    const char *discriminator;
    struct member *tag;

    /* union, alternate */
    struct member *branches;

    /* array */
    struct entity *element;

    /* command, event */
    struct entity *arg; /* NULL without data */
    struct entity *returns;
    bool boxed, no_gen, no_success, allow_oob, allow_preconfig, coroutine;
    enum command_role role;
};

#define CONTAINMENT_MAX 200 /* of bases and branches in one another */
#define WIRE_NAMES_MAX  200000

struct schema {
    struct pool *pool;
    struct report *report;
    struct parsed *parsed;
    GHashTable *by_name;     /* struct entity *, arrays included under "[name]" */
    GPtrArray *entities;     /* in order of definition, with neither built-ins nor implicit ones */
    GPtrArray *arrays;       /* in order of first use, those of built-ins excepted */
    GPtrArray *order;        /* structs and unions: what holds another by value comes after it */
    unsigned depth;          /* of containment, while that is looked at */
    size_t n_wire_names;     /* of all objects, and of all unions' tags the values */
    GPtrArray *member_lists; /* owns what entities have as `all` */
    GPtrArray *name_sets;    /* owns what entities have as `wire_names` */
};

/*
 * Reads the schema in @path and checks it. Returns NULL when anything was reported. All of it
 * lives in @pool, but schema_free() is to be called before that goes.
 */
struct schema *schema_load(struct pool *pool, struct report *report, const char *path);
void schema_free(struct schema *schema);

/* Complains about @entity, if that was not done before. Always returns false. */
bool entity_error(struct schema *schema, struct entity *entity, unsigned line, const char *format,
                  ...) G_GNUC_PRINTF(4, 5);

/* "struct 'Foo'", "command 'stop'" for messages; kept in the pool. */
const char *entity_text(struct schema *schema, const struct entity *entity);

bool entity_is_object(const struct entity *entity); /* struct or union */

/* The condition under which an array's or built-in's or defined type exists. */
const struct cond *entity_cond(const struct entity *entity);

/* Passes, in this order. Each makes complaints and goes on. */
void schema_define(struct schema *schema);     /* define.c: expressions to entities */
void schema_resolve(struct schema *schema);    /* resolve.c: names to entities, what fits what */
void schema_check_c(struct schema *schema);    /* check-c.c: names that clash in C */
void schema_check_docs(struct schema *schema); /* check-docs.c: documentation against definition */

extern const struct builtin schema_builtins[]; /* ended by a NULL name */

#endif
