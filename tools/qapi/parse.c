/*
 * A schema's files as a list of top-level items.
 *
 * A syntax error ends the item it is in; reading goes on at the next line that looks like the start
 * of an item, so that one run shows the errors of several definitions.
 */
#include "parse.h"

#include <stdlib.h>
#include <string.h>

#include "lex.h"
#include "source.h"

#define NESTING_MAX  32  /* of values; the language itself needs 8 */
#define INCLUDES_MAX 500 /* files in one schema */
#define CHAIN_MAX    64  /* files that include one another in a row */

struct parser {
    struct pool *pool;
    struct report *report;
    struct parsed *parsed;
    GHashTable *by_identity; /* realpath -> struct source * */
    GPtrArray *open;         /* sources being read, outermost first */
};

struct file_parser {
    struct parser *parser;
    struct lexer lexer;
    struct doc *pending;   /* documentation of the definition to come */
    struct doc *free_form; /* other documentation directly before it */
    bool doc_failed;       /* there was some, but it is broken */
};

struct node *node_get(const struct node *node, const char *key)
{
    for (struct node *child = node->children; child; child = child->next) {
        if (strcmp(child->key, key) == 0) {
            return child;
        }
    }
    return NULL;
}

const char *node_kind_text(const struct node *node)
{
    static const char *const texts[] = {
        [NODE_OBJECT] = "an object",
        [NODE_ARRAY] = "an array",
        [NODE_STRING] = "a string",
        [NODE_BOOL] = "a boolean",
    };

    return texts[node->kind];
}

static void complain(struct file_parser *f, unsigned line, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void complain(struct file_parser *f, unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report_addv(f->parser->report, (struct place){f->lexer.source, line}, format, args);
    va_end(args);
}

/* Complains about the current token, unless the lexer has done so. Returns NULL. */
static struct node *expected(struct file_parser *f, const char *what)
{
    if (f->lexer.kind != TOKEN_ERROR) {
        complain(f, f->lexer.token_line, "expected %s, found %s", what,
                 lexer_token_text(&f->lexer));
    }
    return NULL;
}

static bool at(const struct file_parser *f, char punctuation)
{
    return f->lexer.kind == TOKEN_PUNCTUATION && f->lexer.punctuation == punctuation;
}

static struct node *parse_value(struct file_parser *f, unsigned depth);

static struct node *parse_object(struct file_parser *f, struct node *object, unsigned depth)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    struct node **tail = &object->children;

    lexer_next(&f->lexer);
    if (at(f, '}')) {
        lexer_next(&f->lexer);
        return object;
    }
    for (;;) {
        const char *key = f->lexer.string;
        unsigned key_line = f->lexer.token_line;
        struct node *child;

        if (f->lexer.kind != TOKEN_STRING) {
            return expected(f, object->children ? "a string" : "a string or '}'");
        }
        if (!g_hash_table_add(seen, (gpointer)key)) {
            complain(f, key_line, "duplicate key '%s'", key);
            return NULL;
        }
        lexer_next(&f->lexer);
        if (!at(f, ':')) {
            return expected(f, "':'");
        }
        lexer_next(&f->lexer);
        child = parse_value(f, depth + 1);
        if (!child) {
            return NULL;
        }
        child->key = key;
        child->key_line = key_line;
        *tail = child;
        tail = &child->next;
        object->n_children++;
        if (at(f, '}')) {
            lexer_next(&f->lexer);
            return object;
        }
        if (!at(f, ',')) {
            return expected(f, "',' or '}'");
        }
        lexer_next(&f->lexer);
    }
}

static struct node *parse_array(struct file_parser *f, struct node *array, unsigned depth)
{
    struct node **tail = &array->children;

    lexer_next(&f->lexer);
    if (at(f, ']')) {
        lexer_next(&f->lexer);
        return array;
    }
    for (;;) {
        struct node *child = parse_value(f, depth + 1);

        if (!child) {
            return NULL;
        }
        *tail = child;
        tail = &child->next;
        array->n_children++;
        if (at(f, ']')) {
            lexer_next(&f->lexer);
            return array;
        }
        if (!at(f, ',')) {
            return expected(f, "',' or ']'");
        }
        lexer_next(&f->lexer);
    }
}

static struct node *parse_value(struct file_parser *f, unsigned depth)
{
    struct node *node = pool_alloc(f->parser->pool, sizeof(*node));

