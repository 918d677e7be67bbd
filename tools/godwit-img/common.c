/*
 * godwit-img: messages, sizes, JSON, opening.
 */
#include "img.h"

#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- messages */

static void print_message(const char *fmt, va_list args)
{
    fputs("godwit-img: ", stderr);
    vfprintf(stderr, fmt, args);
}

int img_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_message(fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

int img_fail_error(GError *error, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_message(fmt, args);
    va_end(args);
    fprintf(stderr, "%s\n", error ? error->message : "it failed");
    g_clear_error(&error);
    return 1;
}

int img_usage(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_message(fmt, args);
    va_end(args);
    fputs("\nTry 'godwit-img --help' for more information\n", stderr);
    return 1;
}

/* ---- options */

struct block_image *img_open(struct img *img, const char *path, const char *format, unsigned flags)
{
    GError *error = NULL;
    struct block_image *image = block_image_open(img->graph, path, format, flags, &error);

    if (!image) {
        g_autofree char *own = g_strdup_printf("'%s': ", path); /* it is said once */
        const char *text = error->message;

        img_fail("Could not open '%s': %s", path,
                 g_str_has_prefix(text, own) ? text + strlen(own) : text);
        g_clear_error(&error);
    }
    return image;
}

bool img_cache(const char *mode, unsigned *flags)
{
    static const struct {
        const char *name;
        unsigned flags;
    } modes[] = {
        {"none", BLOCK_IMAGE_DIRECT},
        {"off", BLOCK_IMAGE_DIRECT},
        {"writeback", 0},
        {"writethrough", 0},
        {"directsync", BLOCK_IMAGE_DIRECT},
        {"unsafe", BLOCK_IMAGE_NO_FLUSH},
    };

    for (size_t i = 0; mode && i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            *flags |= modes[i].flags;
            return true;
        }
    }
    if (mode) {
        img_fail("Invalid cache option: %s", mode);
    }
    return !mode;
}

bool img_output(const char *text, bool *json)
{
    *json = strcmp(text, "json") == 0;
    if (!*json && strcmp(text, "human") != 0) {
        img_usage("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

/* ---- sizes */

bool img_parse_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "bkmgtpe";
    const char *suffix;
    char *end;
    double value;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    *bytes = g_ascii_strtoull(text, &end, 0);
    if (*end == '\0') {
        return true;
    }
    value = g_ascii_strtod(text, &end);
    suffix = *end ? strchr(suffixes, g_ascii_tolower(*end)) : NULL;
    if (!suffix || end[1]) {
        return false;
    }
    value = ldexp(value, (int)(suffix - suffixes) * 10);
    if (!(value >= 0 && value < 0x1p63)) {
        return false;
    }
    *bytes = (uint64_t)value;
    return true;
}

char *img_size_text(uint64_t bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    int exponent, unit;

    frexp((double)bytes / (1000.0 / 1024.0), &exponent);
    unit = bytes ? (exponent - 1) / 10 : 0;
    return g_strdup_printf("%0.3g %sB", (double)bytes / ldexp(1, unit * 10), units[unit]);
}

/* ---- progress */

void img_progress(bool on, uint64_t before, uint64_t done, uint64_t total)
{
    double percent = total ? (double)done * 100 / (double)total : 100;
    double last = total ? (double)before * 100 / (double)total : 100;

    if (on && (before == done || (int)percent != (int)last)) {
        printf("    (%3.2f/100%%)\r", percent);
        fflush(stdout);
    }
}

/* ---- JSON */

static void append_json(GString *out, struct json_object *value, int depth)
{
    enum json_type type = json_object_get_type(value);
    bool first = true;

    if (type == json_type_object) {
        g_string_append_c(out, '{');
        json_object_object_foreach(value, key, member)
        {
            g_string_append_printf(out, "%s\n%*s\"%s\": ", first ? "" : ",", depth * 4 + 4, "",
                                   key);
            append_json(out, member, depth + 1);
            first = false;
        }
        g_string_append_printf(out, "\n%*s}", depth * 4, "");
    } else if (type == json_type_array) {
        g_string_append_c(out, '[');
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            g_string_append_printf(out, "%s\n%*s", i ? "," : "", depth * 4 + 4, "");
            append_json(out, json_object_array_get_idx(value, i), depth + 1);
        }
        g_string_append_printf(out, "\n%*s]", depth * 4, "");
    } else {
        g_string_append(out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE));
    }
}

void img_print_json(struct json_object *value)
{
    g_autoptr(GString) out = g_string_new(NULL);

    append_json(out, value, 0);
    puts(out->str);
}
