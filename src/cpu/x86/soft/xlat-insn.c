/*
 * What the translator has to know about an instruction: how to re-encode it with other registers,
 * how it accesses memory, which arithmetic flags it reads and surely writes. Whether it is legal
 * was decided by decode(). Intel SDM volume 2, appendix A.
 *
 * "Surely writes" is what makes flags before the instruction dead, so it leaves out what is written
 * only sometimes (a shift by CL may be a shift by 0) and may leave out more. "Reads" must be
 * complete.
 *
 * Left to the interpreter: MMX, x87, VEX, strings, everything privileged, addresses of another size
 * than the code's, and forms that need a high-byte register together with one that only REX can
 * name.
 */
#include "cpu/x86/soft/xlat-insn-priv.h"

static struct prefixes parse_prefixes(struct xinsn *x, bool long64)
{
    struct prefixes p = {.long64 = long64};
    unsigned i = 0;
    x->rex = 0;
    for (;; i++) {
        uint8_t b = x->bytes[i];
        if (long64 && b >= 0x40 && b <= 0x4f) {
            x->rex = b;
            continue;
        }
        if (b == 0x66) {
            p.opsize = true;
        } else if (b == 0xf2 || b == 0xf3) {
            p.repne = b == 0xf2;
            p.repe = b == 0xf3;
        } else if (b == 0xf0) {
            p.lock = true;
        } else if (b != 0x67 && b != 0x26 && b != 0x2e && b != 0x36 && b != 0x3e && b != 0x64 &&
                   b != 0x65) {
            break;
        }
        x->rex = 0; /* counts only right before the opcode */
    }
    x->map = M1;
    if (x->bytes[i] == 0x0f) {
        i++;
        x->map = M0F;
        if (x->bytes[i] == 0x38 || x->bytes[i] == 0x3a) {
            x->map = x->bytes[i] == 0x38 ? M38 : M3A;
            i++;
        }
    }
    x->opcode = x->bytes[i++];
    p.at = i;
    return p;
}

/* Reads ModRM at p->at; what follows the operand is the immediate. */
static void parse_modrm(struct xinsn *x, const struct prefixes *p)
{
    unsigned at = p->at;
    x->modrm = x->bytes[at++];
    unsigned mod = x->modrm >> 6, rm = x->modrm & 7;
    x->reg = (x->modrm >> 3 & 7) | (x->rex & PREFIX_REX_R ? 8 : 0);
    x->rm = rm | (x->rex & PREFIX_REX_B ? 8 : 0);
    x->mem = mod != 3;
    if (x->mem) {
        bool no_base = mod == 0 && rm == 5;
        if (rm == 4) {
            no_base = mod == 0 && (x->bytes[at] & 7) == 5;
            at++;
        }
        at += mod == 1 ? 1 : mod == 2 || no_base ? 4 : 0;
    }
    x->imm_at = at;
    x->imm_len = x->len - at;
}

static const uint8_t condition_reads[8] = {
    FL_O, FL_C, FL_Z, FL_C | FL_Z, FL_S, FL_P, FL_S | FL_O, FL_S | FL_O | FL_Z,
};

/* ---------------------------------------------------------------- one-byte opcodes */

static unsigned word_of(const struct prefixes *p)
{
    return p->long64 ? 8 : 4;
}

/* Whether a near branch truncates RIP to 16 bits. */
static bool branch_is_short(const struct prefixes *p)
{
    return !p->long64 && p->opsize;
}

static void alu_flags(struct xinsn *x, unsigned n)
{
    flags(x, n == 2 || n == 3 ? FL_C : 0, FL_ALL);
}

static void classify_alu(struct xinsn *x, const struct prefixes *p)
{
    unsigned n = x->opcode >> 3, form = x->opcode & 7;
    alu_flags(x, n);
    if (form >= 4) { /* accumulator and immediate */
        x->class = XC_VERBATIM;
        return;
    }
    parse_modrm(x, p);
    unsigned out = n == 7 ? 0 : form < 2 ? RM_OUT : REG_OUT;
    general(x, !(form & 1), out);
}

