/*
 * The schema language's tokens. It is JSON with 'single quotes', comments that run from # to the
 * end of the line, and neither numbers nor null. A line comment that begins with ## opens or closes
 * documentation.
 */
#ifndef QAPI_LEX_H
#define QAPI_LEX_H

#include "pool.h"
#include "report.h"
#include "source.h"

enum token_kind {
    TOKEN_END,
    TOKEN_PUNCTUATION, /* one of {}[]:, */
    TOKEN_STRING,
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_DOC,   /* the line "##..." that opens documentation */
    TOKEN_ERROR, /* reported already */
};

struct lexer {
    struct pool *pool;
    struct report *report;
    const struct source *source;
    const char *at;
    unsigned line;

    /* the current token */
    enum token_kind kind;
    char punctuation;
    const char *string;
    unsigned token_line;
    const char *token_at;
};

void lexer_init(struct lexer *lexer, struct pool *pool, struct report *report,
                const struct source *source);

/* Moves on to the next token; plain comments and blanks are skipped. */
void lexer_next(struct lexer *lexer);

/*
 * Used behind TOKEN_DOC: takes the next line of a comment with its leading blanks removed (@text,
 * @len, from the '#' on). Blank lines are skipped. False when something else comes next.
 */
bool lexer_comment_line(struct lexer *lexer, const char **text, size_t *len, unsigned *line);

/*
 * After an error: moves to the next line that looks like the start of a top-level item, that is
 * begins with '{' or "##", and reads its token.
 */
void lexer_resynchronize(struct lexer *lexer);

/* The current token for messages: "'}'", "a string"... */
const char *lexer_token_text(struct lexer *lexer);

#endif