    node->line = f->lexer.token_line;
    if (depth > NESTING_MAX) {
        complain(f, node->line, "values are nested more than %d levels deep", NESTING_MAX);
        return NULL;
    }
    if (at(f, '{')) {
        node->kind = NODE_OBJECT;
        return parse_object(f, node, depth);
    }
    if (at(f, '[')) {
        node->kind = NODE_ARRAY;
        return parse_array(f, node, depth);
    }
    switch (f->lexer.kind) {
    case TOKEN_STRING:
        node->kind = NODE_STRING;
        node->string = f->lexer.string;
        break;
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        node->kind = NODE_BOOL;
        node->boolean = f->lexer.kind == TOKEN_TRUE;
        break;
    default:
        return expected(f, "'{', '[', a string or a boolean");
    }
    lexer_next(&f->lexer);
    return node;
}

static void parse_file(struct parser *p, const char *path, struct place mentioned);

/* The name of the file that @name means inside @source. */
static char *include_path(const struct source *source, const char *name)
{
    g_autofree char *folder = NULL;

    if (g_path_is_absolute(name) || !strchr(source->path, '/')) {
        return g_strdup(name);
    }
    folder = g_path_get_dirname(source->path);
    return g_build_filename(folder, name, NULL);
}

static void do_include(struct file_parser *f, struct node *expression)
{
    struct node *name = node_get(expression, "include");
    g_autofree char *path = NULL;

    if (expression->n_children != 1) {
        complain(f, expression->line, "an include directive has no other key");
    } else if (name->kind != NODE_STRING || !*name->string) {
        complain(f, name->line, "the value of 'include' must be a file name");
    } else {
        path = include_path(f->lexer.source, name->string);
        parse_file(f->parser, path, (struct place){f->lexer.source, name->line});
    }
}

static void pragma_names(struct file_parser *f, GHashTable *set, const struct node *value)
{
    if (value->kind != NODE_ARRAY) {
        complain(f, value->line, "pragma '%s' must be an array of strings", value->key);
        return;
    }
    for (const struct node *name = value->children; name; name = name->next) {
        if (name->kind != NODE_STRING) {
            complain(f, name->line, "pragma '%s' must be an array of strings", value->key);
            return;
        }
        g_hash_table_add(set, (gpointer)name->string);
    }
}

static void do_pragma(struct file_parser *f, struct node *expression)
{
    struct pragmas *pragmas = &f->parser->parsed->pragmas;
    struct node *value = node_get(expression, "pragma");

    if (expression->n_children != 1) {
        complain(f, expression->line, "a pragma directive has no other key");
        return;
    }
    if (value->kind != NODE_OBJECT) {
        complain(f, value->line, "the value of 'pragma' must be an object");
        return;
    }
    for (const struct node *child = value->children; child; child = child->next) {
        if (strcmp(child->key, "doc-required") == 0) {
            if (child->kind != NODE_BOOL) {
                complain(f, child->line, "pragma 'doc-required' must be a boolean");
                return;
            }
            pragmas->doc_required = child->boolean;
        } else if (strcmp(child->key, "command-name-exceptions") == 0) {
            pragma_names(f, pragmas->command_name_exceptions, child);
        } else if (strcmp(child->key, "command-returns-exceptions") == 0) {
            pragma_names(f, pragmas->command_returns_exceptions, child);
        } else if (strcmp(child->key, "documentation-exceptions") == 0) {
            pragma_names(f, pragmas->documentation_exceptions, child);
        } else if (strcmp(child->key, "member-name-exceptions") == 0) {
            pragma_names(f, pragmas->member_name_exceptions, child);
        } else {
            complain(f, child->key_line, "unknown pragma '%s'", child->key);
            return;
        }
    }
}

static void item_add(struct file_parser *f, unsigned line, struct node *node, struct doc *doc)
{
    struct item *item = pool_alloc(f->parser->pool, sizeof(*item));

    item->place = (struct place){f->lexer.source, line};
    item->node = node;
    item->doc = doc;
    item->doc_failed = f->doc_failed;
    g_ptr_array_add(f->parser->parsed->items, item);
}

/* Documentation of a definition that no definition follows. */
static void drop_pending(struct file_parser *f)
{
    if (f->pending) {
        complain(f, f->pending->place.line,
                 "documentation for '%s' is not followed by its definition", f->pending->symbol);
        f->pending = NULL;
    }
}

