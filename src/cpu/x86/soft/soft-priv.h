/*
 * The software CPU's own interface between its files.
 *
 * A guest instruction is decoded once into a `struct op` (32 bytes); ops of a straight run of code
 * make a block, keyed by guest-physical address, RIP and mode. An op's handler executes it and goes
 * on to the next one by a tail call (or, in builds without reliable tail calls, by returning it to
 * a loop): the macros OP, NEXT and LEAVE hide which. A handler commits nothing before its last
 * access that can fault; a fault does not return (raise_*() jumps to soft_run()).
 *
 * Ownership: everything in struct cpu belongs to the vCPU's thread, except what vcpu.h says of
 * struct vcpu and the atomics of struct lapic. Another vCPU may change this one's TLB and blocks
 * inside an exclusive section only.
 *
 * Files and who owns what:
 *   insn.def, insn-sys.def, insn-sse.def, insn-x87.def   the instruction table
 *   decode.c  bytes -> op           block.c  block cache, code tracking      run.c  the loop
 *   op-int.c op-ctl.c op-str.c      integer, control flow and stack, strings
 *   op-sse.c op-mmx.c op-x87.c fp-host.c   vector and floating point
 *   mmu.c mmu-walk.c tlb.c   slow accesses, page walk, TLB    seg.c   descriptors, far transfers
 *   excp.c    exception and interrupt delivery, iret, syscall    sys.c   CR/DR/MSR/CPUID/in/out...
 *   state.c   struct cpu <-> struct cpu_state, reset   (cpuid.c and lapic.c sit in cpu/x86/)
 */
#ifndef CPU_X86_SOFT_PRIV_H
#define CPU_X86_SOFT_PRIV_H

#include "cpu/vcpu.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/state.h"
#include <setjmp.h>
#include <string.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct cpu;
struct op;
struct block;
struct lapic;
struct clock_line;

/* ---------------------------------------------------------------- handlers */

/* Tail calls need an optimising build without sanitizers; gcc and clang then make sibling calls. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(SOFT_NO_TAIL_CALLS)
#define SOFT_TAIL_CALLS 1
#else
#define SOFT_TAIL_CALLS 0
#endif

#if SOFT_TAIL_CALLS
typedef void op_ret;
#if defined(__clang__)
#define MUST_TAIL __attribute__((musttail)) /* also where a local's address was taken */
#else
#define MUST_TAIL
#endif
#define NEXT          MUST_TAIL return (o + 1)->fn(c, o + 1)
#define LEAVE         return
#define GOTO_OP(next) return (next)->fn(c, (next))
#else
typedef const struct op *op_ret;
#define NEXT          return o + 1
#define LEAVE         return NULL
#define GOTO_OP(next) return (next)
#endif
typedef op_ret (*op_fn)(struct cpu *c, const struct op *o);

/* Defines the handler of an instruction: OP(op_cmc) { ...; NEXT; } NEXT stands in handlers only,
 * not in functions that they call. LEAVE returns to soft_run() with c->rip already set to where
 * execution goes on. */
#define OP(name) op_ret name(struct cpu *c, const struct op *o)

enum { /* general registers */
       RAX,
       RCX,
       RDX,
       RBX,
       RSP,
       RBP,
       RSI,
       RDI,
       R8,
       R9,
       R10,
       R11,
       R12,
       R13,
       R14,
       R15,
       R_ZERO = 16,  /* always 0: "no base", "no index" */
       R_BLOCK = 17, /* RIP of the running block's first byte */
       R_4K = 18,    /* always 4096: the index of a RIP-relative operand near +2 GiB (decode.c) */
       R_COUNT,
};

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* op.mflags: how to get from base+index<<scale+disp to the linear address. 0 is the fast common
 * case: 64-bit addressing without a segment base. */
enum {
    MF_ADDR32 = 1, /* truncate the offset to 32 bits */
    MF_ADDR16 = 2, /* ... to 16 bits */
    MF_SEG64 = 4,  /* 64-bit mode, FS or GS: add the base, no limit check */
    MF_SEGCHK = 8, /* not flat: check type and limit, add the base (result truncated to 32 bits) */
    MF_STACK = 16, /* SS-relative by default: a non-canonical address is #SS(0), not #GP(0) */
};

