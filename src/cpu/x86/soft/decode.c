/*
 * The instruction decoder: Intel SDM volume 2, chapter 2 and appendix A.
 *
 * The lines of the .def files become lookup tables for one set of CPUID features, cell by cell when
 * it is first looked at: most guests never do at most of them, and a machine is to start quickly.
 * decode() reads prefixes, opcode, ModRM, SIB, displacement and immediate and binds the handler.
 * What an instruction may not do here and now (LOCK on the wrong form, privilege, disabled FPU)
 * becomes an op that raises the fault when it executes.
 *
 * VEX encodings have tables of their own; they are bound to handlers that find the third operand in
 * op.imm (avx-priv.h). EVEX, XOP and 3DNow! are undefined.
 */
#include "cpu/x86/soft/block.h"

/* ---------------------------------------------------------------- tables */

/* Cells of a group: memory form by ModRM.reg, then register form by reg and rm. */
enum { GROUP_CELLS = 8 + 64, SLOT_UNDEFINED = 0x7fff, SLOT_GROUP = 0x8000 };

/* The table's lines by map and eight opcodes, as A_OPREG covers: what one cell has to look at. */
enum { OCTETS = (V0F + VEX_MAPS) * 32 };

struct line_index {
    uint16_t first[OCTETS + 1]; /* in line[] */
    uint16_t *line;
};

struct decoder {
    uint64_t features[2];
    struct line_index index;
    /* By 64-bit mode, map, mandatory prefix (none, 66, F3, F2) and opcode: 0 not looked at yet,
     * SLOT_UNDEFINED, 1 + line, or SLOT_GROUP + index of a group. */
    uint16_t slot[2][INSN_MAPS][4][256];
    /* By map, VEX.pp, VEX.L, VEX.W and opcode, in the same way. */
    uint16_t vex[VEX_MAPS][4][2][2][256];
    uint16_t (*group)[GROUP_CELLS]; /* 0 or 1 + line */
    unsigned n_groups;
};

static const uint8_t pfx_of_column[4] = {PN, P66, PF3, PF2};

static bool line_covers_opcode(const struct insn *i, unsigned opcode)
{
    return i->attrs & A_OPREG ? (opcode & ~7u) == i->opcode : opcode == i->opcode;
}

static bool line_covers_cell(const struct insn *i, unsigned cell)
{
    bool memory = cell < 8;
    unsigned reg = memory ? cell : (cell - 8) >> 3, rm = cell & 7;
    if (i->reg != RX && i->reg != reg) {
        return false;
    }
    switch (i->rm) {
    case RMX:
        return true;
    case RMM:
        return memory;
    case RMR:
        return !memory;
    default:
        return !memory && i->rm == rm;
    }
}

static bool line_is_grouped(const struct insn *i)
{
    return i->reg != RX || i->rm != RMX;
}

/* A line that names the prefix, the rm or the exact opcode wins over one that does not. */
static unsigned line_rank(const struct insn *i)
{
    return (i->pfx != PX) * 8 + (i->rm < 8) * 4 + (i->reg != RX) * 2 + !(i->attrs & A_OPREG);
}

struct candidates {
    uint16_t line[80];
    unsigned n;
};

static uint16_t best_line(const struct candidates *set, int cell)
{
    uint16_t best = 0;
    unsigned best_rank = 0;
    for (unsigned k = 0; k < set->n; k++) {
        const struct insn *i = &insn_table[set->line[k]];
        if ((cell < 0 || line_covers_cell(i, cell)) && line_rank(i) + 1 > best_rank) {
            best = 1 + set->line[k];
            best_rank = line_rank(i) + 1;
        }
    }
    return best;
}

static uint16_t group_slot(struct decoder *d, const struct candidates *set)
{
    uint16_t cells[GROUP_CELLS];
    for (int cell = 0; cell < GROUP_CELLS; cell++) {
        cells[cell] = best_line(set, cell);
    }
    for (unsigned g = 0; g < d->n_groups; g++) {
        if (!memcmp(d->group[g], cells, sizeof(cells))) {
            return SLOT_GROUP + g;
        }
    }
    d->group = g_realloc(d->group, (d->n_groups + 1) * sizeof(cells));
    memcpy(d->group[d->n_groups], cells, sizeof(cells));
    return SLOT_GROUP + d->n_groups++;
}

