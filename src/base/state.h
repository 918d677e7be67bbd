/*
 * State tables: which bytes of a device's state struct are saved, under which names, with which
 * checks on load (docs/architecture.md, "State"). The same table feeds migration, snapshots and the
 * state printer.
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of those that are saved are the stream's: do not change them. */
enum state_kind {
    STATE_KIND_END,
    STATE_KIND_BOOL,
    STATE_KIND_U8,
    STATE_KIND_U16,
    STATE_KIND_U32,
    STATE_KIND_U64,
    STATE_KIND_I64,
    STATE_KIND_STRUCT, /* nested: .nested says how */
    STATE_KIND_PAD,    /* named padding: not saved, must be zero */
};

struct state_field {
    const char *name;
    enum state_kind kind;
    uint32_t offset;
    uint32_t count;     /* elements; 1 for a scalar */
    uint32_t elem_size; /* bytes of one element in memory */
    uint64_t max;       /* a load with a greater value is refused; UINT64_MAX: any */
    const struct state_field *nested;
    uint16_t since; /* version that introduced it; 0: always there. Of nested ones: 0 */
};

struct state_desc {
    const char *name;
    uint16_t version;
    uint16_t min_version;
    uint32_t size; /* of the state struct, in bytes */
    const struct state_field *fields;
};

extern const struct state_desc state_none; /* for devices without state */

#define STATE_KIND_OF(x)                                                                           \
    _Generic((x), bool                                                                             \
             : STATE_KIND_BOOL, uint8_t                                                            \
             : STATE_KIND_U8, uint16_t                                                             \
             : STATE_KIND_U16, uint32_t                                                            \
             : STATE_KIND_U32, uint64_t                                                            \
             : STATE_KIND_U64, int64_t                                                             \
             : STATE_KIND_I64)

#define STATE_MAX(type, member, maximum)                                                           \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_OF(((type *)0)->member),                               \
        .offset = offsetof(type, member), .count = 1, .elem_size = sizeof(((type *)0)->member),    \
        .max = (maximum)                                                                           \
    }
#define STATE(type, member) STATE_MAX(type, member, UINT64_MAX)
#define STATE_SINCE(type, member, version)                                                         \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_OF(((type *)0)->member),                               \
        .offset = offsetof(type, member), .count = 1, .elem_size = sizeof(((type *)0)->member),    \
        .max = UINT64_MAX, .since = (version)                                                      \
    }
#define STATE_ARRAY_SINCE(type, member, version)                                                   \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_OF(((type *)0)->member[0]),                            \
        .offset = offsetof(type, member),                                                          \
        .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),                     \
        .elem_size = sizeof(((type *)0)->member[0]), .max = UINT64_MAX, .since = (version)         \
    }
#define STATE_ARRAY(type, member)                                                                  \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_OF(((type *)0)->member[0]),                            \
        .offset = offsetof(type, member),                                                          \
        .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),                     \
        .elem_size = sizeof(((type *)0)->member[0]), .max = UINT64_MAX                             \
    }
#define STATE_PAD(type, member)                                                                    \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_PAD, .offset = offsetof(type, member), .count = 1,     \
        .elem_size = sizeof(((type *)0)->member), .max = 0                                         \
    }
#define STATE_STRUCT(type, member, fields_)                                                        \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_STRUCT, .offset = offsetof(type, member), .count = 1,  \
        .elem_size = sizeof(((type *)0)->member), .max = UINT64_MAX, .nested = (fields_)           \
    }
#define STATE_STRUCT_ARRAY(type, member, fields_)                                                  \
    {                                                                                              \
        .name = #member, .kind = STATE_KIND_STRUCT, .offset = offsetof(type, member),              \
        .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),                     \
        .elem_size = sizeof(((type *)0)->member[0]), .max = UINT64_MAX, .nested = (fields_)        \
    }

/*
 * The stream: little-endian, what it holds named, so that it can be read without the tables.
 *
 *   section := name, version (16 bits), field..., 0 (8 bits)
 *   field   := name, enum state_kind (8 bits), count (32 bits), value...
 *   name    := its length (8 bits, not 0), its bytes
 *
 * A nested struct's value is its fields and a 0. A bool is a byte, 0 or 1.
 */

/* Appends a section. */
void state_save(const struct state_desc *desc, const void *state, GByteArray *out);

/* What a loader has not read yet. */
struct state_input {
    const uint8_t *data;
    size_t left;
};

#define STATE_ERROR (g_quark_from_static_string("state-error"))

/* Reads the section that begins there into *state. A stream that is not of this table, that lacks a
 * field which its version has, or holds a value out of range is refused with a message that begins
 * with `who` and names the field; *state is unchanged then. A field that is newer than the stream
 * keeps the value that it has in *state. Nothing is allocated beyond twice the size of the struct.
 */
bool state_load(const struct state_desc *desc, void *state, struct state_input *in, const char *who,
                GError **error);

/* Pieces of streams of others: a name of at most 255 bytes, and numbers. take_*: false when the
 * input ends. */
void state_put_name(GByteArray *out, const char *name);
void state_put_number(GByteArray *out, uint64_t value, unsigned bytes);
bool state_take_name(struct state_input *in, char name[256]);
bool state_take_number(struct state_input *in, unsigned bytes, uint64_t *value);

/* Passes over a section, whatever it is of. false: it can't be read. */
bool state_skip(struct state_input *in);

/* The first byte of the struct that no field covers, or desc->size when all are covered. */
uint32_t state_first_uncovered(const struct state_desc *desc);

#endif
