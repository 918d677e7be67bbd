/*
 * Operand access for handlers that are not specialised by operand size.
 */
#include "cpu/x86/soft/soft-priv.h"

/* Byte registers 4..7 without REX are AH, CH, DH, BH. */
static bool is_high_byte(const struct op *o, unsigned n, unsigned size)
{
    return size == 1 && n >= 4 && n < 8 && !(o->bits & OB_REX);
}

uint64_t reg_get(const struct cpu *c, const struct op *o, unsigned n, unsigned size)
{
    if (is_high_byte(o, n, size)) {
        return (uint8_t)(c->r[n - 4] >> 8);
    }
    switch (size) {
    case 1:
        return (uint8_t)c->r[n];
    case 2:
        return (uint16_t)c->r[n];
    case 4:
        return (uint32_t)c->r[n];
    default:
        return c->r[n];
    }
}

void reg_set(struct cpu *c, const struct op *o, unsigned n, unsigned size, uint64_t value)
{
    if (is_high_byte(o, n, size)) {
        c->r[n - 4] = (c->r[n - 4] & ~0xff00ull) | (value & 0xff) << 8;
        return;
    }
    switch (size) {
    case 1:
        c->r[n] = (c->r[n] & ~0xffull) | (value & 0xff);
        break;
    case 2:
        c->r[n] = (c->r[n] & ~0xffffull) | (value & 0xffff);
        break;
    case 4:
        c->r[n] = (uint32_t)value;
        break;
    default:
        c->r[n] = value;
        break;
    }
}

uint64_t rm_get(struct cpu *c, const struct op *o, unsigned size)
{
    if (!(o->bits & OB_MEM)) {
        return reg_get(c, o, o->src, size);
    }
    uint64_t lin = ea(c, o, size, false);
    switch (size) {
    case 1:
        return mem_ld8(c, o, lin);
    case 2:
        return mem_ld16(c, o, lin);
    case 4:
        return mem_ld32(c, o, lin);
    default:
        return mem_ld64(c, o, lin);
    }
}

void rm_set(struct cpu *c, const struct op *o, unsigned size, uint64_t value)
{
    if (!(o->bits & OB_MEM)) {
        reg_set(c, o, o->src, size, value);
        return;
    }
    uint64_t lin = ea(c, o, size, true);
    switch (size) {
    case 1:
        mem_st8(c, o, lin, value);
        break;
    case 2:
        mem_st16(c, o, lin, value);
        break;
    case 4:
        mem_st32(c, o, lin, value);
        break;
    default:
        mem_st64(c, o, lin, value);
        break;
    }
}

uint64_t mem_load_slow(struct cpu *c, const struct op *o, uint64_t lin, unsigned size)
{
    uint64_t value = 0;
    mem_read_slow(c, o, lin, &value, size);
    return value;
}

void mem_store_slow(struct cpu *c, const struct op *o, uint64_t lin, uint64_t value, unsigned size)
{
    mem_write_slow(c, o, lin, &value, size);
}