static void classify_shift(struct xinsn *x, const struct prefixes *p)
{
    parse_modrm(x, p);
    unsigned n = x->modrm >> 3 & 7;
    unary(x, !(x->opcode & 1), true);
    bool one = (x->opcode & 0xfe) == 0xd0;
    x->by_cl = (x->opcode & 0xfe) == 0xd2;
    unsigned count = one ? 1 : x->by_cl ? 0 : x->bytes[x->imm_at] & (x->size == 8 ? 63 : 31);
    unsigned read = n == 2 || n == 3 ? FL_C : 0;
    if (n >= 4) {
        flags(x, 0, count ? FL_ALL : 0);
    } else {
        /* by 8 or more, RCL of a byte may turn full circle: CF is what it was */
        flags(x, read, count == 1 ? FL_C | FL_O : 0);
    }
}

static void classify_f6(struct xinsn *x, const struct prefixes *p)
{
    bool byte = !(x->opcode & 1);
    parse_modrm(x, p);
    switch (x->modrm >> 3 & 7) {
    case 0:
    case 1: /* TEST */
        unary(x, byte, false);
        flags(x, 0, FL_ALL);
        break;
    case 2: /* NOT */
        unary(x, byte, true);
        break;
    case 3: /* NEG */
        unary(x, byte, true);
        flags(x, 0, FL_ALL);
        break;
    case 4:
    case 5: /* MUL, IMUL */
        unary(x, byte, false);
        flags(x, 0, FL_ALL);
        break;
    default: /* DIV, IDIV: 32 and 64 bits */
        unary(x, byte, false);
        flags(x, 0, FL_ALL);
        x->class = x->size >= 4 ? XC_DIV : XC_HANDLER;
        break;
    }
}

static void classify_ff(struct xinsn *x, const struct prefixes *p)
{
    bool byte = !(x->opcode & 1);
    parse_modrm(x, p);
    switch (x->modrm >> 3 & 7) {
    case 0:
    case 1: /* INC, DEC */
        unary(x, byte, true);
        flags(x, 0, FL_ALL & ~FL_C);
        break;
    case 2:
    case 4:
        x->size = word_of(p);
        unary(x, false, false);
        x->class = branch_is_short(p)         ? XC_HANDLER_END
                   : (x->modrm >> 3 & 7) == 2 ? XC_CALL_IND
                                              : XC_JMP_IND;
        break;
    case 6:
        x->size = p->opsize ? 2 : word_of(p);
        unary(x, false, false);
        x->class = p->opsize ? XC_HANDLER : XC_PUSH;
        break;
    default:
        x->class = XC_HANDLER_END;
        break;
    }
}

static void classify_m1_mov(struct xinsn *x, const struct prefixes *p)
{
    switch (x->opcode) {
    case 0x88:
    case 0x89:
        parse_modrm(x, p);
        general(x, x->opcode == 0x88, RM_OUT);
        break;
    case 0x8a:
    case 0x8b:
        parse_modrm(x, p);
        general(x, x->opcode == 0x8a, REG_OUT);
        break;
    case 0x63:
        parse_modrm(x, p);
        general(x, false, REG_OUT);
        x->mem_size = x->size == 2 ? 2 : 4;
        break;
    case 0x8d:
        parse_modrm(x, p);
        general(x, false, REG_OUT);
        x->class = XC_LEA;
        break;
    case 0xc6:
    case 0xc7:
        parse_modrm(x, p);
        unary(x, x->opcode == 0xc6, true);
        break;
    default: /* B0..BF */
        x->class = XC_MOV_IMM;
        x->rm_kind = OPERAND_GPR;
        x->rm = (x->opcode & 7) | (x->rex & PREFIX_REX_B ? 8 : 0);
        x->rm_byte = x->opcode < 0xb8;
        break;
    }
}

static void classify_direct(struct xinsn *x, const struct prefixes *p)
{
    bool short_count = x->op.bits & (p->long64 ? OB_ASZ32 : OB_ASZ16);
    x->size = word_of(p);
    if (branch_is_short(p)) {
        x->class = XC_STOP;
        return;
    }
    switch (x->opcode) {
    case 0xe2:
        x->class = short_count ? XC_STOP : XC_LOOP;
        break;
    case 0xe3:
        x->class = short_count ? XC_STOP : XC_JCXZ;
        break;
    case 0xe8:
        x->class = XC_CALL;
        break;
    case 0xe9:
    case 0xeb:
        x->class = XC_JMP;
        break;
    default:
        if ((x->map == M1 && (x->opcode & 0xf0) == 0x70) ||
            (x->map == M0F && (x->opcode & 0xf0) == 0x80)) {
            x->class = XC_JCC;
            x->f_read = condition_reads[x->opcode >> 1 & 7];
        } else {
            x->class = XC_STOP;
        }
        break;
    }
}