struct op {
    op_fn fn;
    union {
        struct {
            uint8_t dst, src; /* registers: ModRM.reg and ModRM.rm, or as the handler wants. A byte
                               * register of a size-specialised handler is a byte offset into c->r
                               * (AH is 1). */
            uint8_t base, index; /* address: R_ZERO when absent */
            uint8_t scale;       /* 0..3 */
            uint8_t seg;         /* SEG_*; meaningful when mflags asks for it */
            uint8_t mflags;      /* MF_* */
            uint8_t osz;         /* effective operand size in bytes: 2, 4, 8 (1 where the handler is
                                  * byte-sized) */
        };
        const struct op *next; /* of direct branches and fillers: where to go on, once known */
    };
    int32_t disp;
    uint16_t ip;  /* offset of this instruction's first byte from the block's start */
    uint8_t len;  /* of the instruction in bytes, 1..15 */
    uint8_t bits; /* OB_* */
    int64_t imm;  /* immediate (sign-extended), or branch target offset from the block's RIP */
};
_Static_assert(sizeof(struct op) == 32, "struct op is 32 bytes");

enum {                /* op.bits */
       OB_MEM = 1,    /* the rm operand is memory */
       OB_LOCK = 2,   /* LOCK prefix (only on ops that allow it) */
       OB_VEX256 = 2, /* VEX.L (of VEX-encoded instructions, which allow no LOCK) */
       OB_REP = 4,    /* F3 */
       OB_REPNE = 8,  /* F2 */
       OB_REX = 16,   /* a REX prefix is present (byte registers 4..7 are SPL..DIL) */
       OB_ASZ16 = 32, /* effective address size (string ops, LOOP, JCXZ) */
       OB_ASZ32 = 64,
       OB_DIRECT = 128, /* a branch with `next`; disp: minus the instructions after it in the block
                         * (out of decode(): 16 + condition of a Jcc) */
};

/* RIP of an op, and of the one after it (truncated to the code size by rip_wrap). */
#define OP_RIP(c, o)       ((c)->r[R_BLOCK] + (o)->ip)
#define OP_NEXT_RIP(c, o)  rip_wrap((c), (c)->r[R_BLOCK] + (o)->ip + (o)->len)

/* ---------------------------------------------------------------- state */

/* c->key: all that decoding and handlers assume about the mode. A change ends the block. */
#define KEY_CS_LIMIT_SHIFT 24
enum {
    KEY_CPL = 3,          /* two bits */
    KEY_LONG64 = 1u << 2, /* CS.L in long mode: 64-bit code */
    KEY_CS_D = 1u << 3,   /* 32-bit code */
    KEY_SS_B = 1u << 4,   /* 32-bit stack */
    KEY_PE = 1u << 5,
    KEY_VM86 = 1u << 6,
    KEY_FLAT = 1u << 7, /* DS, ES, SS: base 0, limit 4G, writable: no checks needed */
    KEY_TS = 1u << 8,   /* CR0.TS */
    KEY_EM = 1u << 9,
    KEY_MP = 1u << 10,
    KEY_OSFXSR = 1u << 11,
    KEY_OSXSAVE = 1u << 12,
    KEY_STEP = 1u << 13,  /* TF, enabled breakpoints, or an interrupt shadow: one-op blocks, whose
                           * enter op does not poll c->req, and soft_events() before each; a repeated
                           * string instruction leaves at its own RIP after each iteration */
    KEY_ALIGN = 1u << 14, /* #AC in force: CPL 3, CR0.AM, EFLAGS.AC */
    KEY_FPEXC = 1u << 15, /* an SSE floating-point exception is unmasked in MXCSR */
    KEY_LMA = 1u << 16,
    KEY_CS_FLAT = 1u << 17,
    KEY_SMAP = 1u << 18, /* CR4.SMAP, and CPL below 3: EFLAGS.AC decides which TLB counts */
    KEY_AVX = 1u << 20,  /* CR4.OSXSAVE, and XCR0 enables SSE and AVX state */
    KEY_CS_LIMIT = 0xffu << KEY_CS_LIMIT_SHIFT, /* number of CS's limit when it is not flat: blocks
                                                 * end there (block_limit_number) */
};

struct seg {
    uint64_t base;
    uint32_t limit; /* bytes */
    uint16_t sel;
    uint8_t type, s, dpl, present, avl, l, db, g;
    bool unusable; /* null selector */
};

/* First-level TLB entry. Linear address + addend is the host's address of the same byte. Linear
 * address + rcheck or wcheck is the offset in the page where the page may be read or written, and
 * beyond any offset where it may not. So one comparison checks the page and that an access does not
 * cross its end, while the host's address is ready without waiting for it; host + that offset is
 * the same, for code that has no register left to keep the linear address in.
 *
 * What may not be accessed is by its entry in a page that does not exist: a non-canonical one
 * chosen at random (no_page), whose place in the host's memory is a page that nobody uses. So an
 * entry that was ever used is safe to try for any address, as translated code does
 * (xlat-gen-mem.c). One of zeroes was never used; it is right for the addresses of its set, of
 * which 0 is none.
 *
 * wcheck allows writing only to RAM that holds no decoded code, is not logged, and whose PTE is
 * dirty. */
