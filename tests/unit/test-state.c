/* State tables as streams: what is saved comes back; what is not right is refused by name. */
#include "base/state.h"

#include <string.h>

struct part {
    uint16_t level;
    bool on;
    uint8_t hole;
};
struct thing {
    int64_t deadline_ns;
    uint64_t wide;
    struct part part[2];
    uint32_t list[3];
    uint8_t stage;
    bool fresh;
    uint8_t pad[2];
};

static const struct state_field part_fields[] = {
    STATE_MAX(struct part, level, 1000), STATE(struct part, on), STATE_PAD(struct part, hole), {0}};

#define FIELDS                                                                                     \
    STATE(struct thing, deadline_ns), STATE(struct thing, wide),                                   \
        STATE_STRUCT_ARRAY(struct thing, part, part_fields), STATE_ARRAY(struct thing, list),      \
        STATE_MAX(struct thing, stage, 2)

static const struct state_field first[] = {FIELDS, {0}};
static const struct state_field second[] = {FIELDS,
                                            {.name = "fresh",
                                             .kind = STATE_KIND_BOOL,
                                             .offset = offsetof(struct thing, fresh),
                                             .count = 1,
                                             .elem_size = 1,
                                             .max = UINT64_MAX,
                                             .since = 2},
                                            STATE_PAD(struct thing, pad),
                                            {0}};

static const struct state_desc old = {"thing", 1, 1, sizeof(struct thing), first};
static const struct state_desc now = {"thing", 2, 1, sizeof(struct thing), second};
static const struct state_desc only_now = {"thing", 2, 2, sizeof(struct thing), second};
static const struct state_desc other = {"other", 2, 1, sizeof(struct thing), second};

static const struct thing sample = {.deadline_ns = -1,
                                    .wide = 0x1122334455667788,
                                    .part = {{999, true, 0}, {7, false, 0}},
                                    .list = {1, 2, 0xffffffff},
                                    .stage = 2,
                                    .fresh = true};

static GByteArray *saved(const struct state_desc *desc, const struct thing *thing)
{
    GByteArray *out = g_byte_array_new();

    state_save(desc, thing, out);
    return out;
}

static bool load(const struct state_desc *desc, struct thing *thing, const GByteArray *stream,
                 GError **error)
{
    struct state_input in = {stream->data, stream->len};

    return state_load(desc, thing, &in, "device 'x'", error) && in.left == 0;
}

static void refused(const struct state_desc *desc, const GByteArray *stream, const char *why)
{
    struct thing thing = {.wide = 5};
    g_autoptr(GError) error = NULL;

    g_assert_false(load(desc, &thing, stream, &error));
    g_assert_cmpstr(error->message, ==, why);
    g_assert_cmpuint(thing.wide, ==, 5); /* unchanged */
}

static void test_round_trip(void)
{
    g_autoptr(GByteArray) stream = saved(&now, &sample);
    struct thing thing;

    memset(&thing, 0x55, sizeof(thing));
    g_assert_true(load(&now, &thing, stream, NULL));
    g_assert_cmpmem(&thing, sizeof(thing), &sample, sizeof(sample));
}

static void test_versions(void)
{
    g_autoptr(GByteArray) before = saved(&old, &sample), after = saved(&now, &sample);
    struct thing thing = {.fresh = true};

    g_assert_true(load(&now, &thing, before, NULL));
    g_assert_true(thing.fresh); /* the older stream does not have it: as it was */
    g_assert_cmpuint(thing.stage, ==, 2);
    refused(&old, after, "device 'x': version 2 of 'thing': this program takes 1 to 1");
    refused(&only_now, before, "device 'x': version 1 of 'thing': this program takes 2 to 2");
    refused(&other, after, "device 'x': its state is of 'thing', not of 'other'");
}

static void test_ranges(void)
{
    struct thing bad = sample;
    g_autoptr(GByteArray) stage = NULL, level = NULL, flag = NULL;
    bool *on = &bad.part[1].on;

    bad.stage = 3;
    stage = saved(&now, &bad);
    refused(&now, stage, "device 'x': field 'stage': the value 3 exceeds 2");
    bad = sample;
    bad.part[1].level = 1001;
    level = saved(&now, &bad);
    refused(&now, level, "device 'x': field 'level': the value 1001 exceeds 1000");
    bad = sample;
    flag = saved(&now, &bad);
    g_assert_false(*on);
    flag->data[flag->len - 2] = 2; /* "fresh" */
    refused(&now, flag, "device 'x': field 'fresh': the value 2 exceeds 1");
}

static GByteArray *section(void)
{
    GByteArray *out = g_byte_array_new();

    state_put_name(out, "thing");
    state_put_number(out, 2, 2);
    return out;
}

static void put_field(GByteArray *out, const char *name, unsigned kind, unsigned count)
{
    state_put_name(out, name);
    state_put_number(out, kind, 1);
    state_put_number(out, count, 4);
}

static void test_shape(void)
{
    g_autoptr(GByteArray) unknown = section(), type = section(), count = section();
    g_autoptr(GByteArray) missing = section(), twice = section();

    put_field(unknown, "colour", STATE_KIND_U8, 1);
    refused(&now, unknown, "device 'x': 'thing' has no field 'colour'");
    put_field(type, "stage", STATE_KIND_U64, 1);
    refused(&now, type, "device 'x': field 'stage': 1 of type 5, not 1 of type 2");
    put_field(count, "list", STATE_KIND_U32, 0xffffffff);
    refused(&now, count, "device 'x': field 'list': 4294967295 of type 4, not 3 of type 4");
    state_put_number(missing, 0, 1);
    refused(&now, missing, "device 'x': field 'deadline_ns' is missing");
    for (unsigned i = 0; i < 2; i++) {
        put_field(twice, "stage", STATE_KIND_U8, 1);
        state_put_number(twice, 1, 1);
    }
    refused(&now, twice, "device 'x': field 'stage' comes twice");
}

static void test_cut_short(void)
{
    g_autoptr(GByteArray) stream = saved(&now, &sample);

    for (guint length = 0; length < stream->len; length++) {
        g_autoptr(GByteArray) part = g_byte_array_new();
        struct thing thing = {0};
        g_autoptr(GError) error = NULL;

        g_byte_array_append(part, stream->data, length);
        g_assert_false(load(&now, &thing, part, &error));
        g_assert_nonnull(error);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/round-trip", test_round_trip);
    g_test_add_func("/state/versions", test_versions);
    g_test_add_func("/state/ranges", test_ranges);
    g_test_add_func("/state/shape", test_shape);
    g_test_add_func("/state/cut-short", test_cut_short);
    return g_test_run();
}
