/*
 * Text of documentation comments as HTML.
 */
#ifndef QAPI_HTML_H
#define QAPI_HTML_H

#include "schema.h"

/* Appends @len bytes of @text (-1: all) with what HTML would take for markup escaped. */
void html_escape(GString *out, const char *text, gssize len);

/*
 * Appends @text as paragraphs, lists and literal blocks. Of reStructuredText it knows what
 * schemas use: "-", "*" and "1." lists, "::" blocks, ``literal``, **strong**, *emphasis*, and
 * QAPI's own @name, which becomes a link where @schema defines the name.
 */
void html_text(GString *out, const struct schema *schema, const char *text);

/* Appends one line of text without block structure: a heading. */
void html_inline(GString *out, const struct schema *schema, const char *text, size_t len);

/* Appends the name of a type, command or event as a link to its place in the manual. */
void html_reference(GString *out, const struct entity *entity);

#endif
