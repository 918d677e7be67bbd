/*
 * <prefix>-reference.html: the manual of the protocol, one page that needs nothing else.
 *
 * It follows the schema: free-form documentation with its headings, then each definition with
 * members, features and sections. Every name of a type links to its definition. In front stand
 * the headings, behind the built-in types and an index of all names.
 *
 * The anchor of a definition is its name. Others have a '.' in them, which no name has but in a
 * downstream prefix, and those begin with "__".
 */
#include <string.h>

#include "emit.h"
#include "html.h"

static const char style[] =
    "body { font: 16px/1.5 sans-serif; max-width: 52em; margin: 0 auto; padding: 1em;\n"
    "  color: #1b1b1b; background: #fff }\n"
    "code, pre { font-family: monospace; font-size: 0.93em }\n"
    "pre { background: #f3f3f0; padding: 0.6em 0.8em; overflow-x: auto }\n"
    "a { color: #0b57a4; text-decoration: none } a:hover { text-decoration: underline }\n"
    "h2 { border-bottom: 2px solid #ccc; margin-top: 2em }\n"
    "h3 { border-top: 1px solid #ddd; padding-top: 0.8em; margin-top: 1.6em }\n"
    "h3 small { color: #666; font-weight: normal }\n"
    "dt { margin-top: 0.4em } dd p { margin: 0.1em 0 }\n"
    ".note { border-left: 4px solid #d8b24a; padding-left: 0.8em }\n"
    ".since, .when { color: #666 }\n"
    ".index { columns: 16em; list-style: none; padding: 0 }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "  body { color: #ddd; background: #16181a } pre { background: #24272a }\n"
    "  a { color: #7db7ee } h3 small, .since, .when { color: #999 } }\n";

static void emit_condition(GString *out, const struct cond *cond)
{
    switch (cond->kind) {
    case COND_DEFINED:
        g_string_append_printf(out, "<code>%s</code>", cond->symbol);
        break;
    case COND_NOT:
        g_string_append(out, "not ");
        emit_condition(out, cond->operands);
        break;
    default:
        g_string_append_c(out, '(');
        for (const struct cond *operand = cond->operands; operand; operand = operand->next) {
            emit_condition(out, operand);
            if (operand->next) {
                g_string_append(out, cond->kind == COND_ALL ? " and " : " or ");
            }
        }
        g_string_append_c(out, ')');
        break;
    }
}

static void emit_when(GString *out, const struct cond *cond)
{
    if (cond) {
        g_string_append(out, " <span class=\"when\">if built with ");
        emit_condition(out, cond);
        g_string_append(out, "</span>");
    }
}

static void emit_section_text(struct output *output, GString *out, const struct doc *doc,
                              enum doc_section_kind kind, const char *name, bool expected)
{
    const struct doc_section *section = doc ? doc_find(doc, kind, name) : NULL;

    if (section) {
        html_text(out, output->schema, section->text);
    } else if (expected) {
        g_string_append(out, "<p>Not documented.</p>\n");
    }
}

static void emit_member(struct output *output, GString *out, const struct entity *e,
                        const struct member *m)
{
    g_string_append_printf(out, "<dt><code>%s</code>", m->name);
    if (m->type) {
        g_string_append(out, ": ");
        html_reference(out, m->type);
    }
    if (m->optional) {
        g_string_append(out, " (optional)");
    }
    emit_when(out, m->cond);
    for (const struct feature *f = m->features; f; f = f->next) {
        g_string_append_printf(out, " <em>%s</em>", f->name);
        emit_when(out, f->cond);
    }
    g_string_append(out, "</dt>\n<dd>");
    emit_section_text(output, out, e->doc, DOC_MEMBER, m->name, true);
    g_string_append(out, "</dd>\n");
}

static const char *members_title(const struct entity *e)
{
    switch (e->kind) {
    case ENTITY_ENUM:
        return "Values";
    case ENTITY_COMMAND:
        return "Arguments";
    case ENTITY_EVENT:
        return "Data";
    case ENTITY_ALTERNATE:
        return "Alternatives";
    default:
        return "Members";
    }
}

/* What is taken over from elsewhere: a base, branches, arguments that a type names. */
static void emit_references(GString *out, const struct entity *e)
{
    if (e->base) {
        g_string_append(out, "<dt>the members of ");
        html_reference(out, e->base);
        g_string_append(out, "</dt>\n");
    }
    if (e->arg && !e->arg->implicit) {
        g_string_append(out, "<dt>the members of ");
        html_reference(out, e->arg);
        g_string_append(out, "</dt>\n");
    }
    for (const struct member *b = e->kind == ENTITY_UNION ? e->branches : NULL; b; b = b->next) {
        g_string_append_printf(out, "<dt>when <code>%s</code> is <code>%s</code>: the members of ",
                               e->discriminator, b->name);
        html_reference(out, b->type);
        emit_when(out, b->cond);
        g_string_append(out, "</dt>\n");
    }
}

static void emit_members(struct output *output, GString *out, const struct entity *e)
{
    const struct member *members = e->kind == ENTITY_ALTERNATE  ? e->branches
                                   : e->arg && e->arg->implicit ? e->arg->members
                                                                : e->members;

    if (!members && !e->base && !(e->arg && !e->arg->implicit) && e->kind != ENTITY_UNION) {
        return;
    }
    g_string_append_printf(out, "<h4>%s</h4>\n<dl>\n", members_title(e));
    for (const struct member *m = members; m; m = m->next) {
        emit_member(output, out, e, m);
    }
    emit_references(out, e);
    g_string_append(out, "</dl>\n");
}

static void emit_features(struct output *output, GString *out, const struct entity *e)
{
    bool any = e->features != NULL;

    for (const struct doc_section *s = e->doc ? e->doc->sections : NULL; s; s = s->next) {
        any |= s->kind == DOC_FEATURE;
    }
    if (!any) {
        return;
    }
    g_string_append(out, "<h4>Features</h4>\n<dl>\n");
    for (const struct feature *f = e->doc ? NULL : e->features; f; f = f->next) {
        g_string_append_printf(out, "<dt><code>%s</code>", f->name);
        emit_when(out, f->cond);
        g_string_append(out, "</dt>\n");
    }
    for (const struct doc_section *s = e->doc ? e->doc->sections : NULL; s; s = s->next) {
        if (s->kind == DOC_FEATURE) {
            g_string_append_printf(out, "<dt><code>%s</code></dt>\n<dd>", s->name);
            html_text(out, output->schema, s->text);
            g_string_append(out, "</dd>\n");
        }
    }
    g_string_append(out, "</dl>\n");
}

static void emit_returns(struct output *output, GString *out, const struct entity *e)
{
    if (!e->returns) {
        return;
    }
    g_string_append(out, "<h4>Returns</h4>\n<p>");
    html_reference(out, e->returns);
    g_string_append(out, "</p>\n");
    emit_section_text(output, out, e->doc, DOC_RETURNS, NULL, false);
}

static void emit_example(GString *out, const char *text)
{
    g_string_append(out, "<h4>Example</h4>\n<pre>");
    html_escape(out, text, -1);
    g_string_append(out, "</pre>\n");
}

/* The sections that follow members, features and return value, in the order of the schema. */
static void emit_sections(struct output *output, GString *out, const struct entity *e)
{
    for (const struct doc_section *s = e->doc ? e->doc->sections : NULL; s; s = s->next) {
        switch (s->kind) {
        case DOC_RETURNS:
            if (!e->returns) {
                g_string_append(out, "<h4>Returns</h4>\n");
                html_text(out, output->schema, s->text);
            }
            break;
        case DOC_ERRORS:
            g_string_append(out, "<h4>Errors</h4>\n");
            html_text(out, output->schema, s->text);
            break;
        case DOC_NOTE:
            g_string_append(out, "<div class=\"note\">");
            html_text(out, output->schema, s->text);
            g_string_append(out, "</div>\n");
            break;
        case DOC_EXAMPLE:
            emit_example(out, s->text);
            break;
        default:
            break;
        }
    }
}

static void emit_flags(GString *out, const struct entity *e)
{
    static const char *const roles[] = {
        [ROLE_ADMIN] = "admin", [ROLE_OPERATOR] = "operator", [ROLE_OBSERVER] = "observer"};

    if (e->kind == ENTITY_COMMAND) {
        g_string_append_printf(out, "<p>For clients with the role %s.</p>\n", roles[e->role]);
    }
    if (e->allow_oob) {
        g_string_append(out, "<p>May be run out of band.</p>\n");
    }
    if (e->allow_preconfig) {
        g_string_append(out, "<p>May be run before the machine is built.</p>\n");
    }
    if (e->no_success) {
        g_string_append(out, "<p>Success is not answered.</p>\n");
    }
}

static const char *kind_title(const struct entity *e)
{
    switch (e->kind) {
    case ENTITY_ENUM:
        return "enum";
    case ENTITY_STRUCT:
        return "object";
    case ENTITY_UNION:
        return "union";
    case ENTITY_ALTERNATE:
        return "alternate";
    case ENTITY_COMMAND:
        return "command";
    default:
        return "event";
    }
}

static void emit_definition(struct output *output, GString *out, const struct entity *e)
{
    const struct doc_section *since = e->doc ? doc_find(e->doc, DOC_SINCE, NULL) : NULL;

    g_string_append_printf(out,
                           "<h3 id=\"%s\"><a href=\"#%s\"><code>%s</code></a> "
                           "<small>%s</small></h3>\n",
                           e->name, e->name, e->name, kind_title(e));
    if (e->cond) {
        g_string_append(out, "<p>");
        emit_when(out, e->cond);
        g_string_append(out, "</p>\n");
    }
    for (const struct doc_section *s = e->doc ? e->doc->sections : NULL; s; s = s->next) {
        if (s->kind == DOC_BODY) {
            html_text(out, output->schema, s->text);
        }
    }
    emit_members(output, out, e);
    emit_features(output, out, e);
    emit_returns(output, out, e);
    emit_sections(output, out, e);
    emit_flags(out, e);
    if (since) {
        g_string_append(out, "<p class=\"since\">Since ");
        html_inline(out, output->schema, since->text, strlen(since->text) - 1);
        g_string_append(out, "</p>\n");
    }
}

static void emit_free_form(struct output *output, GString *out, const struct doc *doc,
                           unsigned *number)
{
    for (const struct doc_section *s = doc->sections; s; s = s->next) {
        unsigned level = MIN(s->level + 1, 6);

        if (s->kind != DOC_HEADING) {
            html_text(out, output->schema, s->text);
            continue;
        }
        g_string_append_printf(out, "<h%u id=\"s.%u\">", level, ++*number);
        html_inline(out, output->schema, s->text, strlen(s->text) - 1);
        g_string_append_printf(out, "</h%u>\n", level);
    }
}

/* The headings of one piece of free-form documentation as links. */
static void emit_headings(GString *out, const struct doc *doc, unsigned *number)
{
    for (const struct doc_section *s = doc->sections; s; s = s->next) {
        if (s->kind == DOC_HEADING) {
            g_string_append_printf(out, "<li style=\"margin-left: %uem\"><a href=\"#s.%u\">",
                                   2 * (MIN(s->level, 6) - 1), ++*number);
            html_escape(out, s->text, (gssize)strlen(s->text) - 1);
            g_string_append(out, "</a></li>\n");
        }
    }
}

static void emit_contents(struct output *output, GString *out)
{
    const GPtrArray *items = output->schema->parsed->items;
    unsigned number = 0;

    g_string_append(out, "<nav>\n<h2 id=\"contents.\">Contents</h2>\n<ul>\n");
    for (guint i = 0; i < items->len; i++) {
        const struct item *item = g_ptr_array_index(items, i);

        if (!item->node) {
            emit_headings(out, item->doc, &number);
        }
    }
    g_string_append(out, "<li><a href=\"#builtin.\">Built-in types</a></li>\n"
                         "<li><a href=\"#index.\">Index</a></li>\n</ul>\n</nav>\n");
}

static void emit_builtins(GString *out)
{
    static const char *const texts[][2] = {
        {"str", "A string."},
        {"number", "Any number."},
        {"int", "A whole number that fits 64 bits with sign."},
        {"int8", "A whole number that fits 8 bits with sign."},
        {"int16", "A whole number that fits 16 bits with sign."},
        {"int32", "A whole number that fits 32 bits with sign."},
        {"int64", "A whole number that fits 64 bits with sign."},
        {"uint8", "A whole number that fits 8 bits without sign."},
        {"uint16", "A whole number that fits 16 bits without sign."},
        {"uint32", "A whole number that fits 32 bits without sign."},
        {"uint64", "A whole number that fits 64 bits without sign."},
        {"size", "A number of bytes that fits 64 bits without sign. On the command line, one of "
                 "B, K, M, G, T, P, E may follow."},
        {"bool", "true or false. On the command line: on or off."},
        {"null", "null."},
        {"any", "Any value."},
        {"QType", "The kind of a JSON value: none, qnull, qnum, qstring, qdict, qlist or qbool."},
    };

    g_string_append(out, "<h2 id=\"builtin.\">Built-in types</h2>\n<dl>\n");
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_string_append_printf(out, "<dt id=\"%s\"><code>%s</code></dt>\n<dd><p>%s</p></dd>\n",
                               texts[i][0], texts[i][0], texts[i][1]);
    }
    g_string_append(out, "</dl>\n");
}

