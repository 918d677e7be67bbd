/*
 * What the translator has to know about SSE instructions, and about the others of the 0F 38 and
 * 0F 3A maps: MOVBE and CRC32.
 */
#include "cpu/x86/soft/xlat-insn-priv.h"

static void sse(struct xinsn *x, unsigned mem_size, bool align)
{
    operands(x, OPERAND_XMM, OPERAND_XMM);
    x->vec = true;
    x->mem_size = mem_size;
    x->mem_align = align;
}

/* XMM destination or source in ModRM.reg, a general register or memory in rm. */
static void sse_gpr_rm(struct xinsn *x, unsigned mem_size, bool out)
{
    operands(x, OPERAND_XMM, OPERAND_GPR);
    x->vec = true;
    x->mem_size = mem_size;
    x->rm_out = out;
    x->mem_write = out;
}

/* A general register in ModRM.reg is the result; XMM or memory in rm. */
static void sse_gpr_reg(struct xinsn *x, unsigned mem_size)
{
    operands(x, OPERAND_GPR, OPERAND_XMM);
    x->vec = true;
    x->mem_size = mem_size;
    x->reg_out = true;
}

static void sse_store(struct xinsn *x, unsigned size, bool align)
{
    sse(x, size, align);
    x->mem_write = true;
}

/* Packed without prefix or with 66, scalar with F3 and F2. */
static void sse_arith(struct xinsn *x)
{
    unsigned size = x->mandatory == 0xf3 ? 4 : x->mandatory == 0xf2 ? 8 : 16;
    sse(x, size, size == 16);
}

static void classify_0f_sse_mov(struct xinsn *x)
{
    uint8_t m = x->mandatory;
    switch (x->opcode) {
    case 0x10:
        sse(x, m == 0xf3 ? 4 : m == 0xf2 ? 8 : 16, false);
        break;
    case 0x11:
        sse_store(x, m == 0xf3 ? 4 : m == 0xf2 ? 8 : 16, false);
        break;
    case 0x12:
    case 0x16:
        sse(x, m == 0xf3 ? 16 : 8, m == 0xf3);
        break;
    case 0x13:
    case 0x17:
        sse_store(x, 8, false);
        break;
    case 0x28:
        sse(x, 16, true);
        break;
    case 0x29:
    case 0x2b:
        sse_store(x, 16, true);
        break;
    case 0x6e:
        if (m == 0x66) {
            sse_gpr_rm(x, x->size == 8 ? 8 : 4, false);
        }
        break;
    case 0x7e:
        if (m == 0x66) {
            sse_gpr_rm(x, x->size == 8 ? 8 : 4, true);
        } else if (m == 0xf3) {
            sse(x, 8, false);
        }
        break;
    case 0x6f:
        if (m == 0x66 || m == 0xf3) {
            sse(x, 16, m == 0x66);
        }
        break;
    case 0x7f:
        if (m == 0x66 || m == 0xf3) {
            sse_store(x, 16, m == 0x66);
        }
        break;
    case 0xd6:
        if (m == 0x66) {
            sse_store(x, 8, false);
        }
        break;
    case 0xe7:
        if (m == 0x66) {
            sse_store(x, 16, true);
        }
        break;
    case 0xf0:
        if (m == 0xf2) {
            sse(x, 16, false);
        }
        break;
    default:
        break;
    }
}

static void classify_0f_convert(struct xinsn *x)
{
    uint8_t m = x->mandatory;
    switch (x->opcode) {
    case 0x2a:
        if (m == 0xf3 || m == 0xf2) {
            sse_gpr_rm(x, x->size == 8 ? 8 : 4, false);
        }
        break;
    case 0x2c:
    case 0x2d:
        if (m == 0xf3 || m == 0xf2) {
            sse_gpr_reg(x, m == 0xf3 ? 4 : 8);
        }
        break;
    case 0x5a:
        sse(x, m == 0x66 ? 16 : m == 0xf3 ? 4 : 8, m == 0x66);
        break;
    case 0x5b:
        sse(x, 16, true);
        break;
    case 0xe6:
        sse(x, m == 0xf3 ? 8 : 16, m != 0xf3);
        break;
    default:
        break;
    }
}