struct tlbe {
    uint64_t rcheck, wcheck;
    uint64_t addend;
    uint64_t host; /* the host's address of the page */
};
#define TLB_BITS     12
#define LAST_ENTRIES 4096
#define TLB_COPIES   64
#define TLB_SIZE     (1u << TLB_BITS)
enum {
    TLB_USER,
    TLB_KERNEL,    /* SMAP in force, or off; implicit supervisor accesses of any CPL */
    TLB_KERNEL_AC, /* EFLAGS.AC with SMAP */
    TLB_ALIGN, /* always empty: while KEY_ALIGN every access takes the slow path, which checks */
    TLB_MODES
};

struct itlbe {     /* code pages; flushed with the TLB */
    uint64_t tag;  /* linear page address; 1 is invalid */
    uint64_t gpa;  /* of the page */
    uint8_t *host; /* NULL: not RAM */
    uint32_t mode; /* CPL==3, for U/S and SMEP */
    bool global;
};
#define ITLB_SIZE       256u

#define JUMP_CACHE_SIZE 16384u /* a Linux guest goes through thousands of places in one fork */
struct jump_entry {
    uint64_t rip;
    uint64_t key; /* c->key | (uint64_t)c->tlb_gen << 32 */
    struct block *block;
    const void *code; /* translated code of the block, or c->xl_miss */
};

union vec { /* one XMM register, or the upper half of a YMM register */
    uint8_t u8[16];
    uint16_t u16[8];
    uint32_t u32[4];
    uint64_t u64[2];
    int8_t s8[16];
    int16_t s16[8];
    int32_t s32[4];
    int64_t s64[2];
    float f32[4];
    double f64[2];
    unsigned __int128 u128;
} __attribute__((aligned(16)));

#define MCE_BANKS 10

/* What CPUID answered lately, when that depends on nothing but leaf and subleaf. */
struct cpuid_plain {
    uint64_t key; /* leaf, and subleaf << 32; of an unused entry i: a leaf of entry i ^ 1 */
    uint32_t eax, ebx, ecx, edx;
    uint64_t pad;
};
#define CPUID_PLAIN 16

static inline unsigned cpuid_plain_index(uint32_t leaf, uint32_t subleaf)
{
    return (leaf ^ subleaf) & (CPUID_PLAIN - 1);
}

struct x87 {
    struct {
        uint64_t mantissa;
        uint16_t exponent; /* sign in bit 15 */
    } st[8];               /* physical registers R0..R7; ST(i) is st[(top + i) & 7] */
    uint8_t top;
    uint8_t empty;            /* bit i: R_i is empty */
    uint16_t control, status; /* status without TOP */
    uint16_t opcode, cs, ds;
    uint64_t ip, dp;
};

/* What the software CPU needs from outside: nothing else is called. Tests and the instruction
 * oracle supply their own. Callbacks run on the vCPU's thread, without the machine lock (they take
 * it). */
struct soft_host {
    uint64_t (*mmio_read)(struct cpu *, gpa_t, unsigned size);
    void (*mmio_write)(struct cpu *, gpa_t, uint64_t value, unsigned size);
    uint32_t (*io_read)(struct cpu *, uint16_t port, unsigned size);
    void (*io_write)(struct cpu *, uint16_t port, uint32_t value, unsigned size);
    uint64_t (*tsc)(struct cpu *); /* before the guest's offset */
    /* RAM or ROM page at a page-aligned gpa: host pointer, block and offset; NULL when it is
     * neither. */
    uint8_t *(*ram_page)(struct cpu *, gpa_t, bool *writable, struct ram_block **,
                         uint64_t *offset);
};

/* Code tracking of one RAM page, in ram_block.accel_pages. Shared by all vCPUs. */
struct code_page {
    _Atomic uint64_t
        chunks; /* bit i: bytes 64*i..64*i+63 are part of a decoded block of some vCPU */
    _Atomic uint32_t fast_write; /* some vCPU may hold a write entry */
    _Atomic uint32_t
        data_writes; /* slow stores that hit no chunk: block.c gives the page up at times */
};

/* In front of struct cpu: the stack of translated code, which has a return address on it and what
 * the kernel puts there for a signal's handler. */
#define CPU_STACK_BYTES 65536u

struct cpu {
    /* Translated code reaches the first 128 bytes by short displacements. */
    uint16_t xl_flags;   /* parked flags: SF ZF AF PF CF as LAHF gives them, OF in bit 0 */
    uint8_t xl_raw;      /* xl_flags is what counts, not res and aux */
    uint8_t xl_novec;    /* xmm[] is right; else the host's registers are */
    uint64_t xl_scratch; /* of one instruction's code */
    uint64_t r[R_COUNT];
    uint64_t rip; /* valid outside blocks; inside use OP_RIP */
    uint64_t res; /* lazy flags: flags.h */
    uint32_t aux;
    uint32_t sysflags; /* RFLAGS without the arithmetic ones: bit 1 set; TF IF DF IOPL NT RF VM AC
                          VIF VIP ID */
    struct tlbe *tlb;  /* tlb_mode[...] of the present mode */
    uint32_t key;
    uint32_t tlb_gen;  /* stands for the address space's code pages: validates jump_cache */
    struct vcpu *vcpu; /* NULL in the oracle and unit tests */
    const struct soft_host *host;
    _Atomic uint32_t *req; /* &vcpu->req; without a vCPU &own_req, or a word of the test's */
    _Atomic uint32_t own_req;