static void parse_doc(struct file_parser *f)
{
    struct doc *doc;

    drop_pending(f);
    doc = doc_parse(&f->lexer);
    f->doc_failed = !doc;
    if (doc && doc->symbol) {
        f->pending = doc;
    } else if (doc) {
        item_add(f, doc->place.line, NULL, doc);
    }
    f->free_form = doc && !doc->symbol ? doc : NULL;
    lexer_next(&f->lexer);
}

static void parse_expression(struct file_parser *f)
{
    struct node *node = at(f, '{') ? parse_value(f, 0) : expected(f, "'{'");

    if (!node) {
        f->pending = f->free_form = NULL;
        f->doc_failed = false;
        lexer_resynchronize(&f->lexer);
        return;
    }
    if (node_get(node, "include")) {
        drop_pending(f);
        do_include(f, node);
    } else if (node_get(node, "pragma")) {
        drop_pending(f);
        do_pragma(f, node);
    } else {
        if (f->free_form) {
            complain(f, f->free_form->place.line,
                     "documentation of the definition in line %u must begin with '@NAME:'",
                     node->line);
            f->doc_failed = true;
        }
        item_add(f, node->line, node, f->pending);
        f->pending = NULL;
    }
    f->free_form = NULL;
    f->doc_failed = false;
}

/* Reads one file, unless that was done before. */
static void parse_file(struct parser *p, const char *path, struct place mentioned)
{
    struct file_parser f = {.parser = p};
    g_autofree char *real = realpath(path, NULL);
    struct source *source;

    source = real ? g_hash_table_lookup(p->by_identity, real) : NULL;
    if (source) {
        if (g_ptr_array_find(p->open, source, NULL)) {
            report_add(p->report, mentioned, "inclusion loop: '%s' includes itself", path);
        }
        return;
    }
    if (p->parsed->sources->len >= INCLUDES_MAX || p->open->len >= CHAIN_MAX) {
        report_add(p->report, mentioned, "too many included files at '%s'", path);
        return;
    }
    source = source_load(p->pool, p->report, path, p->parsed->sources->len, mentioned);
    g_ptr_array_add(p->parsed->sources, source);
    if (real) {
        source->identity = pool_strdup(p->pool, real);
        g_hash_table_insert(p->by_identity, (gpointer)source->identity, source);
    }
    if (!source->text) {
        return;
    }
    g_ptr_array_add(p->open, source);
    lexer_init(&f.lexer, p->pool, p->report, source);
    lexer_next(&f.lexer);
    while (f.lexer.kind != TOKEN_END) {
        if (f.lexer.kind == TOKEN_DOC) {
            parse_doc(&f);
        } else {
            parse_expression(&f);
        }
    }
    drop_pending(&f);
    g_ptr_array_remove_index(p->open, p->open->len - 1);
}

static GHashTable *name_set_new(void)
{
    return g_hash_table_new(g_str_hash, g_str_equal);
}

struct parsed *schema_parse(struct pool *pool, struct report *report, const char *path)
{
    struct parser p = {
        .pool = pool,
        .report = report,
        .parsed = g_new0(struct parsed, 1),
        .by_identity = name_set_new(),
        .open = g_ptr_array_new(),
    };
    struct pragmas *pragmas = &p.parsed->pragmas;

    p.parsed->items = g_ptr_array_new();
    p.parsed->sources = g_ptr_array_new();
    pragmas->command_name_exceptions = name_set_new();
    pragmas->command_returns_exceptions = name_set_new();
    pragmas->documentation_exceptions = name_set_new();
    pragmas->member_name_exceptions = name_set_new();
    parse_file(&p, path, (struct place){NULL, 0});
    g_hash_table_destroy(p.by_identity);
    g_ptr_array_free(p.open, TRUE);
    return p.parsed;
}

void parsed_free(struct parsed *parsed)
{
    if (!parsed) {
        return;
    }
    g_ptr_array_free(parsed->items, TRUE);
    g_ptr_array_free(parsed->sources, TRUE);
    g_hash_table_destroy(parsed->pragmas.command_name_exceptions);
    g_hash_table_destroy(parsed->pragmas.command_returns_exceptions);
    g_hash_table_destroy(parsed->pragmas.documentation_exceptions);
    g_hash_table_destroy(parsed->pragmas.member_name_exceptions);
    g_free(parsed);
}
