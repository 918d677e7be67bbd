/*
 * Text of documentation comments as HTML.
 *
 * The text is taken apart line by line into blocks. A block is a paragraph, an item of a list
 * with the more deeply indented lines below it, or a literal block: indented lines below a
 * paragraph that ends in "::". Nesting is by recursion on the dedented text, bounded by the depth
 * of indentation that is left.
 */
#include "html.h"

#include <stdint.h>
#include <string.h>

#define NESTING_MAX 8

void html_escape(GString *out, const char *text, gssize len)
{
    const char *end = text + (len < 0 ? (gssize)strlen(text) : len);

    for (const char *p = text; p < end; p++) {
        switch (*p) {
        case '&':
            g_string_append(out, "&amp;");
            break;
        case '<':
            g_string_append(out, "&lt;");
            break;
        case '>':
            g_string_append(out, "&gt;");
            break;
        case '"':
            g_string_append(out, "&quot;");
            break;
        default:
            g_string_append_c(out, *p);
            break;
        }
    }
}

void html_reference(GString *out, const struct entity *entity)
{
    if (entity->kind == ENTITY_ARRAY) {
        g_string_append(out, "array of ");
        entity = entity->element;
    }
    g_string_append_printf(out, "<a href=\"#%s\"><code>%s</code></a>", entity->name, entity->name);
}

/* "@name" at @p: a link or just code. Returns what follows, or NULL if it is no name. */
static const char *inline_name(GString *out, const struct schema *schema, const char *p,
                               const char *end)
{
    const char *name_end = p + 1;
    g_autofree char *name = NULL;
    const struct entity *entity;

    while (name_end < end && (g_ascii_isalnum(*name_end) || strchr("_-.", *name_end))) {
        name_end++;
    }
    while (name_end > p + 1 && strchr(".-", name_end[-1])) {
        name_end--; /* punctuation of the sentence */
    }
    if (name_end == p + 1) {
        return NULL;
    }
    name = g_strndup(p + 1, (gsize)(name_end - p - 1));
    entity = g_hash_table_lookup(schema->by_name, name);
    if (entity && entity->kind != ENTITY_ARRAY) {
        html_reference(out, entity);
    } else {
        g_string_append(out, "<code>");
        html_escape(out, name, -1);
        g_string_append(out, "</code>");
    }
    return name_end;
}

/* Text between two @mark at @p: inside <tag>. Returns what follows, or NULL if it is not closed. */
static const char *inline_marked(GString *out, const char *p, const char *end, const char *mark,
                                 const char *tag)
{
    size_t len = strlen(mark);
    const char *from = p + len;
    const char *close;

    if ((size_t)(end - p) < 2 * len || strncmp(p, mark, len) != 0 || from == end ||
        g_ascii_isspace(*from)) {
        return NULL;
    }
    close = g_strstr_len(from, end - from, mark);
    if (!close || close == from) {
        return NULL;
    }
    g_string_append_printf(out, "<%s>", tag);
    html_escape(out, from, close - from);
    g_string_append_printf(out, "</%s>", tag);
    return close + len;
}

void html_inline(GString *out, const struct schema *schema, const char *text, size_t len)
{
    const char *end = text + len;
    const char *p = text;

    while (p < end) {
        bool start = p == text || !g_ascii_isalnum(p[-1]);
        const char *next = NULL;

        if (*p == '\\' && p + 1 < end && strchr("*`\\@_|", p[1])) {
            html_escape(out, p + 1, 1);
            next = p + 2;
        } else if (*p == '@' && start) {
            next = inline_name(out, schema, p, end);
        } else if (*p == '`') {
            next = inline_marked(out, p, end, "``", "code");
        } else if (*p == '*' && start) {
            next = inline_marked(out, p, end, "**", "strong");
            next = next ? next : inline_marked(out, p, end, "*", "em");
        }
        if (!next) {
            html_escape(out, p, 1);
            next = p + 1;
        }
        p = next;
    }
}

/* A line of the text at hand. */
struct line {
    const char *text;
    size_t len;
    size_t indent; /* SIZE_MAX: blank */
};

static struct line line_at(const char *text, const char *end)
{
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    struct line line = {text, newline ? (size_t)(newline - text) : (size_t)(end - text), 0};

    while (line.indent < line.len && text[line.indent] == ' ') {
        line.indent++;
    }
    if (line.indent == line.len) {
        line.indent = SIZE_MAX;
    }
    return line;
}

static const char *line_after(const struct line *line, const char *end)
{
    return line->text + line->len < end ? line->text + line->len + 1 : end;
}