static bool feature_present(const uint64_t features[2], unsigned f)
{
    return f == F_ALWAYS || (features[f / 64] >> (f % 64) & 1);
}

struct lines {
    const uint16_t *line;
    unsigned n;
};

static unsigned octet_of(unsigned map, unsigned opcode)
{
    return map * 32 + opcode / 8;
}

static void index_init(struct line_index *index)
{
    uint16_t next[OCTETS];

    memset(index->first, 0, sizeof(index->first));
    for (unsigned k = 0; k < insn_table_size; k++) {
        index->first[octet_of(insn_table[k].map, insn_table[k].opcode) + 1]++;
    }
    for (unsigned o = 0; o < OCTETS; o++) {
        index->first[o + 1] += index->first[o];
        next[o] = index->first[o];
    }
    index->line = g_new(uint16_t, insn_table_size);
    for (unsigned k = 0; k < insn_table_size; k++) {
        index->line[next[octet_of(insn_table[k].map, insn_table[k].opcode)]++] = (uint16_t)k;
    }
}

static struct lines index_lines(const struct line_index *index, unsigned map, unsigned opcode)
{
    unsigned octet = octet_of(map, opcode), first = index->first[octet];

    return (struct lines){index->line + first, index->first[octet + 1] - first};
}

static uint16_t slot_of(struct decoder *d, const struct candidates *set, bool grouped)
{
    uint16_t slot = grouped ? group_slot(d, set) : best_line(set, -1);

    return slot ? slot : SLOT_UNDEFINED;
}

static uint16_t plain_slot(struct decoder *d, bool mode64, unsigned map, unsigned column,
                           unsigned opcode)
{
    struct lines lines = index_lines(&d->index, map, opcode);
    struct candidates set = {.n = 0};
    bool grouped = false;
    for (unsigned k = 0; k < lines.n; k++) {
        const struct insn *i = &insn_table[lines.line[k]];
        if (!line_covers_opcode(i, opcode) || !feature_present(d->features, i->feature) ||
            (i->attrs & (mode64 ? A_NO64 : A_64)) || (i->attrs & A_UNDEF) ||
            (i->pfx != PX && i->pfx != pfx_of_column[column])) {
            continue;
        }
        g_assert(set.n < G_N_ELEMENTS(set.line));
        set.line[set.n++] = lines.line[k];
        grouped |= line_is_grouped(i);
    }
    return slot_of(d, &set, grouped);
}

static bool line_takes_vex(const struct insn *i, bool l, bool w)
{
    return !(i->vex & (l ? V_L0 : V_L1)) && !(i->vex & (w ? V_W0 : V_W1));
}

/* One cell of the VEX tables. */
static uint16_t vex_slot(struct decoder *d, unsigned map, unsigned opcode, unsigned pp, bool l,
                         bool w)
{
    struct lines lines = index_lines(&d->index, V0F + map, opcode);
    struct candidates set = {.n = 0};
    bool grouped = false;
    for (unsigned k = 0; k < lines.n; k++) {
        const struct insn *i = &insn_table[lines.line[k]];
        if (i->opcode == opcode && feature_present(d->features, i->feature) &&
            i->pfx == pfx_of_column[pp] && line_takes_vex(i, l, w)) {
            g_assert(set.n < G_N_ELEMENTS(set.line));
            set.line[set.n++] = lines.line[k];
            grouped |= line_is_grouped(i);
        }
    }
    return slot_of(d, &set, grouped);
}

struct decoder *decoder_new(const uint64_t features[2])
{
    struct decoder *d = g_new0(struct decoder, 1);

    memcpy(d->features, features, sizeof(d->features));
    index_init(&d->index);
    return d;
}

void decoder_free(struct decoder *decoder)
{
    if (decoder) {
        g_free(decoder->index.line);
        g_free(decoder->group);
        g_free(decoder);
    }
}

/* ---------------------------------------------------------------- parsing */