    struct seg seg[SEG_COUNT];
    struct seg ldt, tr;
    struct {
        uint64_t base;
        uint16_t limit;
    } gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t a20_mask; /* of physical addresses: without bit 20 while the A20 gate is closed */
    uint64_t pdptr[4]; /* PAE paging: the page-directory pointers, loaded with CR3 */
    uint64_t dr[8];
    uint8_t cpl;
    bool seg_open[2]; /* FS and GS allow every offset (mode_update) */
    bool shadow;      /* STI or MOV SS: the next instruction runs before any interrupt */
    bool shadow_ss;   /* ... by MOV SS: holds NMI and debug traps too */
    bool nmi_masked;
    uint8_t nmi_pending; /* at most two: one to be taken, one latched behind it */
    bool halted;
    int inject;      /* vector of an event that a saved state has in delivery, -1 none */
    bool trap_armed; /* TF was set when the last instruction began: #DB after it */
    bool host_breaks, host_watches; /* the debugger has some: cpu/debug.h */
    bool host_step;                 /* it wants one instruction or event, ... */
    bool host_stepped;              /* ... which has begun */
    bool host_noirq;                /* no interrupts meanwhile */
    bool watch;                     /* DR7 enables a data or I/O breakpoint */
    uint32_t pending_db;            /* DR6 bits of data breakpoints met by the last instruction */
    uint64_t insn_count;            /* instructions executed (whole blocks counted at entry) */
    uint64_t insn_limit;            /* soft_execute stops there */

    struct x87 fpu;
    bool ferr; /* FERR# is asserted */
    union vec xmm[16];
    union vec ymm_hi[16]; /* upper halves of the YMM registers */
    uint64_t xcr0;
    uint32_t mxcsr;
    bool fp_entered; /* the host's MXCSR holds the guest's (fp_enter) */
    uint8_t
        host_vec; /* HOST_*: host instructions that handlers may use (fp-host.c); tests clear it */

    /* MSRs that are plain registers, and others: sys.c */
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, spec_ctrl, pkrs, pkru, tsc_adjust, tsc_offset, mtrr_def_type;
    uint64_t mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t mcg_status, mcg_ctl, feat_ctl;
    uint64_t mce_bank[MCE_BANKS][4]; /* CTL, STATUS, ADDR, MISC */
    uint64_t hv_crash[5];            /* P0 to P4 */
    uint64_t random[32];             /* numbers got in advance for RDRAND */
    unsigned random_left;
    struct cpuid_plain cpuid_plain[CPUID_PLAIN];
    struct clock_line *tsc_line; /* the TSC before tsc_offset is this clock's ns; NULL: it is not */
    bool alone; /* no other vCPU, nor another process, can see this one's writes half done */
    unsigned near_mem, near_io; /* where searches of the address spaces ended */
    struct lapic *lapic;        /* NULL in the oracle */
    const struct cpu_model *model;
    uint64_t features[2]; /* copy of model->features */

    /* An exception on its way (delivered by soft_run after the jump). */
    struct {
        int vector; /* -1: none */
        uint32_t error;
        bool has_error;
        bool soft; /* INT n, INT3, INTO: the saved RIP is that of the next instruction */
        uint64_t cr2;
        uint64_t rip; /* of the faulting instruction (next one if soft or trap) */
        uint64_t dr6; /* #DB payload */
    } fault;
    const struct op *access_op; /* the instruction of a slow memory or port access; NULL: at rip */
    enum run_exit exit; /* why soft_run returns, when a handler asked for it with c->leave */
    bool leave;
    void *jump[5]; /* __builtin_setjmp buffer of soft_run */

    struct itlbe itlb[ITLB_SIZE];
    uint8_t nowhere[GUEST_PAGE_SIZE] __attribute__((aligned(64))); /* where no_page would be */
    uint64_t no_page;
    struct tlbe tlb_mode[TLB_MODES][TLB_SIZE];
    struct mmu_l2 *l2; /* second-level TLB: mmu-priv.h */
    struct jump_entry jump_cache[JUMP_CACHE_SIZE];
    struct block_cache *blocks; /* block.c */