/* The width of a list's bullet with the blanks behind it; 0 if the line has none. */
static size_t bullet_width(const struct line *line, bool *ordered)
{
    const char *p = line->text + line->indent;
    const char *end = line->text + line->len;
    size_t width = 0;

    *ordered = false;
    if (*p == '-' || *p == '*') {
        width = 1;
    } else {
        while (p + width < end && g_ascii_isdigit(p[width])) {
            width++;
        }
        *ordered = width > 0;
        width += width && p + width < end && p[width] == '.';
        if (*ordered && p[width - 1] != '.') {
            return 0;
        }
    }
    if (!width || p + width >= end || p[width] != ' ') {
        return 0;
    }
    while (p + width < end && p[width] == ' ') {
        width++;
    }
    return width;
}

/* The end of the lines from @p on that are blank or indented by at least @indent. */
static const char *indented_end(const char *p, const char *end, size_t indent)
{
    const char *last = p;

    while (p < end) {
        struct line line = line_at(p, end);

        if (line.indent != SIZE_MAX && line.indent < indent) {
            break;
        }
        p = line_after(&line, end);
        if (line.indent != SIZE_MAX) {
            last = p;
        }
    }
    return last;
}

static void blocks(GString *out, const struct schema *schema, const char *p, const char *end,
                   unsigned depth);

/* One item: the text behind the bullet and the lines below it that are indented as far. */
static const char *list_item(GString *out, const struct schema *schema, const struct line *line,
                             const char *end, unsigned depth)
{
    bool ordered;
    size_t width = bullet_width(line, &ordered);
    const char *below = line_after(line, end);
    const char *item_end = indented_end(below, end, line->indent + 1);
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_len(text, line->text + line->indent + width,
                        (gssize)(line->len - line->indent - width));
    g_string_append_c(text, '\n');
    while (below < item_end) {
        struct line l = line_at(below, item_end);
        size_t drop = l.indent == SIZE_MAX ? l.len : MIN(l.indent, line->indent + width);

        g_string_append_len(text, l.text + drop, (gssize)(l.len - drop));
        g_string_append_c(text, '\n');
        below = line_after(&l, item_end);
    }
    g_string_append(out, "<li>");
    blocks(out, schema, text->str, text->str + text->len, depth + 1);
    g_string_append(out, "</li>\n");
    return item_end;
}

static const char *list(GString *out, const struct schema *schema, const char *p, const char *end,
                        bool ordered, unsigned depth)
{
    g_string_append(out, ordered ? "<ol>\n" : "<ul>\n");
    while (p < end) {
        struct line line = line_at(p, end);
        bool same;

        if (line.indent == SIZE_MAX) {
            p = line_after(&line, end);
            continue;
        }
        if (!bullet_width(&line, &same) || same != ordered) {
            break;
        }
        p = list_item(out, schema, &line, end, depth);
    }
    g_string_append(out, ordered ? "</ol>\n" : "</ul>\n");
    return p;
}

/* Lines as they are, without the indentation of the first. */
static const char *literal(GString *out, const char *p, const char *end)
{
    struct line first = line_at(p, end);
    const char *stop;

    while (first.indent == SIZE_MAX && p < end) {
        p = line_after(&first, end);
        first = line_at(p, end);
    }
    if (p >= end || first.indent == 0) {
        return p;
    }
    stop = indented_end(p, end, first.indent);
    g_string_append(out, "<pre>");
    while (p < stop) {
        struct line line = line_at(p, stop);
        size_t drop = line.indent == SIZE_MAX ? line.len : first.indent;

        html_escape(out, line.text + drop, (gssize)(line.len - drop));
        g_string_append_c(out, '\n');
        p = line_after(&line, stop);
    }
    g_string_append(out, "</pre>\n");
    return p;
}

static const char *paragraph(GString *out, const struct schema *schema, const char *p,
                             const char *end)
{
    g_autoptr(GString) text = g_string_new(NULL);
    bool literal_follows;

    while (p < end) {
        struct line line = line_at(p, end);

        if (line.indent == SIZE_MAX) {
            break;
        }
        if (text->len) {
            g_string_append_c(text, '\n');
        }
        g_string_append_len(text, line.text + line.indent, (gssize)(line.len - line.indent));
        p = line_after(&line, end);
    }
    literal_follows = g_str_has_suffix(text->str, "::");
    if (literal_follows) {
        g_string_truncate(text, text->len - (text->len == 2 ? 2 : 1));
    }
    if (text->len) {
        g_string_append(out, "<p>");
        html_inline(out, schema, text->str, text->len);
        g_string_append(out, "</p>\n");
    }
    return literal_follows ? literal(out, p, end) : p;
}

static void blocks(GString *out, const struct schema *schema, const char *p, const char *end,
                   unsigned depth)
{
    while (p < end) {
        struct line line = line_at(p, end);
        bool ordered;

        if (line.indent == SIZE_MAX) {
            p = line_after(&line, end);
        } else if (depth < NESTING_MAX && bullet_width(&line, &ordered)) {
            p = list(out, schema, p, end, ordered, depth);
        } else {
            p = paragraph(out, schema, p, end);
        }
    }
}

void html_text(GString *out, const struct schema *schema, const char *text)
{
    blocks(out, schema, text, text + strlen(text), 0);
}
