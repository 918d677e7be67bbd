/*
 * Address expressions of the human monitor, in 64-bit arithmetic that wraps.
 */
#include "monitor/hmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

struct expr {
    const char *p;
    hmp_register_fn register_value;
    void *opaque;
    unsigned depth;
    GError **error;
};

static bool parse_sum(struct expr *e, uint64_t *value);

static bool fail(struct expr *e, const char *text)
{
    g_set_error_literal(e->error, MACHINE_ERROR, 0, text);
    return false;
}

static char peek(struct expr *e)
{
    while (g_ascii_isspace(*e->p)) {
        e->p++;
    }
    return *e->p;
}

static bool parse_character(struct expr *e, uint64_t *value)
{
    if (!e->p[1] || e->p[2] != '\'') {
        return fail(e, "missing terminating ' character");
    }
    *value = (unsigned char)e->p[1];
    e->p += 3;
    return true;
}

static bool parse_register(struct expr *e, uint64_t *value)
{
    const char *start = ++e->p;
    g_autofree char *name = NULL;

    while (g_ascii_isalnum(*e->p) || *e->p == '.' || *e->p == '_') {
        e->p++;
    }
    name = g_strndup(start, (gsize)(e->p - start));
    if (!e->register_value || !e->register_value(e->opaque, name, value)) {
        return fail(e, "unknown register");
    }
    return true;
}

static bool parse_number(struct expr *e, uint64_t *value)
{
    char text[] = "invalid char '?' in expression";
    char *end;

    if (!g_ascii_isdigit(*e->p)) {
        *strchr(text, '?') = *e->p;
        return fail(e, text);
    }
    errno = 0;
    *value = strtoull(e->p, &end, 0);
    e->p = end;
    return errno ? fail(e, "number too large") : true;
}

static bool parse_unary(struct expr *e, uint64_t *value)
{
    char c = peek(e);
    bool ok;

    switch (c) {
    case 0:
        return fail(e, "unexpected end of expression");
    case '\'':
        return parse_character(e, value);
    case '$':
        return parse_register(e, value);
    case '+':
    case '-':
    case '~':
    case '(':
        break;
    default:
        return parse_number(e, value);
    }
    if (++e->depth > MAX_DEPTH) {
        return fail(e, "expression too deep");
    }
    e->p++;
    ok = c == '(' ? parse_sum(e, value) : parse_unary(e, value);
    e->depth--;
    if (ok && c == '(') {
        if (peek(e) != ')') {
            return fail(e, "')' expected");
        }
        e->p++;
    }
    *value = c == '-' ? -*value : c == '~' ? ~*value : *value;
    return ok;
}

static bool parse_product(struct expr *e, uint64_t *value)
{
    uint64_t right = 0;

    if (!parse_unary(e, value)) {
        return false;
    }
    for (char op = peek(e); op && strchr("*/%", op); op = peek(e)) {
        e->p++;
        if (!parse_unary(e, &right)) {
            return false;
        }
        if (op != '*' && right == 0) {
            return fail(e, "division by zero");
        }
        *value = op == '*' ? *value * right : op == '/' ? *value / right : *value % right;
    }
    return true;
}

static bool parse_bits(struct expr *e, uint64_t *value)
{
    uint64_t right = 0;

    if (!parse_product(e, value)) {
        return false;
    }
    for (char op = peek(e); op && strchr("&|^", op); op = peek(e)) {
        e->p++;
        if (!parse_product(e, &right)) {
            return false;
        }
        *value = op == '&' ? *value & right : op == '|' ? *value | right : *value ^ right;
    }
    return true;
}

static bool parse_sum(struct expr *e, uint64_t *value)
{
    uint64_t right = 0;

    if (!parse_bits(e, value)) {
        return false;
    }
    for (char op = peek(e); op == '+' || op == '-'; op = peek(e)) {
        e->p++;
        if (!parse_bits(e, &right)) {
            return false;
        }
        *value = op == '+' ? *value + right : *value - right;
    }
    return true;
}

bool hmp_expression(const char **text, hmp_register_fn register_value, void *opaque,
                    uint64_t *value, GError **error)
{
    struct expr e = {
        .p = *text, .register_value = register_value, .opaque = opaque, .error = error};
    bool ok;

    *value = 0;
    ok = parse_sum(&e, value);
    *text = e.p;
    return ok;
}