enum byte_class { BC_OPCODE, BC_66, BC_67, BC_F2, BC_F3, BC_LOCK, BC_REX, BC_SEG /* + SEG_* */ };

static const uint8_t byte_class[256] = {
    [0x66] = BC_66,           [0x67] = BC_67,           [0xf2] = BC_F2,
    [0xf3] = BC_F3,           [0xf0] = BC_LOCK,         [0x26] = BC_SEG + SEG_ES,
    [0x2e] = BC_SEG + SEG_CS, [0x36] = BC_SEG + SEG_SS, [0x3e] = BC_SEG + SEG_DS,
    [0x64] = BC_SEG + SEG_FS, [0x65] = BC_SEG + SEG_GS, [0x40 ... 0x4f] = BC_REX,
};

enum { NO_SEG = 0xff };

/* Everything read so far of one instruction. */
struct parse {
    const uint8_t *p; /* next byte */
    uint32_t key;
    uint8_t rex, rep; /* rep: 0, 0xf2 or 0xf3 */
    uint8_t seg;      /* override, or NO_SEG */
    bool opsize, addrsize, lock;
    uint8_t map, opcode, modrm, sib;
    uint8_t asz;   /* address size in bytes */
    uint8_t vvvv;  /* VEX: the third operand's register */
    bool has_vvvv; /* the field is not 1111b, of which 32-bit code's registers ignore a bit */
    bool vex256;   /* VEX.L */
};

enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

static void parse_prefixes(struct parse *s, const uint8_t *limit)
{
    bool long64 = s->key & KEY_LONG64;
    while (s->p < limit) {
        uint8_t class = byte_class[*s->p];
        if (likely(class == BC_OPCODE)) {
            return;
        }
        if (class == BC_REX) {
            if (!long64) {
                return;
            }
            s->rex = *s->p++;
            continue;
        }
        s->rex = 0; /* REX counts only right before the opcode */
        switch (class) {
        case BC_66:
            s->opsize = true;
            break;
        case BC_67:
            s->addrsize = true;
            break;
        case BC_F2:
        case BC_F3:
            s->rep = *s->p;
            break;
        case BC_LOCK:
            s->lock = true;
            break;
        default:
            if (!long64 || class - BC_SEG >= SEG_FS) {
                s->seg = class - BC_SEG;
            }
            break;
        }
        s->p++;
    }
}

static void parse_opcode(struct parse *s)
{
    s->map = M1;
    s->opcode = *s->p++;
    if (s->opcode == 0x0f) {
        s->map = M0F;
        s->opcode = *s->p++;
        if (s->opcode == 0x38 || s->opcode == 0x3a) {
            s->map = s->opcode == 0x38 ? M38 : M3A;
            s->opcode = *s->p++;
        }
    }
}

/* C4, C5, 62 and 8F are something else than LES, LDS, BOUND and POP when what follows looks like a
 * register operand (or always, in 64-bit mode; 8F when ModRM.reg is not 0). */
static bool is_vector_escape(const struct parse *s)
{
    if (s->map != M1) {
        return false;
    }
    bool long64 = s->key & KEY_LONG64;
    bool may = long64 || (s->p[0] >= 0xc0 && (s->key & KEY_PE) && !(s->key & KEY_VM86));
    return (s->opcode == 0xc4 || s->opcode == 0xc5 || s->opcode == 0x62) && may;
}

