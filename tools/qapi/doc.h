/*
 * Documentation comments, taken apart. Both layouts of QEMU's schemas are read: that of 7.2, whose
 * text may stand flush below "@name:", and that of 8.x, which indents it and has ".. note::".
 */
#ifndef QAPI_DOC_H
#define QAPI_DOC_H

#include "pool.h"
#include "report.h"

struct lexer;

enum doc_section_kind {
    DOC_BODY,    /* text under no tag */
    DOC_HEADING, /* "= Text", in free-form documentation only */
    DOC_MEMBER,  /* "@name:" */
    DOC_FEATURE, /* "@name:" behind "Features:" */
    DOC_RETURNS,
    DOC_ERRORS,
    DOC_SINCE,
    DOC_NOTE,
    DOC_EXAMPLE,
    DOC_TODO,
};

struct doc_section {
    enum doc_section_kind kind;
    unsigned line;
    const char *name; /* DOC_MEMBER and DOC_FEATURE */
    unsigned level;   /* DOC_HEADING: from 1 */
    const char *text; /* lines without their common indentation, each ended by '\n' */
    struct doc_section *next;
};

struct doc {
    struct place place;
    const char *symbol; /* what is documented; NULL: free-form */
    struct doc_section *sections;
};

/*
 * Reads a documentation comment; @lexer stands at its first "##". On return it stands behind the
 * closing "##", also after an error (the next token is not read yet). NULL on error, which was
 * reported.
 */
struct doc *doc_parse(struct lexer *lexer);

/* The section of that kind and name, or NULL. */
const struct doc_section *doc_find(const struct doc *doc, enum doc_section_kind kind,
                                   const char *name);

#endif