static int entity_compare(const void *a, const void *b)
{
    const struct entity *const *x = a, *const *y = b;
    int order = g_ascii_strcasecmp((*x)->name, (*y)->name);

    return order ? order : strcmp((*x)->name, (*y)->name);
}

static void emit_index_part(GString *out, const GPtrArray *sorted, const char *title,
                            bool (*belongs)(const struct entity *))
{
    g_string_append_printf(out, "<h3>%s</h3>\n<ul class=\"index\">\n", title);
    for (guint i = 0; i < sorted->len; i++) {
        const struct entity *e = g_ptr_array_index(sorted, i);

        if (belongs(e)) {
            g_string_append(out, "<li>");
            html_reference(out, e);
            g_string_append(out, "</li>\n");
        }
    }
    g_string_append(out, "</ul>\n");
}

static bool is_command(const struct entity *e)
{
    return e->kind == ENTITY_COMMAND;
}

static bool is_event(const struct entity *e)
{
    return e->kind == ENTITY_EVENT;
}

static bool is_type(const struct entity *e)
{
    return !is_command(e) && !is_event(e);
}

static void emit_index(struct output *output, GString *out)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();

    for (guint i = 0; i < output->schema->entities->len; i++) {
        g_ptr_array_add(sorted, g_ptr_array_index(output->schema->entities, i));
    }
    g_ptr_array_sort(sorted, entity_compare);
    g_string_append(out, "<h2 id=\"index.\">Index</h2>\n");
    emit_index_part(out, sorted, "Commands", is_command);
    emit_index_part(out, sorted, "Events", is_event);
    emit_index_part(out, sorted, "Types", is_type);
}