void classify_0f_sse(struct xinsn *x)
{
    uint8_t m = x->mandatory;
    switch (x->opcode) {
    case 0x10 ... 0x13:
    case 0x16:
    case 0x17:
    case 0x28:
    case 0x29:
    case 0x2b:
    case 0x6e:
    case 0x6f:
    case 0x7e:
    case 0x7f:
    case 0xd6:
    case 0xe7:
    case 0xf0:
        classify_0f_sse_mov(x);
        break;
    case 0x2a:
    case 0x2c:
    case 0x2d:
    case 0x5a:
    case 0x5b:
    case 0xe6:
        classify_0f_convert(x);
        break;
    case 0x14:
    case 0x15:
    case 0x54 ... 0x57:
    case 0xc6:
        sse(x, 16, true);
        break;
    case 0x2e:
    case 0x2f:
        sse(x, m == 0x66 ? 8 : 4, false);
        flags(x, 0, FL_ALL);
        break;
    case 0x51 ... 0x53:
    case 0x58:
    case 0x59:
    case 0x5c ... 0x5f:
    case 0xc2:
        sse_arith(x);
        break;
    case 0x7c:
    case 0x7d:
    case 0xd0:
        sse(x, 16, true);
        break;
    case 0x50:
    case 0xd7:
        if (x->opcode == 0x50 || m == 0x66) {
            sse_gpr_reg(x, 16);
        }
        break;
    case 0x70:
        if (m) {
            sse(x, 16, true);
        }
        break;
    case 0x71 ... 0x73:
        if (m == 0x66) {
            sse(x, 16, true);
            x->reg_kind = OPERAND_DIGIT;
        }
        break;
    case 0xc4:
        if (m == 0x66) {
            sse_gpr_rm(x, 2, false);
        }
        break;
    case 0xc5:
        if (m == 0x66) {
            sse_gpr_reg(x, 2);
        }
        break;
    case 0x60 ... 0x6d:
    case 0x74 ... 0x76:
    case 0xd1 ... 0xd5:
    case 0xd8 ... 0xe5:
    case 0xe8 ... 0xef:
    case 0xf1 ... 0xf6:
    case 0xf8 ... 0xfe:
        if (m == 0x66) {
            sse(x, 16, true);
        }
        break;
    default:
        break;
    }
}

void classify_38(const struct xlat *xl, struct xinsn *x, const struct prefixes *p)
{
    static const uint8_t widen[6] = {8, 4, 2, 8, 4, 8};
    uint8_t b = x->opcode, m = x->mandatory;
    if ((b == 0xf0 || b == 0xf1) && p->repne) { /* CRC32 */
        general(x, false, REG_OUT);
        x->rm_byte = b == 0xf0;
        x->mem_size = b == 0xf0 ? 1 : x->size;
        x->mandatory = 0xf2;
        x->opsize = p->opsize && !(x->rex & PREFIX_REX_W);
        return;
    }
    if ((b == 0xf0 || b == 0xf1) && !p->repe && xl->host_movbe) {
        general(x, false, b == 0xf0 ? REG_OUT : RM_OUT);
        x->mandatory = 0;
        return;
    }
    if (m != 0x66) {
        return;
    }
    if ((b >= 0x20 && b <= 0x25) || (b >= 0x30 && b <= 0x35)) {
        sse(x, widen[b & 7], false);
    } else if (b <= 0x0b || (b >= 0x1c && b <= 0x1e) || b == 0x10 || b == 0x14 || b == 0x15 ||
               b == 0x28 || b == 0x29 || b == 0x2a || b == 0x2b || (b >= 0x37 && b <= 0x41)) {
        sse(x, 16, true);
    } else if (b == 0x17) {
        sse(x, 16, true);
        flags(x, 0, FL_ALL);
    } else if (b >= 0xdb && b <= 0xdf && xl->host_aes) {
        sse(x, 16, true);
    }
}

void classify_3a(const struct xlat *xl, struct xinsn *x)
{
    if (x->mandatory != 0x66) {
        return;
    }
    switch (x->opcode) {
    case 0x0a:
        sse(x, 4, false);
        break;
    case 0x0b:
        sse(x, 8, false);
        break;
    case 0x08:
    case 0x09:
    case 0x0c ... 0x0f:
    case 0x40 ... 0x42:
        sse(x, 16, true);
        break;
    case 0x14:
        sse_gpr_rm(x, 1, true);
        break;
    case 0x15:
        sse_gpr_rm(x, 2, true);
        break;
    case 0x16:
        sse_gpr_rm(x, x->size == 8 ? 8 : 4, true);
        break;
    case 0x17:
        sse_gpr_rm(x, 4, true);
        break;
    case 0x20:
        sse_gpr_rm(x, 1, false);
        break;
    case 0x21:
        sse(x, 4, false);
        break;
    case 0x22:
        sse_gpr_rm(x, x->size == 8 ? 8 : 4, false);
        break;
    case 0x44:
        if (xl->host_pclmul) {
            sse(x, 16, true);
        }
        break;
    case 0xdf:
        if (xl->host_aes) {
            sse(x, 16, true);
        }
        break;
    default:
        break;
    }
}