static int32_t get32(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

static int16_t get16(const uint8_t *p)
{
    int16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* How handlers reach a linear address in this segment. */
static uint8_t segment_mflags(uint32_t key, unsigned seg)
{
    if (key & KEY_LONG64) {
        return seg >= SEG_FS ? MF_SEG64 : 0;
    }
    bool flat = (key & KEY_FLAT) && (seg == SEG_DS || seg == SEG_ES || seg == SEG_SS);
    return flat ? 0 : MF_SEGCHK;
}

static void set_segment(const struct parse *s, struct op *op, unsigned standard)
{
    unsigned seg = s->seg == NO_SEG ? standard : s->seg;
    op->seg = seg;
    op->mflags = segment_mflags(s->key, seg) | (seg == SEG_SS ? MF_STACK : 0);
    if (s->asz == 2) {
        op->mflags |= MF_ADDR16;
    } else if (s->asz == 4) {
        op->mflags |= MF_ADDR32;
    }
}

static void parse_memory16(struct parse *s, struct op *op)
{
    static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t index[8] = {RSI, RDI, RSI, RDI, R_ZERO, R_ZERO, R_ZERO, R_ZERO};
    unsigned mod = s->modrm >> 6, rm = s->modrm & 7;
    op->base = base[rm];
    op->index = index[rm];
    if (mod == 0 && rm == 6) {
        op->base = R_ZERO;
        op->disp = get16(s->p);
        s->p += 2;
    } else if (mod == 1) {
        op->disp = (int8_t)*s->p++;
    } else if (mod == 2) {
        op->disp = get16(s->p);
        s->p += 2;
    }
    set_segment(s, op, op->base == RBP ? SEG_SS : SEG_DS);
}

/* Returns true when the displacement is relative to the next instruction. */
static bool parse_memory32(struct parse *s, struct op *op)
{
    unsigned mod = s->modrm >> 6, rm = s->modrm & 7;
    bool rip_relative = false, no_base = false;
    if (rm == 4) {
        uint8_t sib = s->sib = *s->p++;
        unsigned index = (sib >> 3 & 7) | (s->rex & REX_X ? 8 : 0);
        op->index = index == 4 ? R_ZERO : index;
        op->scale = index == 4 ? 0 : sib >> 6;
        op->base = (sib & 7) | (s->rex & REX_B ? 8 : 0);
        no_base = mod == 0 && (sib & 7) == 5;
    } else {
        op->base = rm | (s->rex & REX_B ? 8 : 0);
        no_base = mod == 0 && rm == 5;
        rip_relative = no_base && (s->key & KEY_LONG64);
    }
    if (no_base) {
        op->base = rip_relative ? R_BLOCK : R_ZERO;
    }
    if (mod == 1) {
        op->disp = (int8_t)*s->p++;
    } else if (mod == 2 || no_base) {
        op->disp = get32(s->p);
        s->p += 4;
    }
    set_segment(s, op, op->base == RSP || op->base == RBP ? SEG_SS : SEG_DS);
    return rip_relative;
}

static void parse_moffs(struct parse *s, struct op *op)
{
    op->bits |= OB_MEM;
    op->base = op->index = R_ZERO;
    set_segment(s, op, SEG_DS);
    if (s->asz == 8) {
        /* The only 64-bit displacement: op_moffs_* take it from imm. */
        memcpy(&op->imm, s->p, 8);
    } else {
        op->disp = s->asz == 4 ? get32(s->p) : get16(s->p);
        op->imm = s->asz == 4 ? (uint32_t)op->disp : (uint16_t)op->disp;
    }
    s->p += s->asz;
}

static void parse_immediate(struct parse *s, const struct insn *i, struct op *op)
{
    uint32_t a = i->attrs;
    if (a & A_I16) {
        op->imm = (uint16_t)get16(s->p);
        s->p += 2;
        if (a & A_I8) {
            op->disp = *s->p++;
        }
    } else if (a & (A_I8 | A_REL8)) {
        op->imm = (int8_t)*s->p++;
    } else if (a & (A_IZ | A_RELZ | A_IV | A_FAR)) {
        if (op->osz == 2) {
            op->imm = get16(s->p);
            s->p += 2;
        } else if (op->osz == 8 && (a & A_IV)) {
            memcpy(&op->imm, s->p, 8);
            s->p += 8;
        } else {
            op->imm = get32(s->p);
            s->p += 4;
        }
        if (a & A_FAR) {
            op->imm = op->osz == 2 ? (uint16_t)op->imm : (uint32_t)op->imm;
            op->disp = (uint16_t)get16(s->p);
            s->p += 2;
        }
    } else if (a & A_ONE) {
        op->imm = 1;
    }
}

/* ---------------------------------------------------------------- binding */

static unsigned operand_size(const struct parse *s, const struct insn *i)
{
    if (i->attrs & A_BYTE) {
        return 1;
    }
    bool opsize = s->opsize && i->pfx != P66;
    if (s->map >= V0F) {
        return (s->key & KEY_LONG64) && (s->rex & REX_W) ? 8 : 4;
    }
    if (s->key & KEY_LONG64) {
        if ((i->attrs & A_F64) || (s->rex & REX_W)) {
            return 8;
        }
        return opsize ? 2 : i->attrs & A_D64 ? 8 : 4;
    }
    return opsize == !(s->key & KEY_CS_D) ? 4 : 2;
}

/* Byte offset into c->r of a byte register. */
static uint8_t byte_register(const struct parse *s, unsigned n)
{
    return n >= 4 && n < 8 && !s->rex ? (n - 4) * 8 + 1 : n * 8;
}

/* The same for VEX-encoded instructions. (Real and virtual-8086 mode do not get here.) */
static op_fn forbidden_vex(const struct parse *s, const struct insn *i, const struct op *op)
{
    bool sib = (s->modrm & 7) == 4 && (op->bits & OB_MEM) && s->asz != 2;
    if (((i->vex & V_NOV) && s->has_vvvv) || ((i->vex & V_SIB) && !sib) ||
        (!(i->vex & V_GPR) && !(s->key & KEY_AVX))) {
        return op_ud;
    }
    return !(i->vex & V_GPR) && (s->key & KEY_TS) ? op_nm : NULL;
}

/* The handler that raises what forbids this instruction here, or NULL. */
static op_fn forbidden(const struct parse *s, const struct insn *i, const struct op *op)
{
    uint32_t a = i->attrs, key = s->key;
    if (s->lock && !((a & A_LOCK) && (op->bits & OB_MEM))) {
        return op_ud;
    }
    if (s->map >= V0F) {
        return forbidden_vex(s, i, op);
    }
    if ((a & A_PROT) && (!(key & KEY_PE) || (key & KEY_VM86))) {
        return op_ud;
    }
    if ((a & A_SSE) && ((key & KEY_EM) || !(key & KEY_OSFXSR))) {
        return op_ud;
    }
    if ((a & A_MMX) && (key & KEY_EM)) {
        return op_ud;
    }
    if ((a & A_X87) && (key & (KEY_EM | KEY_TS))) {
        return op_nm;
    }
    if ((a & (A_SSE | A_MMX)) && (key & KEY_TS)) {
        return op_nm;
    }
    if ((a & A_WAIT) && (key & KEY_TS) && (key & KEY_MP)) {
        return op_nm;
    }
    if ((a & A_CPL0) && (key & KEY_CPL)) {
        return op_gp0;
    }
    return NULL;
}

static op_fn specialised(const struct insn *i, struct op *op)
{
    unsigned size = op->osz == 1 ? 0 : op->osz == 2 ? 1 : op->osz == 4 ? 2 : 3;
    unsigned kind = op->bits & OB_LOCK ? FORM_LOCK : op->bits & OB_MEM ? FORM_MEM : FORM_REG;
    op_fn fn = i->forms[kind + size];
    return fn ? fn : op_ud;
}

/* Registers as specialised handlers want them. */
static void place_registers(const struct parse *s, const struct insn *i, struct op *op)
{
    uint32_t a = i->attrs;
    if (a & A_EG) {
        uint8_t reg = op->dst;
        op->dst = op->src;
        op->src = reg;
    }
    if (a & A_ACC) {
        op->dst = RAX;
    }
    if (a & A_BYTE) {
        op->dst = byte_register(s, op->dst);
        op->src = byte_register(s, op->src);
    } else if ((a & A_RMB) && !(op->bits & OB_MEM)) {
        op->src = byte_register(s, op->src);
    }
}

/* The line that a slot stands for; reads ModRM where there is one. */
static const struct insn *slot_line(const struct decoder *d, struct parse *s, unsigned slot,
                                    bool *has_modrm)
{
    *has_modrm = false;
    if (slot & SLOT_GROUP) {
        s->modrm = *s->p++;
        *has_modrm = true;
        unsigned cell = s->modrm >= 0xc0 ? 8 + (s->modrm & 63) : s->modrm >> 3 & 7;
        slot = d->group[slot & ~SLOT_GROUP][cell];
    }
    if (!slot || slot == SLOT_UNDEFINED) {
        return NULL;
    }
    const struct insn *i = &insn_table[slot - 1];
    if (!*has_modrm && (i->attrs & A_MODRM)) {
        s->modrm = *s->p++;
        *has_modrm = true;
    }
    return i;
}

static const struct insn *lookup(struct decoder *d, struct parse *s, bool *has_modrm)
{
    bool long64 = s->key & KEY_LONG64;
    unsigned column = s->rep ? (s->rep == 0xf3 ? 2 : 3) : s->opsize;
    unsigned opcode = s->opcode;
    uint16_t *slot;
    if (unlikely(s->map == M1 && opcode == 0x90 && (s->rex & REX_B))) {
        opcode = 0x91; /* XCHG R8, not NOP */
    }
    slot = &d->slot[long64][s->map][column][opcode];
    if (unlikely(!*slot)) {
        *slot = plain_slot(d, long64, s->map, column, opcode);
    }
    return slot_line(d, s, *slot, has_modrm);
}

/* Reads what follows C4 or C5 and looks the instruction up. s->rex gets the fields that REX has, as
 * far as they count outside 64-bit mode. NULL: undefined. */
static const struct insn *lookup_vex(struct decoder *d, struct parse *s, bool *has_modrm)
{
    bool long64 = s->key & KEY_LONG64, forbidden = s->lock || s->rep || s->opsize || s->rex;
    uint8_t fields = s->opcode == 0xc4 ? *s->p++ : (*s->p & 0x80) | 0x61;
    uint8_t last = *s->p++;
    unsigned map = (fields & 31) - 1, w = s->opcode == 0xc4 ? last >> 7 : 0;

    s->vvvv = ~last >> 3 & (long64 ? 15 : 7);
    s->has_vvvv = (~last >> 3 & 15) != 0;
    s->vex256 = last >> 2 & 1;
    s->rep = (last & 3) < 2 ? 0 : (last & 3) == 2 ? 0xf3 : 0xf2;
    s->rex = (long64 ? ~fields >> 5 & 7 : 0) | (w ? REX_W : 0);
    s->opcode = *s->p++;
    *has_modrm = false;
    if (map >= VEX_MAPS) {
        return NULL;
    }
    s->map = V0F + map;
    uint16_t *slot = &d->vex[map][last & 3][s->vex256][w][s->opcode];
    if (unlikely(!*slot)) {
        *slot = vex_slot(d, map, s->opcode, last & 3, s->vex256, w);
    }
    const struct insn *i = slot_line(d, s, *slot, has_modrm);
    return forbidden ? NULL : i;
}

/* Gives the op a handler that raises, and its length. */
static enum decode_status finish_raising(struct op *op, op_fn fn, unsigned len, bool *ends_block)
{
    op->fn = fn;
    op->len = len;
    *ends_block = true;
    return DECODE_OK;
}

static void parse_modrm(struct parse *s, const struct insn *i, struct op *op, bool *rip_relative)
{
    op->dst = (s->modrm >> 3 & 7) | (s->rex & REX_R ? 8 : 0);
    if (s->modrm >= 0xc0 || (i->attrs & A_MODREG)) {
        op->src = (s->modrm & 7) | (s->rex & REX_B ? 8 : 0);
    } else {
        op->bits |= OB_MEM;
        if (s->asz == 2) {
            parse_memory16(s, op);
        } else {
            *rip_relative = parse_memory32(s, op);
        }
    }
}

static uint8_t op_bits(const struct parse *s)
{
    return (s->rep == 0xf3 ? OB_REP : 0) | (s->rep == 0xf2 ? OB_REPNE : 0) | (s->rex ? OB_REX : 0) |
           (s->asz == 2 ? OB_ASZ16 : 0) | (s->asz == 4 ? OB_ASZ32 : 0) | (s->lock ? OB_LOCK : 0);
}

/* Makes displacements and branch targets relative to the block's start. A displacement may then be
 * too large by some bytes: the rest goes into the index, which RIP-relative operands do not have.
 */
static void rebase(const struct insn *i, struct op *op, bool rip_relative)
{
    int64_t next = (int64_t)op->ip + op->len;
    if (i->attrs & (A_REL8 | A_RELZ)) {
        op->imm += next;
    }
    if (rip_relative) {
        int64_t disp = op->disp + next;
        if (unlikely(disp > INT32_MAX)) {
            op->index = R_4K;
            disp -= 4096;
        }
        op->disp = (int32_t)disp;
    }
}

static bool is_jcc(const struct parse *s)
{
    return s->map == M1 ? (s->opcode & 0xf0) == 0x70 : s->map == M0F && (s->opcode & 0xf0) == 0x80;
}

enum decode_status decode(const struct cpu *c, const uint8_t *bytes, unsigned n, struct op *op,
                          bool *ends_block)
{
    /* Parsing works on a padded copy, so that only the length needs a check at the end. */
    uint8_t buf[48] __attribute__((aligned(16))) = {0};
    if (likely(n >= 15)) {
        memcpy(buf, bytes, 8);
        memcpy(buf + 7, bytes + 7, 8);
    } else {
        memcpy(buf, bytes, n);
    }
    struct parse s = {.p = buf, .key = c->key, .seg = NO_SEG};
    uint16_t ip = op->ip;
    *op = (struct op){.base = R_ZERO, .index = R_ZERO, .ip = ip};
    *ends_block = false;

    parse_prefixes(&s, buf + 15);
    parse_opcode(&s);
    s.asz = s.key & KEY_LONG64 ? (s.addrsize ? 4 : 8) : s.addrsize == !(s.key & KEY_CS_D) ? 4 : 2;
    op->bits = op_bits(&s);

    bool has_modrm, rip_relative = false;
    const struct insn *i = NULL;
    op_fn raising = NULL;
    if (unlikely(is_vector_escape(&s))) {
        i = s.opcode == 0x62 ? NULL : lookup_vex(c->blocks->decoder, &s, &has_modrm);
    } else {
        i = lookup(c->blocks->decoder, &s, &has_modrm);
    }
    raising = i ? NULL : op_ud;
    if (likely(!raising)) {
        op->osz = operand_size(&s, i);
        if (has_modrm) {
            parse_modrm(&s, i, op, &rip_relative);
        }
        if (i->attrs & A_STR) { /* MASKMOVDQU has a ModRM byte as well */
            set_segment(&s, op, SEG_DS);
        } else if (i->attrs & A_MOFFS) {
            parse_moffs(&s, op);
        }
        if (i->attrs & A_OPREG) {
            op->dst = (s.opcode & 7) | (s.rex & REX_B ? 8 : 0);
        }
        parse_immediate(&s, i, op);
        if (s.map >= V0F) {
            op->imm = (uint8_t)op->imm | s.vvvv << 8;
            op->bits |= s.vex256 ? OB_VEX256 : 0;
            if (i->vex & V_SIB) { /* the index is a vector register, 4 is not "none" */
                op->index = (s.sib >> 3 & 7) | (s.rex & REX_X ? 8 : 0);
                op->scale = s.sib >> 6;
            }
        }
    }

    unsigned len = s.p - buf;
    if (unlikely(len > n)) {
        return n < 15 ? DECODE_NEED_MORE : finish_raising(op, op_gp0, 15, ends_block);
    }
    op->len = len;
    if (likely(!raising)) {
        raising = forbidden(&s, i, op);
    }
    if (unlikely(raising)) {
        return finish_raising(op, raising, len, ends_block);
    }
    rebase(i, op, rip_relative);
    if (i->attrs & A_X87) {
        op->imm = (s.opcode & 7) << 8 | s.modrm;
    }
    if (i->forms) {
        place_registers(&s, i, op);
        op->fn = specialised(i, op);
        *ends_block = (i->attrs & A_END) || op->fn == op_ud;
    } else {
        op->fn = i->fn;
        *ends_block = i->attrs & A_END;
    }
    if (i->attrs & (A_REL8 | A_RELZ)) {
        op->next = NULL; /* in the place of registers and sizes */
        op->bits |= OB_DIRECT;
        op->disp = is_jcc(&s) ? 16 | (s.opcode & 15) : 0;
    }
    return DECODE_OK;
}
