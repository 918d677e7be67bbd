/*
 * Generated files: built in memory, written all or none.
 */
#ifndef QAPI_EMIT_H
#define QAPI_EMIT_H

#include "schema.h"

struct output {
    struct schema *schema;
    const char *prefix;   /* of file names */
    const char *c_prefix; /* the same as part of a C identifier */
    GPtrArray *files;     /* struct output_file * */
};

struct output *output_new(struct schema *schema, const char *prefix);
void output_free(struct output *output);

/* Starts the file "<prefix>-<name>"; its text is built in the string that is returned. */
GString *output_file(struct output *output, const char *name);

/*
 * Writes all files into @folder, which is made if need be: first under temporary names, and only
 * when that has worked for all, under their own. On failure prints why and leaves nothing.
 */
bool output_write(struct output *output, const char *folder);

/* Starts a C file: says what made it, and includes what @includes names (one a line, or NULL). */
GString *output_c_file(struct output *output, const char *name, const char *about,
                       const char *includes);

/* Starts a header with its guard; output_header_end() closes it. */
GString *output_header(struct output *output, const char *name, const char *about,
                       const char *includes);
void output_header_end(GString *out);

/* "#if ..." and "#endif" around what exists only under @cond; nothing when that is NULL. */
void emit_if(GString *out, const struct cond *cond);
void emit_endif(GString *out, const struct cond *cond);

/* A C string literal with its quotes. */
void emit_string(GString *out, const char *text);

/* The C type of a slot of @type, ready to have a name put behind it: "struct foo *". */
const char *c_type(struct pool *pool, const struct entity *type);

/* Whether slots of @type are pointers. */
bool c_type_is_pointer(const struct entity *type);

/* The name of the description of @type: "run_state_type". */
const char *c_descriptor(struct pool *pool, const struct entity *type);

/* One for each group of generated files. */
void generate_types(struct output *output);
void generate_visit(struct output *output);
void generate_commands(struct output *output);
void generate_events(struct output *output);
void generate_introspect(struct output *output);
void generate_reference(struct output *output);

/* What generate_types() and others share: the members of a C struct, and the description of an
 * object type as a definition with the given storage class ("" or "static "). */
void emit_struct_members(struct output *output, GString *out, const struct entity *e);
void emit_object_descriptor(struct output *output, GString *out, const struct entity *e,
                            const char *storage);

#endif
