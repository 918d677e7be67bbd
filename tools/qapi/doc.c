/*
 * Documentation comments, taken apart.
 *
 * A definition's documentation is a sequence of sections. A section begins at "@name:", at one of
 * the tags below, at ".. note::", or where flush text follows a blank line below a description. It
 * ends where the next one begins. The lines' common indentation does not count: 7.2 has none,
 * 8.x asks for four spaces.
 *
 * Free-form documentation has headings and text between them. A heading should be the first line
 * of its comment, but schemas of 7.2 have others.
 */
#include "doc.h"

#include <stdint.h>
#include <string.h>

#include "lex.h"
#include "names.h"

struct tag {
    const char *text;
    enum doc_section_kind kind;
};

static const struct tag tags[] = {
    {"Returns:", DOC_RETURNS},  {"Errors:", DOC_ERRORS},
    {"Since:", DOC_SINCE},      {"Note:", DOC_NOTE},
    {"Notes:", DOC_NOTE},       {"Example:", DOC_EXAMPLE},
    {"Examples:", DOC_EXAMPLE}, {"TODO:", DOC_TODO},
    {".. note::", DOC_NOTE},    {".. qmp-example::", DOC_EXAMPLE},
};

struct doc_reader {
    struct lexer *lexer;
    struct doc *doc;
    struct doc_section *section; /* being filled */
    struct doc_section **tail;   /* where to hang the next */
    GString *first;              /* text beside the section's tag */
    GString *rest;               /* the lines below */
    const char *started_by;      /* for messages */
    unsigned line;               /* of the current line */
    bool blank;                  /* the line before was blank */
    bool in_features;
    bool tagged; /* a tagged section was seen: no more descriptions */
    bool closed; /* the last line was read */
};

static bool doc_error(struct doc_reader *r, unsigned line, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static bool doc_error(struct doc_reader *r, unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report_addv(r->lexer->report, (struct place){r->lexer->source, line}, format, args);
    va_end(args);
    return false;
}

/* The blanks at the start that all lines with text have in common. */
static size_t common_indent(const char *text)
{
    size_t common = SIZE_MAX;

    while (*text) {
        size_t len = strcspn(text, "\n");
        size_t indent = strspn(text, " \t");

        if (indent < len) {
            common = MIN(common, indent);
        }
        text += len + (text[len] == '\n');
    }
    return common == SIZE_MAX ? 0 : common;
}

static void append_dedented(GString *out, const char *text)
{
    size_t common = common_indent(text);

    while (*text) {
        size_t len = strcspn(text, "\n");

        if (strspn(text, " \t") < len) {
            g_string_append_len(out, text + common, (gssize)(len - common));
        }
        g_string_append_c(out, '\n');
        text += len + (text[len] == '\n');
    }
}

static bool section_end(struct doc_reader *r)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char *from;
    size_t len;

    if (!r->section) {
        return true;
    }
    if (r->first->len) {
        g_string_append(text, r->first->str);
        g_string_append_c(text, '\n');
    }
    append_dedented(text, r->rest->str);
    /* blank lines before and behind are layout */
    len = text->len;
    while (len && g_ascii_isspace(text->str[len - 1])) {
        len--;
    }
    from = text->str;
    while (*from == '\n') {
        from++;
    }
    if (!len) {
        if (r->section->kind != DOC_BODY) {
            return doc_error(r, r->section->line, "text required after '%s'", r->started_by);
        }
        r->section = NULL;
        return true;
    }
    r->section->text =
        pool_printf(r->lexer->pool, "%.*s\n", (int)(len - (size_t)(from - text->str)), from);
    *r->tail = r->section;
    r->tail = &r->section->next;
    r->section = NULL;
    return true;
}

static bool section_start(struct doc_reader *r, enum doc_section_kind kind, const char *name,
                          const char *started_by, const char *text)
{
    if (!section_end(r)) {
        return false;
    }
    r->section = pool_alloc(r->lexer->pool, sizeof(*r->section));
    r->section->kind = kind;
    r->section->line = r->line;
    r->section->name = name;
    r->started_by = started_by;
    g_string_assign(r->first, text + strspn(text, " \t"));
    g_string_truncate(r->rest, 0);
    return true;
}

/* "@name:" with or without text behind it. */
static bool description_start(struct doc_reader *r, const char *line, size_t word)
{
    const char *name = pool_strndup(r->lexer->pool, line + 1, word - 2);
    enum doc_section_kind kind = r->in_features ? DOC_FEATURE : DOC_MEMBER;
    const struct doc_section *s;

    if (!*name) {
        return doc_error(r, r->line, "a name is required after '@'");
    }
    if (r->tagged) {
        return doc_error(r, r->line, "description of '@%s:' follows a section", name);
    }
    if (!section_end(r)) {
        return false;
    }
    s = doc_find(r->doc, kind, name);
    if (s) {
        return doc_error(r, r->line, "'%s' is described twice, first in line %u", name, s->line);
    }
    return section_start(r, kind, name, pool_printf(r->lexer->pool, "@%s:", name), line + word);
}

static bool tag_start(struct doc_reader *r, const struct tag *tag, const char *line)
{
    if (tag->text[0] != '.') {
        r->tagged = true;
    }
    if (!section_end(r)) {
        return false;
    }
    if ((tag->kind == DOC_SINCE || tag->kind == DOC_RETURNS || tag->kind == DOC_ERRORS) &&
        doc_find(r->doc, tag->kind, NULL)) {
        return doc_error(r, r->line, "duplicated '%s' section", tag->text);
    }
    return section_start(r, tag->kind, NULL, tag->text, line + strlen(tag->text));
}

static bool is_heading(const char *line)
{
    size_t n = strspn(line, "=");

    return n && line[n] == ' ';
}