/* What 64-bit code has not, or has as something else. false: neither. */
static bool classify_m1_32(struct xinsn *x, const struct prefixes *p)
{
    uint8_t b = x->opcode;
    switch (b) {
    case 0x40 ... 0x4f: /* INC, DEC: as FF with ModRM */
        x->opcode = 0xff;
        x->modrm = 0xc0 | (b & 15);
        x->rm = b & 7;
        unary(x, false, true);
        flags(x, 0, FL_ALL & ~FL_C);
        return true;
    case 0x63: /* ARPL */
        return true;
    case 0xa0 ... 0xa3: /* MOV with an address instead of ModRM: as 88 to 8B */
        x->opcode = (b < 0xa2 ? 0x8a : 0x88) | (b & 1);
        x->modrm = 0x05;
        x->mem = true;
        x->size = b & 1 ? x->size : 1;
        general(x, !(b & 1), b < 0xa2 ? REG_OUT : RM_OUT);
        return true;
    default:
        return false;
    }
}

static void classify_m1(struct xinsn *x, const struct prefixes *p)
{
    uint8_t b = x->opcode;
    if (!p->long64 && classify_m1_32(x, p)) {
        return;
    }
    if (b < 0x40 && (b & 7) < 6) {
        x->size = b & 1 ? x->size : 1;
        classify_alu(x, p);
        return;
    }
    if (b >= 0xb0 && b <= 0xbf) {
        x->size = b >= 0xb8 ? x->size : 1;
        classify_m1_mov(x, p);
        return;
    }
    if (b >= 0x91 && b <= 0x97) {
        x->class = XC_XCHG_RAX;
        x->rm = (b & 7) | (x->rex & PREFIX_REX_B ? 8 : 0);
        return;
    }
    switch (b) {
    case 0x50 ... 0x5f:
        x->class = p->opsize ? XC_HANDLER : b < 0x58 ? XC_PUSH : XC_POP;
        x->size = word_of(p);
        x->rm = (b & 7) | (x->rex & PREFIX_REX_B ? 8 : 0);
        break;
    case 0x68:
    case 0x6a:
        x->class = p->opsize ? XC_HANDLER : XC_PUSH_IMM;
        x->size = word_of(p);
        break;
    case 0x69:
    case 0x6b:
        parse_modrm(x, p);
        general(x, false, REG_OUT);
        flags(x, 0, FL_ALL);
        break;
    case 0x80:
    case 0x81:
    case 0x83:
        x->size = b == 0x80 ? 1 : x->size;
        parse_modrm(x, p);
        unary(x, b == 0x80, (x->modrm >> 3 & 7) != 7);
        alu_flags(x, x->modrm >> 3 & 7);
        break;
    case 0x84:
    case 0x85:
        x->size = b == 0x84 ? 1 : x->size;
        parse_modrm(x, p);
        general(x, b == 0x84, 0);
        flags(x, 0, FL_ALL);
        break;
    case 0x86:
    case 0x87:
        x->size = b == 0x86 ? 1 : x->size;
        parse_modrm(x, p);
        general(x, b == 0x86, RM_OUT | REG_OUT);
        break;
    case 0x88:
    case 0x8a:
    case 0xc6:
        x->size = 1;
        /* fall through */
    case 0x89:
    case 0x8b:
    case 0x63:
    case 0x8d:
    case 0xc7:
        classify_m1_mov(x, p);
        break;
    case 0x90:
        if (x->rex & PREFIX_REX_B) {
            x->class = XC_XCHG_RAX;
            x->rm = 8;
        } else {
            x->class = p->repe ? XC_HANDLER : XC_NOP;
        }
        break;
    case 0x98:
    case 0x99:
        x->class = XC_VERBATIM;
        break;
    case 0x9e:
        x->class = XC_VERBATIM;
        flags(x, 0, FL_ALL & ~FL_O);
        break;
    case 0x9f:
        x->class = XC_VERBATIM;
        flags(x, FL_ALL & ~FL_O, 0);
        break;
    case 0xa8:
    case 0xa9:
        x->class = XC_VERBATIM;
        flags(x, 0, FL_ALL);
        break;
    case 0xc0:
    case 0xd0:
    case 0xd2:
        x->size = 1;
        /* fall through */
    case 0xc1:
    case 0xd1:
    case 0xd3:
        classify_shift(x, p);
        break;
    case 0xc2:
    case 0xc3:
        x->class = branch_is_short(p) ? XC_HANDLER_END : XC_RET;
        x->size = word_of(p);
        break;
    case 0xc9:
        x->class = p->opsize ? XC_HANDLER : XC_LEAVE;
        x->size = word_of(p);
        break;
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef: /* IN, OUT: go on by themselves unless something is requested */
        x->class = XC_HANDLER;
        break;
    case 0xf5:
        x->class = XC_VERBATIM;
        flags(x, FL_C, FL_C);
        break;
    case 0xf8:
    case 0xf9:
        x->class = XC_VERBATIM;
        flags(x, 0, FL_C);
        break;
    case 0xf6:
    case 0xf7:
        x->size = b == 0xf6 ? 1 : x->size;
        classify_f6(x, p);
        break;
    case 0xfe:
    case 0xff:
        x->size = b == 0xfe ? 1 : x->size;
        classify_ff(x, p);
        break;
    default:
        break;
    }
}