/* The title: the schema's first heading. */
static void emit_title(struct output *output, GString *out)
{
    const GPtrArray *items = output->schema->parsed->items;

    for (guint i = 0; i < items->len; i++) {
        const struct item *item = g_ptr_array_index(items, i);
        const struct doc_section *s = item->node ? NULL : doc_find(item->doc, DOC_HEADING, NULL);

        if (s) {
            html_escape(out, s->text, (gssize)strlen(s->text) - 1);
            return;
        }
    }
    g_string_append(out, "QMP");
}

void generate_reference(struct output *output)
{
    GString *out = output_file(output, "reference.html");
    const GPtrArray *items = output->schema->parsed->items;
    guint next = 0;
    unsigned number = 0;

    g_string_append(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                         "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    emit_title(output, out);
    g_string_append_printf(out, ": reference</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>",
                           style);
    emit_title(output, out);
    g_string_append(out, ": reference</h1>\n");
    emit_contents(output, out);
    for (guint i = 0; i < items->len; i++) {
        const struct item *item = g_ptr_array_index(items, i);

        if (item->node) {
            emit_definition(output, out, g_ptr_array_index(output->schema->entities, next++));
        } else {
            emit_free_form(output, out, item->doc, &number);
        }
    }
    emit_builtins(out);
    emit_index(output, out);
    g_string_append(out, "</body>\n</html>\n");
}
