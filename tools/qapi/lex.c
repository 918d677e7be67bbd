/*
 * The schema language's tokens.
 */
#include "lex.h"

#include <string.h>

void lexer_init(struct lexer *lexer, struct pool *pool, struct report *report,
                const struct source *source)
{
    *lexer = (struct lexer){
        .pool = pool,
        .report = report,
        .source = source,
        .at = source->text,
        .line = 1,
    };
}

static void lex_error(struct lexer *lexer, unsigned line, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void lex_error(struct lexer *lexer, unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report_addv(lexer->report, (struct place){lexer->source, line}, format, args);
    va_end(args);
    lexer->kind = TOKEN_ERROR;
}

static void lex_string(struct lexer *lexer)
{
    g_autoptr(GString) text = g_string_new(NULL);

    lexer->at++;
    for (;; lexer->at++) {
        char c = *lexer->at;

        if (c == '\n' || c == '\0') {
            lex_error(lexer, lexer->token_line, "missing terminating \"'\"");
            return;
        }
        if (c == '\'') {
            break;
        }
        if (c == '\\') {
            c = *++lexer->at;
            if (c != '\\') {
                lex_error(lexer, lexer->token_line, "unknown escape in a string, only '\\\\' is");
                return;
            }
        } else if (c < 0x20 || c > 0x7e) {
            lex_error(lexer, lexer->token_line,
                      "a string may only hold printable ASCII characters");
            return;
        }
        g_string_append_c(text, c);
    }
    lexer->at++;
    lexer->kind = TOKEN_STRING;
    lexer->string = pool_strdup(lexer->pool, text->str);
}

static void lex_word(struct lexer *lexer)
{
    size_t len = strspn(lexer->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_.+-");

    if (len == 4 && memcmp(lexer->at, "true", 4) == 0) {
        lexer->kind = TOKEN_TRUE;
    } else if (len == 5 && memcmp(lexer->at, "false", 5) == 0) {
        lexer->kind = TOKEN_FALSE;
    } else if (*lexer->at == '"') {
        lex_error(lexer, lexer->line, "strings stand in single quotes");
    } else {
        int shown = len ? (int)MIN(len, 40) : (int)(g_utf8_next_char(lexer->at) - lexer->at);

        lex_error(lexer, lexer->line, "stray '%.*s'", shown, lexer->at);
    }
    lexer->at += MAX(len, 1);
}

void lexer_next(struct lexer *lexer)
{
    for (;;) {
        char c = *lexer->at;

        lexer->token_line = lexer->line;
        lexer->token_at = lexer->at;
        switch (c) {
        case '\0':
            lexer->kind = TOKEN_END;
            return;
        case '\n':
            lexer->line++;
            lexer->at++;
            break;
        case ' ':
        case '\t':
        case '\r':
            lexer->at++;
            break;
        case '#':
            if (lexer->at[1] == '#') {
                lexer->kind = TOKEN_DOC;
                return;
            }
            lexer->at += strcspn(lexer->at, "\n");
            break;
        case '{':
        case '}':
        case '[':
        case ']':
        case ':':
        case ',':
            lexer->kind = TOKEN_PUNCTUATION;
            lexer->punctuation = c;
            lexer->at++;
            return;
        case '\'':
            lex_string(lexer);
            return;
        default:
            lex_word(lexer);
            return;
        }
    }
}

bool lexer_comment_line(struct lexer *lexer, const char **text, size_t *len, unsigned *line)
{
    while (*lexer->at && strchr(" \t\r\n", *lexer->at)) {
        lexer->line += *lexer->at++ == '\n';
    }
    if (*lexer->at != '#') {
        return false;
    }
    *text = lexer->at;
    *len = strcspn(lexer->at, "\n");
    *line = lexer->line;
    lexer->at += *len;
    while (*len && strchr(" \t\r", (*text)[*len - 1])) {
        (*len)--;
    }
    return true;
}

void lexer_resynchronize(struct lexer *lexer)
{
    while (*lexer->at) {
        lexer->at += strcspn(lexer->at, "\n");
        if (!*lexer->at) {
            break;
        }
        lexer->at++;
        lexer->line++;
        if (*lexer->at == '{' || g_str_has_prefix(lexer->at, "##")) {
            break;
        }
    }
    lexer_next(lexer);
}

const char *lexer_token_text(struct lexer *lexer)
{
    switch (lexer->kind) {
    case TOKEN_END:
        return "the end of the file";
    case TOKEN_PUNCTUATION:
        return pool_printf(lexer->pool, "'%c'", lexer->punctuation);
    case TOKEN_STRING:
        return "a string";
    case TOKEN_TRUE:
        return "'true'";
    case TOKEN_FALSE:
        return "'false'";
    case TOKEN_DOC:
        return "documentation";
    case TOKEN_ERROR:
        break;
    }
    return "an error";
}
