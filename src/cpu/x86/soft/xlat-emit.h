/*
 * Bytes of x86-64 host code, as the translator writes them.
 *
 * `p` walks through the writable mapping of the code cache; `exec` is what to add to get the
 * address at which the same byte is executed. Code belongs to one vCPU, whose struct cpu lies below
 * 2 GiB, and runs with RSP at its start (the stack is in front of it, CPU_STACK_BYTES): guest state
 * is addressed by displacements from there, here written env:[field's offset]. Processors forward
 * what was stored to a load with the same base register and displacement at no cost (AMD since Zen
 * 2, Intel since Golden Cove), which they do not for absolute addresses: 7 cycles on Zen 5.
 */
#ifndef CPU_X86_SOFT_XLAT_EMIT_H
#define CPU_X86_SOFT_XLAT_EMIT_H

#include <stdint.h>
#include <string.h>

struct emitter {
    uint8_t *p;
    intptr_t exec;
    int32_t env;   /* where struct cpu is */
    int32_t depth; /* bytes on the stack: how far RSP is below that */
};

enum { /* host registers with a fixed meaning in translated code */
       HOST_RAX = 0,
       HOST_RCX = 1,
       HOST_RDX = 2,
       HOST_RBX = 3,
       HOST_RSP = 4,
       HOST_RBP = 5,
       HOST_RSI = 6,
       HOST_RDI = 7,
       HOST_R8 = 8,
       HOST_R9 = 9,
       HOST_R10 = 10,
       HOST_R11 = 11,
       T0 = HOST_R11,
       T1 = HOST_RCX,
};

enum { /* condition codes */
       CC_O = 0,
       CC_NO = 1,
       CC_B = 2,
       CC_AE = 3,
       CC_E = 4,
       CC_NE = 5,
       CC_BE = 6,
       CC_A = 7,
};

static inline void e8(struct emitter *e, uint8_t v)
{
    *e->p++ = v;
}

static inline void e32(struct emitter *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}

static inline void e64(struct emitter *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}

/* Where the next byte is executed. */
static inline const uint8_t *e_here(const struct emitter *e)
{
    return e->p + e->exec;
}

/* REX when needed: w, and bit 3 of the registers. */
static inline void e_rex(struct emitter *e, int w, unsigned reg, unsigned index, unsigned base)
{
    uint8_t rex = 0x40 | (w ? 8 : 0) | (reg >> 3 << 2) | (index >> 3 << 1) | base >> 3;
    if (rex != 0x40) {
        e8(e, rex);
    }
}

/* op reg, rm with both registers; w: 64 bits. */
static inline void e_rr(struct emitter *e, int w, uint8_t op, unsigned reg, unsigned rm)
{
    e_rex(e, w, reg, 0, rm);
    e8(e, op);
    e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void e_mov(struct emitter *e, unsigned to, unsigned from)
{
    e_rr(e, 1, 0x89, from, to);
}

/* ModRM (and more) of [base + disp]. */
static inline void e_modrm_mem(struct emitter *e, unsigned reg, unsigned base, int32_t disp)
{
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    e8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == 4) {
        e8(e, 0x24);
    }
    if (mod == 1) {
        e8(e, disp);
    } else if (mod == 2) {
        e32(e, disp);
    }
}

/* ModRM (and more) of [base + index << scale + disp]; index 4: none. */
static inline void e_modrm_sib(struct emitter *e, unsigned reg, unsigned base, unsigned index,
                               unsigned scale, int32_t disp)
{
    if (index == 4) {
        e_modrm_mem(e, reg, base, disp);
        return;
    }
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    e8(e, mod << 6 | (reg & 7) << 3 | 4);
    e8(e, scale << 6 | (index & 7) << 3 | (base & 7));
    if (mod == 1) {
        e8(e, disp);
    } else if (mod == 2) {
        e32(e, disp);
    }
}

/* op reg, [base + disp] */
static inline void e_rm(struct emitter *e, int w, uint8_t op, unsigned reg, unsigned base,
                        int32_t disp)
{
    e_rex(e, w, reg, 0, base);
    e8(e, op);
    e_modrm_mem(e, reg, base, disp);
}

/* ModRM (and more) of env:[disp]. */
static inline void e_modrm_env(struct emitter *e, unsigned reg, int32_t disp)
{
    e_modrm_mem(e, reg, HOST_RSP, e->depth + disp);
}