    /* The translator's (xlat.h). */
    struct xlat *xlat; /* NULL: everything is interpreted */
    struct cpu *self;
    const void *xl_miss;   /* code that looks for the block at `rip` */
    const void *xl_target; /* where a stub goes on */
    uint64_t xl_stack;     /* where the thread's own stack ended when it was entered */
    bool xl_running, xl_fell;
    /* Offsets in a table of tlb_mode[] of entries that lookups used last, in kernel and in user
     * code. Number 0: the stack's. Always of entries that were used in the modes that count. */
    uint32_t last_entry[2][LAST_ENTRIES];
    /* Copies of entries of tlb_mode[], for kernel and for user code, and which of them are not
     * empty (tlb.c). Number 0: of the stack's page. */
    struct tlbe copies[2][TLB_COPIES];
    uint64_t copies_used[2];

    /* Lockstep (xlat-lockstep.h): NULL and unused without. */
    struct lockstep *lockstep;
    uint64_t xl_budget; /* instructions that translated code may still execute */
    uint8_t *xl_note;   /* where the next store is noted */
    uint8_t xl_live;    /* arithmetic flags that count where it left (FL_*) */
    uint8_t side;       /* enum side: which one is running a step */
};

enum side { SIDE_NONE, SIDE_TRANSLATED, SIDE_INTERPRETED };

/* During a step: bytes that are about to be written; something that cannot be repeated is about to
 * be done by an instruction that has changed nothing (does not return then); a page walk has set
 * bits. */
#define NOTE_BYTES 32 /* an aligned piece of memory that is noted as a whole */
void lockstep_note(struct cpu *c, const void *host, size_t bytes);
void lockstep_outside(struct cpu *c);
void lockstep_tables_changed(struct cpu *c);

static inline bool cpu_has(const struct cpu *c, enum cpu_feature f)
{
    return f == F_ALWAYS || (c->features[f / 64] >> (f % 64) & 1);
}

static inline bool is_long64(const struct cpu *c)
{
    return c->key & KEY_LONG64;
}

/* RIP truncated to what the code segment's size allows. */
static inline uint64_t rip_wrap(const struct cpu *c, uint64_t rip)
{
    return c->key & KEY_LONG64 ? rip : c->key & KEY_CS_D ? (uint32_t)rip : (uint16_t)rip;
}

/* Whole-register access for handlers that are not specialised by size. n is a register number; for
 * size 1 without REX 4..7 mean AH..BH. A 32-bit write clears the upper half. */
uint64_t reg_get(const struct cpu *c, const struct op *o, unsigned n, unsigned size);
void reg_set(struct cpu *c, const struct op *o, unsigned n, unsigned size, uint64_t value);
/* The rm operand: register o->src or memory. */
uint64_t rm_get(struct cpu *c, const struct op *o, unsigned size);
void rm_set(struct cpu *c, const struct op *o, unsigned size, uint64_t value);

/* Recomputes c->key and c->tlb after any change of mode, segments, CR0/CR4/EFER,
 * EFLAGS.TF/AC/VM, DR7, MXCSR masks. The op that calls it must end its block. (state.c) */
void mode_update(struct cpu *c);

/* After EFLAGS.IF, TPR or NMI masking was relaxed: makes a pending interrupt a request (INTR), so
 * that the end of the block sees it. */
void intr_recheck(struct cpu *c);

/* Flags: RFLAGS image from lazy form, and back. flags.h has the inline parts. */
uint64_t rflags_get(const struct cpu *c);
void rflags_set(struct cpu *c,
                uint64_t rflags); /* all bits as given, bit 1 forced; no mode_update */

/* ---------------------------------------------------------------- memory (mmu.c) */

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* Linear address of the op's memory operand. size and write matter only with MF_SEGCHK (limit,
 * type). */
uint64_t ea_slow(struct cpu *c, const struct op *o, uint64_t offset, unsigned size, bool write);

static inline uint64_t ea_offset(const struct cpu *c, const struct op *o)
{
    uint64_t a = c->r[o->base] + (c->r[o->index] << o->scale) + (int64_t)o->disp;
    return unlikely(o->mflags & (MF_ADDR32 | MF_ADDR16))
               ? (o->mflags & MF_ADDR32 ? (uint32_t)a : (uint16_t)a)
               : a;
}

static inline uint64_t ea(struct cpu *c, const struct op *o, unsigned size, bool write)
{
    uint64_t a = c->r[o->base] + (c->r[o->index] << o->scale) + (int64_t)o->disp;
    if (unlikely(o->mflags & ~MF_STACK)) {
        return likely((o->mflags & ~MF_STACK) == MF_SEG64) ? a + c->seg[o->seg].base
                                                           : ea_slow(c, o, a, size, write);
    }
    return a;
}

/* Any size 1..16; faults, MMIO, page crossing, code pages. The value is little-endian in *buf. */
void mem_read_slow(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size);
void mem_write_slow(struct cpu *c, const struct op *o, uint64_t lin, const void *buf,
                    unsigned size);