/* ---------------------------------------------------------------- 0F xx, integer */

static void classify_bit(struct xinsn *x, bool imm, unsigned n)
{
    if (imm) {
        unary(x, false, n != 4);
    } else {
        general(x, false, n != 4 ? RM_OUT : 0);
    }
    flags(x, 0, FL_C);
    if (!imm && x->mem) {
        x->class = XC_HANDLER; /* the bit offset moves the address */
    }
}

static bool classify_0f_integer(const struct cpu *c, const struct xlat *xl, struct xinsn *x,
                                const struct prefixes *p)
{
    uint8_t b = x->opcode;
    switch (b) {
    case 0x0d:
    case 0x18 ... 0x1f:
        x->class = XC_NOP;
        return true;
    case 0x40 ... 0x4f:
        general(x, false, REG_OUT);
        x->f_read = condition_reads[b >> 1 & 7];
        return true;
    case 0x90 ... 0x9f:
        x->size = 1;
        unary(x, true, true);
        x->f_read = condition_reads[b >> 1 & 7];
        return true;
    case 0xa3:
        classify_bit(x, false, 4);
        return true;
    case 0xab:
    case 0xb3:
    case 0xbb:
        classify_bit(x, false, 5);
        return true;
    case 0xba:
        classify_bit(x, true, x->modrm >> 3 & 7);
        return true;
    case 0xa4:
    case 0xac: {
        unsigned count = x->bytes[x->imm_at] & (x->size == 8 ? 63 : 31);
        general(x, false, RM_OUT);
        flags(x, 0, count && x->size > 2 ? FL_ALL : 0);
        x->class = x->size == 2 ? XC_HANDLER : XC_MODRM; /* results past 16 are the model's own */
        return true;
    }
    case 0xa5:
    case 0xad:
        general(x, false, RM_OUT);
        x->by_cl = true;
        if (x->size == 2 || xlat_host_reg[x->reg] == XLAT_IN_ENV) {
            x->class = XC_HANDLER; /* three temporaries */
        }
        return true;
    case 0xaf:
        general(x, false, REG_OUT);
        flags(x, 0, FL_ALL);
        return true;
    case 0xb0:
    case 0xb1:
    case 0xc0:
    case 0xc1:
        x->size = b & 1 ? x->size : 1;
        general(x, !(b & 1), b < 0xc0 ? RM_OUT : RM_OUT | REG_OUT);
        flags(x, 0, FL_ALL);
        return true;
    case 0xb6:
    case 0xb7:
    case 0xbe:
    case 0xbf:
        general(x, false, REG_OUT);
        x->rm_byte = !(b & 1);
        x->mem_size = b & 1 ? 2 : 1;
        return true;
    case 0xb8:
        if (p->repe) {
            general(x, false, REG_OUT);
            flags(x, 0, FL_ALL);
            x->mandatory = 0xf3;
        }
        return true;
    case 0xbc:
    case 0xbd: {
        general(x, false, REG_OUT);
        flags(x, 0, b == 0xbc || b == 0xbd ? FL_Z : 0);
        bool count = p->repe && cpu_has(c, b == 0xbc ? F_BMI1 : F_LZCNT);
        if (count) {
            x->mandatory = 0xf3;
            x->class = (b == 0xbc ? xl->host_bmi1 : xl->host_lzcnt) ? XC_MODRM : XC_HANDLER;
        }
        return true;
    }
    case 0xc3:
        general(x, false, RM_OUT);
        return true;
    default:
        return false;
    }
}