/* op reg, env:[disp] */
static inline void e_env(struct emitter *e, int w, uint8_t op, unsigned reg, int32_t disp)
{
    e_rex(e, w, reg, 0, 0);
    e8(e, op);
    e_modrm_env(e, reg, disp);
}

/* op reg, env:[base + disp] */
static inline void e_env_base(struct emitter *e, int w, uint8_t op, unsigned reg, unsigned base,
                              int32_t disp)
{
    e_rex(e, w, reg, 0, base);
    e8(e, op);
    e8(e, 0x80 | (reg & 7) << 3 | (base & 7)); /* base is never RSP or R12 */
    e32(e, e->env + disp);
}

static inline void e_load_env(struct emitter *e, unsigned reg, int32_t disp)
{
    e_env(e, 1, 0x8b, reg, disp);
}

static inline void e_store_env(struct emitter *e, unsigned reg, int32_t disp)
{
    e_env(e, 1, 0x89, reg, disp);
}

static inline void e_mov_imm(struct emitter *e, unsigned reg, uint64_t v)
{
    if (v == (uint32_t)v) {
        e_rex(e, 0, 0, 0, reg);
        e8(e, 0xb8 | (reg & 7));
        e32(e, v);
    } else if (v == (uint64_t)(int32_t)v) {
        e_rex(e, 1, 0, 0, reg);
        e8(e, 0xc7);
        e8(e, 0xc0 | (reg & 7));
        e32(e, v);
    } else {
        e_rex(e, 1, 0, 0, reg);
        e8(e, 0xb8 | (reg & 7));
        e64(e, v);
    }
}

/* Group-1 operation n (0 ADD, 4 AND, 5 SUB, 7 CMP) with an immediate. */
static inline void e_alu_imm(struct emitter *e, int w, unsigned n, unsigned reg, int32_t imm)
{
    e_rex(e, w, 0, 0, reg);
    e8(e, imm == (int8_t)imm ? 0x83 : 0x81);
    e8(e, 0xc0 | n << 3 | (reg & 7));
    if (imm == (int8_t)imm) {
        e8(e, imm);
    } else {
        e32(e, imm);
    }
}

/* lea reg, [base + index << scale + disp]; index 4: none; w: 64 bits. */
static inline void e_lea_sized(struct emitter *e, int w, unsigned reg, unsigned base,
                               unsigned index, unsigned scale, int32_t disp)
{
    if (index == 4) {
        if (disp == 0) {
            e_rr(e, w, 0x89, base, reg);
        } else {
            e_rm(e, w, 0x8d, reg, base, disp);
        }
        return;
    }
    e_rex(e, w, reg, index, base);
    e8(e, 0x8d);
    e_modrm_sib(e, reg, base, index, scale, disp);
}

static inline void e_lea(struct emitter *e, unsigned reg, unsigned base, unsigned index,
                         unsigned scale, int32_t disp)
{
    e_lea_sized(e, 1, reg, base, index, scale, disp);
}

/* lea reg, [index << scale + disp] */
static inline void e_lea_index(struct emitter *e, int w, unsigned reg, unsigned index,
                               unsigned scale, int32_t disp)
{
    e_rex(e, w, reg, index, 0);
    e8(e, 0x8d);
    e8(e, (reg & 7) << 3 | 4);
    e8(e, scale << 6 | (index & 7) << 3 | 5);
    e32(e, disp);
}

/* Jumps with a 32-bit displacement. The returned place is given its target by e_target(). */
static inline uint8_t *e_jmp(struct emitter *e)
{
    e8(e, 0xe9);
    e32(e, 0);
    return e->p - 4;
}

static inline uint8_t *e_jcc(struct emitter *e, unsigned cc)
{
    e8(e, 0x0f);
    e8(e, 0x80 | cc);
    e32(e, 0);
    return e->p - 4;
}

/* Both in the writable mapping. */
static inline void e_target(uint8_t *place, const uint8_t *target)
{
    int32_t d = target - (place + 4);
    memcpy(place, &d, 4);
}

static inline void e_call(struct emitter *e, const uint8_t *target)
{
    e8(e, 0xe8);
    e32(e, 0);
    e_target(e->p - 4, target);
}

static inline void e_jmp_to(struct emitter *e, const uint8_t *target)
{
    e_target(e_jmp(e), target);
}

#endif
