/*
 * Any bytes as a schema: the compiler must answer, and what it accepts it must be able to generate
 * from. The seeds are the schema's own files and those of tests/unit/qapi.
 */
#include <glib.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emit.h"
#include "schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void generate(struct schema *schema)
{
    struct output *output = output_new(schema, "fuzz");

    generate_types(output);
    generate_visit(output);
    generate_commands(output);
    generate_events(output);
    generate_introspect(output);
    generate_reference(output);
    output_free(output);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pool *pool = pool_new();
    struct report *report = report_new();
    int fd = memfd_create("schema", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    struct schema *schema;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        g_error("cannot make a file in memory");
    }
    schema = schema_load(pool, report, path);
    if (schema) {
        generate(schema);
    }
    schema_free(schema);
    report_free(report);
    pool_free(pool);
    close(fd);
    return 0;
}