/* ---------------------------------------------------------------- handlers */

/* Does the interpreter's handler leave the arithmetic flags alone? A handler that never goes on by
 * itself to other blocks may say so; false is always right. */
static bool keeps_flags(const struct xinsn *x)
{
    uint8_t b = x->opcode, modrm = x->modrm;
    if (x->map == M1) {
        switch (b) {
        case 0x8c: /* MOV with segment registers */
        case 0x8e:
        case 0xa4: /* MOVS, STOS, LODS */
        case 0xa5:
        case 0xaa ... 0xad:
        case 0xe4 ... 0xe7: /* IN, OUT */
        case 0xec ... 0xef:
        case 0xf4:          /* HLT */
        case 0xfa ... 0xfd: /* CLI, STI, CLD, STD */
        case 0x90:          /* PAUSE */
        case 0xd8:
        case 0xd9:
        case 0xdc ... 0xde: /* x87; DA, DB and DF have FCMOV and FCOMI */
            return true;
        default:
            return false;
        }
    }
    if (x->map != M0F) {
        return false;
    }
    switch (b) {
    case 0x20 ... 0x23: /* MOV with control and debug registers */
    case 0x30 ... 0x32: /* WRMSR, RDTSC, RDMSR */
    case 0x77:          /* EMMS */
    case 0xa2:          /* CPUID */
    case 0xae:          /* FXSAVE, LDMXCSR, fences... */
        return true;
    case 0x01: /* INVLPG, SWAPGS, RDTSCP, STAC, CLAC */
        return modrm == 0xf8 || modrm == 0xf9 || modrm == 0xca || modrm == 0xcb ||
               (modrm < 0xc0 && (modrm >> 3 & 7) == 7);
    default:
        return false;
    }
}

/* The same of VEX instructions; at: of what follows the first byte. */
static bool vex_keeps_flags(const struct xinsn *x, unsigned at)
{
    bool three = x->opcode == 0xc4;
    unsigned map = three ? x->bytes[at] & 31 : 1;
    uint8_t b = x->bytes[at + (three ? 2 : 1)];
    switch (map) {
    case 1:
        return b != 0x2e && b != 0x2f; /* VUCOMIS, VCOMIS */
    case 2:
        return b != 0x0e && b != 0x0f && b != 0x17 && b < 0xf0; /* VTEST, VPTEST, BMI */
    case 3:
        return b < 0x60 || b > 0x63; /* VPCMPxSTRx */
    default:
        return false;
    }
}

/* ---------------------------------------------------------------- the whole */

/* Whether a byte operand is AH, CH, DH or BH, as there is no REX. */
static bool high_operand(const struct xinsn *x, bool byte, unsigned n)
{
    return byte && !x->rex && n >= 4 && n < 8;
}

/* Whether the instruction can be written although a byte register needs REX (SPL..DIL, or one that
 * lives in R8 and up) or forbids it: as it is, or by way of a copy of its high byte. */
static bool bytes_encodable(struct xinsn *x)
{
    bool reg = x->reg_kind == OPERAND_GPR, rm = x->rm_kind == OPERAND_GPR && !x->mem;
    bool reg_high = reg && high_operand(x, x->reg_byte, x->reg);
    bool rm_high = rm && high_operand(x, x->rm_byte, x->rm);
    if (!reg_high && !rm_high) {
        return true;
    }
    unsigned high = (reg_high ? x->reg : x->rm) - 4;
    bool both = reg_high && rm_high;
    if (high == RCX || (both && x->rm - 4 == RCX)) {
        return false; /* their host register has no high byte */
    }
    /* The other operand must do without REX; memory is [R11]. */
    bool rex = x->mem || (reg && !reg_high && (xlat_host_reg[x->reg] >= 8 || x->size == 8)) ||
               (rm && !rm_high && xlat_host_reg[x->rm] >= 8);
    if (!rex) {
        return true;
    }
    bool t1_taken = x->by_cl || (rm_high && reg && xlat_host_reg[x->reg] == XLAT_IN_ENV);
    if (x->class != XC_MODRM || both || t1_taken) {
        return false;
    }
    x->high_copy = reg_high ? HIGH_COPY_REG : HIGH_COPY_RM;
    return true;
}