/* Host pointer for a read-modify-write of size bytes that lie in one plain RAM page, having checked
 * write access; NULL: not plain RAM, crossing, or holding code (use the slow pair inside
 * vcpu_exclusive when LOCKed). Faults do not return. */
void *mem_rmw_slow(struct cpu *c, const struct op *o, uint64_t lin, unsigned size);
/* Checks that all of [lin, lin+size) could be written (or read), raising the fault otherwise. */
void mem_probe(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how);

/* What guest memory is read and written as: one access, at any alignment. */
typedef volatile uint8_t guest8;
typedef volatile uint16_t guest16 __attribute__((aligned(1)));
typedef volatile uint32_t guest32 __attribute__((aligned(1)));
typedef volatile uint64_t guest64 __attribute__((aligned(1)));

/* Where the host has [lin, lin + size), if the entry is of that page and lets it be read or
 * written; else NULL. */
static inline uint8_t *tlb_host_read(const struct tlbe *e, uint64_t lin, unsigned size)
{
    uint64_t host = lin + e->addend;
    return likely(lin + e->rcheck <= GUEST_PAGE_SIZE - size) ? (uint8_t *)host : NULL;
}

static inline uint8_t *tlb_host_write(const struct tlbe *e, uint64_t lin, unsigned size)
{
    uint64_t host = lin + e->addend;
    return likely(lin + e->wcheck <= GUEST_PAGE_SIZE - size) ? (uint8_t *)host : NULL;
}

static inline struct tlbe *tlb_entry(struct cpu *c, uint64_t lin)
{
    return &c->tlb[(lin >> GUEST_PAGE_BITS) & (TLB_SIZE - 1)];
}

static inline const uint8_t *mem_fast_read(struct cpu *c, uint64_t lin, unsigned size)
{
    return tlb_host_read(tlb_entry(c, lin), lin, size);
}

static inline uint8_t *mem_fast_write(struct cpu *c, uint64_t lin, unsigned size)
{
    return tlb_host_write(tlb_entry(c, lin), lin, size);
}

/* The slow pair by value, out of line: handlers that take no address of a local stay tail-callable.
 */
uint64_t mem_load_slow(struct cpu *c, const struct op *o, uint64_t lin, unsigned size);
void mem_store_slow(struct cpu *c, const struct op *o, uint64_t lin, uint64_t value, unsigned size);

