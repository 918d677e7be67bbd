/*
 * Indented text: pretty=on of a monitor.
 */
#include "monitor/monitor-priv.h"

static void append_line(GString *out, unsigned depth)
{
    g_string_append(out, "\r\n");
    for (unsigned i = 0; i < depth; i++) {
        g_string_append(out, "    ");
    }
}

/* The end of the string that begins at the quote at p. */
static const char *string_end(const char *p)
{
    for (p++; *p && *p != '"'; p++) {
        p += *p == '\\' && p[1];
    }
    return *p ? p + 1 : p;
}

void qmp_append_pretty(GString *out, const char *text)
{
    unsigned depth = 0;
    const char *p = text, *end;

    while (*p && *p != '\r') {
        switch (*p) {
        case '"':
            end = string_end(p);
            g_string_append_len(out, p, end - p);
            p = end;
            continue;
        case '{':
        case '[':
            g_string_append_c(out, *p);
            if (p[1] == '}' || p[1] == ']') {
                g_string_append_c(out, *++p);
            } else {
                append_line(out, ++depth);
            }
            break;
        case '}':
        case ']':
            append_line(out, --depth);
            g_string_append_c(out, *p);
            break;
        case ',':
            g_string_append_c(out, ',');
            append_line(out, depth);
            p += p[1] == ' ';
            break;
        default:
            g_string_append_c(out, *p);
        }
        p++;
    }
    g_string_append(out, "\r\n");
}
