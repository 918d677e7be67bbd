/*
 * godwit-qapi: the schema compiler's command line.
 *
 *     godwit-qapi check FILE
 *     godwit-qapi generate --out DIR --prefix P FILE
 *
 * Exit status: 0 success, 1 the schema has errors or the output could not be written, 2 usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "schema.h"

#define EXIT_USAGE 2

struct arguments {
    bool generate;
    const char *out;
    const char *prefix;
    const char *file;
};

static void usage(FILE *to)
{
    fputs(
        "usage: godwit-qapi check FILE\n"
        "       godwit-qapi generate --out DIR --prefix P FILE\n"
        "\n"
        "check     read the QAPI schema in FILE and what it includes, and report its errors\n"
        "generate  the same, and write C code and the reference manual into DIR, as P-types.h...\n",
        to);
}

static bool usage_error(const char *what, const char *value)
{
    fprintf(stderr, "godwit-qapi: %s '%s'\n", what, value);
    usage(stderr);
    return false;
}

/* Takes the value of an option: "--out DIR" or "--out=DIR". NULL if @argv[*i] is another. */
static const char *option_value(const char *name, int argc, char **argv, int *i)
{
    size_t len = strlen(name);

    if (strncmp(argv[*i], name, len) != 0) {
        return NULL;
    }
    if (argv[*i][len] == '=') {
        return argv[*i] + len + 1;
    }
    return !argv[*i][len] && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool prefix_is_valid(const char *prefix)
{
    return g_ascii_isalpha(*prefix) &&
           !prefix[strspn(prefix, G_CSET_A_2_Z G_CSET_a_2_z "0123456789_-")];
}

static bool arguments_parse(struct arguments *a, int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";

    a->generate = strcmp(command, "generate") == 0;
    if (!a->generate && strcmp(command, "check") != 0) {
        return usage_error("unknown command", command);
    }
    for (int i = 2; i < argc; i++) {
        const char *value = a->generate ? option_value("--out", argc, argv, &i) : NULL;

        if (value) {
            a->out = value;
            continue;
        }
        value = a->generate ? option_value("--prefix", argc, argv, &i) : NULL;
        if (value) {
            a->prefix = value;
        } else if (argv[i][0] == '-' && argv[i][1]) {
            return usage_error("unknown option or missing value:", argv[i]);
        } else if (a->file) {
            return usage_error("surplus argument", argv[i]);
        } else {
            a->file = argv[i];
        }
    }
    if (!a->file || (a->generate && (!a->out || !*a->out || !a->prefix))) {
        return usage_error("missing argument for", command);
    }
    if (a->prefix && !prefix_is_valid(a->prefix)) {
        return usage_error("the prefix must be letters, digits, '-' and '_', but is", a->prefix);
    }
    return true;
}

static bool generate(struct schema *schema, const struct arguments *a)
{
    struct output *output = output_new(schema, a->prefix);
    bool ok;

    generate_types(output);
    generate_visit(output);
    generate_commands(output);
    generate_events(output);
    generate_introspect(output);
    generate_reference(output);
    ok = output_write(output, a->out);
    output_free(output);
    return ok;
}

static bool run(const struct arguments *a)
{
    struct pool *pool = pool_new();
    struct report *report = report_new();
    struct schema *schema = schema_load(pool, report, a->file);
    bool ok = schema != NULL;

    if (!schema) {
        report_print(report, stderr);
    } else if (a->generate) {
        ok = generate(schema, a);
    }
    schema_free(schema);
    report_free(report);
    pool_free(pool);
    return ok;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return EXIT_SUCCESS;
    }
    if (!arguments_parse(&arguments, argc, argv)) {
        return EXIT_USAGE;
    }
    return run(&arguments) ? EXIT_SUCCESS : EXIT_FAILURE;
}