#define MEM_ACCESSORS(bits)                                                                        \
    static inline uint##bits##_t mem_ld##bits(struct cpu *c, const struct op *o, uint64_t lin)     \
    {                                                                                              \
        const uint8_t *p = mem_fast_read(c, lin, bits / 8);                                        \
        if (likely(p != NULL)) {                                                                   \
            return *(const guest##bits *)p;                                                        \
        }                                                                                          \
        return mem_load_slow(c, o, lin, bits / 8);                                                 \
    }                                                                                              \
    static inline void mem_st##bits(struct cpu *c, const struct op *o, uint64_t lin,               \
                                    uint##bits##_t v)                                              \
    {                                                                                              \
        uint8_t *p = mem_fast_write(c, lin, bits / 8);                                             \
        if (likely(p != NULL)) {                                                                   \
            *(guest##bits *)p = v;                                                                 \
            return;                                                                                \
        }                                                                                          \
        mem_store_slow(c, o, lin, v, bits / 8);                                                    \
    }                                                                                              \
    static inline uint##bits##_t *mem_rmw##bits(struct cpu *c, const struct op *o, uint64_t lin)   \
    {                                                                                              \
        uint8_t *p = mem_fast_write(c, lin, bits / 8);                                             \
        return likely(p != NULL) ? (uint##bits##_t *)p : mem_rmw_slow(c, o, lin, bits / 8);        \
    }
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)

/* Accesses that the CPU itself makes with supervisor rights whatever CPL is: descriptor tables,
 * TSS, stacks of a more privileged level (lin is linear). o may be NULL during delivery. */
uint64_t sys_read(struct cpu *c, const struct op *o, uint64_t lin, unsigned size);
void sys_write(struct cpu *c, const struct op *o, uint64_t lin, uint64_t value, unsigned size);

/* IN, OUT, INS, OUTS: #GP(0) unless IOPL or the TSS's bitmap allows the port; then the access
 * itself, with its I/O breakpoints. io_check alone for INS and OUTS before they touch memory. */
void io_check(struct cpu *c, const struct op *o, uint16_t port, unsigned size);
uint32_t io_read(struct cpu *c, const struct op *o, uint16_t port, unsigned size);
void io_write(struct cpu *c, const struct op *o, uint16_t port, uint32_t value, unsigned size);

/* Code bytes: the page that holds linear address lin. Raises the fetch fault. *host is NULL when
 * the page is not RAM or ROM (all such bytes read as 0xff). The gpa is page-aligned. */
struct itlbe *code_page_lookup(struct cpu *c, uint64_t lin);

void tlb_flush_all(struct cpu *c);                /* everything, global pages too */
void tlb_flush_nonglobal(struct cpu *c);          /* CR3 write without PCIDs */
void tlb_flush_page(struct cpu *c, uint64_t lin); /* INVLPG */
/* No fast write entries of this host page any more (it now holds code, or is logged). Own vCPU, or
 * inside an exclusive section. */
void tlb_drop_write(struct cpu *c, const uint8_t *host_page);
/* The same for all pages: writes are to be noted anew (memory/dirty.h). */
void tlb_drop_writes(struct cpu *c);

/* Translation without side effects, for the debugger and monitor. */
bool mmu_translate_debug(struct cpu *c, uint64_t lin, gpa_t *gpa);

/* The memory map changed: host pointers are stale. Own vCPU, or while this one is parked. */
void mmu_map_changed(struct cpu *c);
/* The A20 gate may have been opened or closed (vcpu->a20_off). */
void mmu_a20_changed(struct cpu *c);

bool mmu_init(struct cpu *c);
void mmu_finish(struct cpu *c);

/* ---------------------------------------------------------------- code (block.c, decode.c, run.c)
 */

#define NO_GPA (~(gpa_t)0)

struct block {
    uint64_t rip;
    gpa_t gpa;  /* of the first byte */
    gpa_t gpa2; /* of the second page when the (only) instruction straddles, else NO_GPA */
    const uint8_t
        *host; /* RAM or ROM of the first byte; NULL: neither (such a block is not kept) */
    const uint8_t *host2; /* of the second page */
    uint32_t key;
    uint16_t n_ops; /* all, op[0] (the head) and the filler included */
    uint16_t bytes;
    struct block *hash_next;
    struct block *page_next[2]; /* a straddling block belongs to two pages */
    uint32_t n_insns;
    bool dead;
    struct unit *unit; /* its translation, or NULL */
    const void *code;  /* of the unit, or c->xl_miss */
    struct op op[];
};

/* A decoded instruction, before its handler is bound; decode.c fills one op. */
enum decode_status { DECODE_OK, DECODE_NEED_MORE /* the instruction goes past the bytes given */ };

/* Decodes one instruction from n bytes (1..15). An undefined or forbidden one decodes to an op that
 * raises #UD/#GP/#NM; one that CPUID offers but that is not implemented to an op that stops the
 * machine with internal-error. ends_block is set for control transfers and mode changers. */
enum decode_status decode(const struct cpu *c, const uint8_t *bytes, unsigned n, struct op *op,
                          bool *ends_block);

bool blocks_init(struct cpu *c);
void jump_cache_clear(struct cpu *c);
/* Sets c->tlb_gen for the present address space and CPL. */
void jump_gen_select(struct cpu *c);
/* Code at lin in the present address space is entered in the jump cache. */
void jump_page_entered(struct cpu *c, uint64_t lin);
void blocks_finish(struct cpu *c);
/* The block at c->rip in the present mode, decoded if need be. May raise the fetch fault. */
struct block *block_find(struct cpu *c);
/* All blocks of this vCPU dropped. */
void blocks_flush(struct cpu *c);
/* A number from 1 to 255 for a code segment's limit: blocks decoded under one limit are not right
 * under another. A guest that uses more of them has its blocks flushed now and then. */
unsigned block_limit_number(struct cpu *c, uint32_t limit);
/* For a machine's reset: the same, and gives their memory back. Parked only. */
void blocks_reset(struct cpu *c);
/* Guest code in [gpa, gpa+len) was overwritten: drops the blocks of this vCPU that overlap. */
void blocks_invalidate(struct cpu *c, gpa_t gpa, uint64_t len);
/* Called by the MMU right after a store into a page that holds code (its first byte at `offset` of
 * ram): drops the blocks that overlap, here at once and on other vCPUs before their next block. A
 * dead block's ops are overwritten with one that leaves to soft_run at its own RIP, so a block that
 * hit itself stops by itself after the storing instruction; its memory is freed only when no block
 * runs. Does nothing (cheaply) when the bytes hold no code. May cross pages of the same ram block.
 */
void code_written(struct cpu *c, struct ram_block *ram, uint64_t offset, gpa_t gpa, uint64_t len);
/* The same for writers that are no vCPU of this kind: DMA, loader, debugger. Any thread. */
void soft_ram_written(struct cpus *cpus, struct ram_block *ram, uint64_t offset, gpa_t gpa,
                      uint64_t len);
/* For the MMU: notes that some vCPU is about to hold a fast write entry for the page at `offset`.
 * false: the page holds code, the entry must not be made. */
bool code_page_allow_write(struct ram_block *ram, uint64_t offset);
/* Drains what other threads queued with code_written and soft_ram_written; clears VCPU_REQ_CODE.
 * soft_run does it; also after an exclusive section. */
void blocks_drain(struct cpu *c);

/* For branch handlers: go on at rip (already wrapped), same mode: finds the block without leaving
 * when it is cached and nothing is requested. Use as: return branch_to(c, o, rip); */
op_ret branch_to(struct cpu *c, const struct op *o, uint64_t rip);
/* After an op that changed mode, interrupts or translation: sets c->rip to the next instruction and
 * leaves to soft_run, which looks at requests, shadow, traps. */
#define END_BLOCK                                                                                  \
    do {                                                                                           \
        c->rip = OP_NEXT_RIP(c, o);                                                                \
        LEAVE;                                                                                     \
    } while (0)

enum run_exit soft_run(struct vcpu *vcpu);
/* The same without a vCPU thread: runs until c->leave or a request; for tests. max_insns 0: no
 * limit. */
enum run_exit soft_execute(struct cpu *c, uint64_t max_insns);

/* ---------------------------------------------------------------- exceptions (excp.c) */

enum {
    EXC_DE,
    EXC_DB,
    EXC_NMI,
    EXC_BP,
    EXC_OF,
    EXC_BR,
    EXC_UD,
    EXC_NM,
    EXC_DF,
    EXC_TS = 10,
    EXC_NP,
    EXC_SS,
    EXC_GP,
    EXC_PF,
    EXC_MF = 16,
    EXC_AC,
    EXC_MC,
    EXC_XM
};

/* None of these returns; registers must be as before the instruction. o NULL: c->rip is the place.
 */
G_GNUC_NORETURN void raise_fault(struct cpu *c, const struct op *o, int vector); /* no code */
G_GNUC_NORETURN void raise_error(struct cpu *c, const struct op *o, int vector, uint32_t error);
G_GNUC_NORETURN void raise_page_fault(struct cpu *c, const struct op *o, uint64_t cr2,
                                      uint32_t error);
/* The CPU cannot go on honestly: stops the machine with internal-error, text says why. (run.c) */
G_GNUC_NORETURN void raise_internal(struct cpu *c, const struct op *o, const char *why);

/* Delivers c->fault (nested faults, double fault inside). Returns false on a triple fault. */
bool exception_deliver(struct cpu *c);
/* soft_run's order at each boundary: leave if asked; soft_events() when c->req is not 0 or KEY_STEP
 * is set; block_find(); run. At a boundary (c->rip set): requests, INIT, NMI, interrupts, traps in
 * priority order. Returns true when soft_run should return *exit. Delivers at most one event.
 * Called by soft_run before each block when something is pending: request word, shadow, TF. */
bool soft_events(struct cpu *c, enum run_exit *exit);

/* ---------------------------------------------------------------- x86 room helpers */

/* MXCSR of the guest (all masked) in and out of the host's register around guest execution. host
 * callbacks and anything that may use the host's floating point run between leave and enter. */
void fp_enter(struct cpu *c);
void fp_leave(struct cpu *c);
void fp_reset(struct cpu *c); /* FNINIT and MXCSR as at power-on */
/* FXSAVE image (512 bytes), used by FXSAVE/FXRSTOR, XSAVE and state get/set. load ignores reserved
 * fields, and takes MXCSR as it is (the caller has checked reserved bits). */
void fxsave_store(const struct cpu *c, uint8_t image[512], bool rex_w);
void fxsave_load(struct cpu *c, const uint8_t image[512], bool rex_w);
void fxsave_load_x87(struct cpu *c, const uint8_t image[512], bool rex_w); /* the x87 part of it */

/* The standard XSAVE image of all components that the model has, for state get and set. Components
 * that XSTATE_BV says are in their initial state become so. (xsave.c) */
#define XSAVE_BYTES 2696
/* Bytes of an area with what XCR0 enables. */
uint32_t xsave_enabled_bytes(const struct cpu *c, bool compacted);
void xsave_store(const struct cpu *c, uint8_t image[XSAVE_BYTES]);
void xsave_load(struct cpu *c, const uint8_t image[XSAVE_BYTES]);
/* May XCR0 have this value? */
bool xcr0_valid(const struct cpu *c, uint64_t value);

void cpu_reset(struct cpu *c, bool init); /* init: INIT, else power-on */

/* A struct cpu for tests and the oracle: no vCPU, no LAPIC; host supplies memory. NULL: no memory.
 */
struct cpu *soft_cpu_new(const struct cpu_model *model, const struct soft_host *host,
                         struct vcpu *vcpu);
void soft_cpu_free(struct cpu *c);

#endif