/* Whether an address is computed in a way that only the interpreter knows. */
static bool address_is_odd(const struct xinsn *x, bool long64)
{
    uint8_t mflags = x->op.mflags;
    if (long64) {
        return mflags & (MF_ADDR32 | MF_ADDR16 | MF_SEGCHK);
    }
    return (mflags & MF_ADDR16) || ((mflags & MF_SEGCHK) && x->op.seg < SEG_FS);
}

void xinsn_classify(const struct cpu *c, struct xinsn *x, bool ends)
{
    const struct xlat *xl = c->xlat;
    op_fn fn = x->op.fn;
    x->class = ends ? XC_HANDLER_END : XC_HANDLER;
    x->f_read = FL_ALL;
    x->f_write = 0;
    x->next = x->target = -1;
    if (fn == op_ud || fn == op_gp0 || fn == op_nm || fn == op_missing) {
        x->class = XC_HANDLER_END;
        return;
    }
    struct prefixes p = parse_prefixes(x, is_long64(c));
    if (x->map == M1 && (x->opcode == 0xc4 || x->opcode == 0xc5 || x->opcode == 0x62)) {
        if (!p.long64 && x->bytes[p.at] < 0xc0) {
            return; /* LES, LDS, BOUND */
        }
        x->keeps_flags = vex_keeps_flags(x, p.at);
        x->f_read = x->keeps_flags ? 0 : FL_ALL;
        return;
    }
    x->size = x->rex & PREFIX_REX_W ? 8 : p.opsize ? 2 : 4;
    x->lock = p.lock;
    enum xclass handler = x->class;
    if (x->op.bits & OB_DIRECT) {
        x->f_read = 0;
        classify_direct(x, &p);
        return;
    }
    x->f_read = 0;
    if (fn == op_cpuid || ((fn == op_rdtsc || fn == op_rdtscp) && c->tsc_line != NULL)) {
        x->class = fn == op_cpuid ? XC_CPUID : XC_RDTSC;
        return;
    }
    if (x->map == M1) {
        x->opsize = p.opsize && !(x->rex & PREFIX_REX_W);
        classify_m1(x, &p);
    } else {
        x->mandatory = p.repne ? 0xf2 : p.repe ? 0xf3 : p.opsize ? 0x66 : 0;
        bool no_modrm =
            x->map == M0F && ((x->opcode >= 0xc8 && x->opcode <= 0xcf) || x->opcode == 0xa2 ||
                              x->opcode == 0x31 || x->opcode == 0x05 || x->opcode == 0x07);
        if (x->map == M0F && x->opcode >= 0xc8 && x->opcode <= 0xcf) {
            x->class = x->size == 2 ? XC_HANDLER : XC_BSWAP;
            x->rm = (x->opcode & 7) | (x->rex & PREFIX_REX_B ? 8 : 0);
        } else if (!no_modrm) {
            uint8_t mandatory = x->mandatory;
            parse_modrm(x, &p);
            x->mandatory = 0;
            x->opsize = p.opsize && !(x->rex & PREFIX_REX_W);
            if (x->map != M0F || !classify_0f_integer(c, xl, x, &p)) {
                x->opsize = false;
                x->mandatory = mandatory;
                if (x->map == M0F) {
                    classify_0f_sse(x);
                } else if (x->map == M38) {
                    bool movbe = (x->opcode & 0xfe) == 0xf0;
                    x->opsize = movbe && p.opsize && !(x->rex & PREFIX_REX_W);
                    classify_38(xl, x, &p);
                } else {
                    classify_3a(xl, x);
                }
            }
        }
    }
    bool uses_address = x->mem || x->class == XC_LEA;
    bool odd = (uses_address && address_is_odd(x, p.long64)) || !bytes_encodable(x);
    if (odd &&
        (x->class == XC_MODRM || x->class == XC_LEA || x->class == XC_DIV || x->class == XC_PUSH ||
         x->class == XC_JMP_IND || x->class == XC_CALL_IND || x->class == XC_MOV_IMM)) {
        x->class = x->class == XC_JMP_IND || x->class == XC_CALL_IND ? XC_HANDLER_END : handler;
    }
    if (x->class == XC_HANDLER || x->class == XC_HANDLER_END) {
        x->keeps_flags = keeps_flags(x);
        x->f_read = x->keeps_flags ? 0 : FL_ALL;
        x->f_write = 0;
        x->vec = false;
    }
}