static const struct tag *tag_find(const char *line)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tags); i++) {
        size_t len = strlen(tags[i].text);

        if (strncmp(line, tags[i].text, len) == 0 && (!line[len] || line[len] == ' ')) {
            return &tags[i];
        }
    }
    return NULL;
}

/* Flush text behind a blank line ends what has some text and is not an example. */
static bool leaves_section(const struct doc_reader *r, const char *line)
{
    bool filled = r->first->len || strspn(r->rest->str, " \n") < r->rest->len;

    return r->blank && filled && !g_ascii_isspace(*line) && r->section->kind != DOC_BODY &&
           r->section->kind != DOC_EXAMPLE;
}

static bool definition_line(struct doc_reader *r, const char *line)
{
    size_t word = strcspn(line, " \t");
    const struct tag *tag = tag_find(line);

    if (strcmp(line, "Features:") == 0) {
        r->in_features = true;
        r->tagged = false;
        return section_start(r, DOC_BODY, NULL, line, "");
    }
    if (line[0] == '@' && line[word - 1] == ':') {
        return description_start(r, line, word);
    }
    if (tag) {
        return tag_start(r, tag, line);
    }
    if (is_heading(line)) {
        return doc_error(r, r->line, "a heading cannot stand in the documentation of a definition");
    }
    if (!r->section || leaves_section(r, line)) {
        if (!section_start(r, DOC_BODY, NULL, "", "")) {
            return false;
        }
    }
    g_string_append_printf(r->rest, "%s\n", line);
    return true;
}

static bool free_form_line(struct doc_reader *r, const char *line)
{
    size_t word = strcspn(line, " \t");

    if (is_heading(line)) {
        size_t n = strspn(line, "=");

        if (!section_start(r, DOC_HEADING, NULL, "=", line + n)) {
            return false;
        }
        r->section->level = (unsigned)n;
        return section_end(r);
    }
    if (line[0] == '@' && line[word - 1] == ':') {
        return doc_error(r, r->line, "'%.*s' is not allowed in free-form documentation", (int)word,
                         line);
    }
    if (!r->section && !section_start(r, DOC_BODY, NULL, "", "")) {
        return false;
    }
    g_string_append_printf(r->rest, "%s\n", line);
    return true;
}

/* The line that names what is documented. */
static bool symbol_line(struct doc_reader *r, const char *line)
{
    size_t len = strlen(line);

    if (line[len - 1] != ':') {
        return doc_error(r, r->line, "the line that names what is documented must end with ':'");
    }
    r->doc->symbol = pool_strndup(r->lexer->pool, line + 1, len - 2);
    if (!*r->doc->symbol) {
        return doc_error(r, r->line, "a name is required after '@'");
    }
    if (!name_is_valid(r->doc->symbol, false)) {
        return doc_error(r, r->line, "'%s' is not a valid name", r->doc->symbol);
    }
    return true;
}

/* One line without its "# ". */
static bool doc_line(struct doc_reader *r, const char *line)
{
    bool started = r->doc->symbol || r->doc->sections || r->section;
    bool ok = true;

    if (!*line) {
        if (r->section) {
            g_string_append_c(r->rest, '\n');
        }
        r->blank = true;
        return true;
    }
    if (!started && *line == '@') {
        ok = symbol_line(r, line);
    } else if (r->doc->symbol) {
        ok = definition_line(r, line);
    } else {
        ok = free_form_line(r, line);
    }
    r->blank = false;
    return ok;
}

static bool doc_lines(struct doc_reader *r)
{
    const char *text;
    size_t len;
    unsigned line;

    lexer_comment_line(r->lexer, &text, &len, &line);
    if (len != 2) {
        return doc_error(r, line, "junk after '##' at the start of documentation");
    }
    while (lexer_comment_line(r->lexer, &text, &len, &line)) {
        g_autofree char *content = NULL;

        r->line = line;
        if (len >= 2 && text[1] == '#') {
            r->closed = true;
            if (len != 2) {
                return doc_error(r, line, "junk after '##' at the end of documentation");
            }
            return section_end(r);
        }
        if (len > 1 && text[1] != ' ' && text[1] != '\t') {
            return doc_error(r, line, "missing space after '#'");
        }
        content = len > 1 ? g_strndup(text + 2, len - 2) : g_strdup("");
        if (!doc_line(r, content)) {
            return false;
        }
    }
    r->closed = true;
    return doc_error(r, r->lexer->line, "documentation must end with '##'");
}

static void skip_to_end(struct lexer *lexer)
{
    const char *text;
    size_t len;
    unsigned line;

    while (lexer_comment_line(lexer, &text, &len, &line)) {
        if (len >= 2 && text[1] == '#') {
            break;
        }
    }
}

struct doc *doc_parse(struct lexer *lexer)
{
    struct doc_reader r = {
        .lexer = lexer,
        .doc = pool_alloc(lexer->pool, sizeof(struct doc)),
        .first = g_string_new(NULL),
        .rest = g_string_new(NULL),
        .line = lexer->line,
    };
    bool ok;

    r.doc->place = (struct place){lexer->source, lexer->line};
    r.tail = &r.doc->sections;
    ok = doc_lines(&r);
    if (!ok && !r.closed) {
        skip_to_end(lexer);
    }
    g_string_free(r.first, TRUE);
    g_string_free(r.rest, TRUE);
    return ok ? r.doc : NULL;
}

const struct doc_section *doc_find(const struct doc *doc, enum doc_section_kind kind,
                                   const char *name)
{
    for (const struct doc_section *s = doc->sections; s; s = s->next) {
        if (s->kind == kind && (!name || strcmp(s->name, name) == 0)) {
            return s;
        }
    }
    return NULL;
}
