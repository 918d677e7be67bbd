/* See dump-notes.h. */
#include "cpu/x86/dump-notes.h"

#include <elf.h>
#include <string.h>

#define MSR_KERNEL_GS_BASE 0xc0000102u

/* struct elf_prstatus of x86-64, 336 bytes: what a dump fills in. */
struct prstatus64 {
    uint8_t signal_info[32];
    uint32_t pid;
    uint8_t times[76];
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
    uint64_t rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, rflags, rsp, ss;
    uint64_t fs_base, gs_base, ds, es, fs, gs;
    uint8_t fpvalid[8];
};
G_STATIC_ASSERT(sizeof(struct prstatus64) == 336);

/* The same of i386, 144 bytes. */
struct prstatus32 {
    uint8_t signal_info[24];
    uint32_t pid;
    uint8_t times[44];
    uint32_t ebx, ecx, edx, esi, edi, ebp, eax, ds, es, fs, gs, orig_eax, eip, cs, eflags, esp, ss;
    uint32_t fpvalid;
};
G_STATIC_ASSERT(sizeof(struct prstatus32) == 144);

struct system_segment {
    uint32_t selector, limit;
    uint32_t flags; /* the descriptor's second half, without its part of the base */
    uint32_t pad;
    uint64_t base;
};

struct system_state {
    uint32_t version, size;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    struct system_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
    uint64_t cr[5];
    uint64_t kernel_gs_base;
};
G_STATIC_ASSERT(sizeof(struct system_state) == 440);

bool dump_state_is_long(const struct cpu_state *st)
{
    return st->sregs.efer & EFER_LMA;
}

void dump_note_append(GByteArray *out, const char *name, uint32_t type, const void *desc,
                      uint32_t length)
{
    static const uint8_t zero[4];
    const Elf64_Nhdr head = {
        .n_namesz = (Elf64_Word)strlen(name) + 1, .n_descsz = length, .n_type = type};

    g_byte_array_append(out, (const uint8_t *)&head, sizeof(head));
    g_byte_array_append(out, (const uint8_t *)name, head.n_namesz);
    g_byte_array_append(out, zero, -head.n_namesz & 3);
    g_byte_array_append(out, desc, length);
    g_byte_array_append(out, zero, -length & 3);
}

static void prstatus64(GByteArray *out, const struct cpu_state *st, uint32_t pid)
{
    const struct x_regs *r = &st->regs;
    const struct x_sregs *s = &st->sregs;
    const struct prstatus64 status = {
        .pid = pid,
        .r15 = r->r15,
        .r14 = r->r14,
        .r13 = r->r13,
        .r12 = r->r12,
        .rbp = r->rbp,
        .rbx = r->rbx,
        .r11 = r->r11,
        .r10 = r->r10,
        .r9 = r->r9,
        .r8 = r->r8,
        .rax = r->rax,
        .rcx = r->rcx,
        .rdx = r->rdx,
        .rsi = r->rsi,
        .rdi = r->rdi,
        .rip = r->rip,
        .cs = s->cs.selector,
        .rflags = r->rflags,
        .rsp = r->rsp,
        .ss = s->ss.selector,
        .fs_base = s->fs.base,
        .gs_base = s->gs.base,
        .ds = s->ds.selector,
        .es = s->es.selector,
        .fs = s->fs.selector,
        .gs = s->gs.selector,
    };

    dump_note_append(out, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static void prstatus32(GByteArray *out, const struct cpu_state *st, uint32_t pid)
{
    const struct x_regs *r = &st->regs;
    const struct x_sregs *s = &st->sregs;
    const struct prstatus32 status = {
        .pid = pid,
        .ebx = (uint32_t)r->rbx,
        .ecx = (uint32_t)r->rcx,
        .edx = (uint32_t)r->rdx,
        .esi = (uint32_t)r->rsi,
        .edi = (uint32_t)r->rdi,
        .ebp = (uint32_t)r->rbp,
        .eax = (uint32_t)r->rax,
        .ds = s->ds.selector,
        .es = s->es.selector,
        .fs = s->fs.selector,
        .gs = s->gs.selector,
        .eip = (uint32_t)r->rip,
        .cs = s->cs.selector,
        .eflags = (uint32_t)r->rflags,
        .esp = (uint32_t)r->rsp,
        .ss = s->ss.selector,
    };

    dump_note_append(out, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

void dump_note_prstatus(GByteArray *out, const struct cpu_state *st, uint32_t pid, bool wide)
{
    if (wide) {
        prstatus64(out, st, pid);
    } else {
        prstatus32(out, st, pid);
    }
}

/* Bits of a descriptor's second half (Intel SDM vol. 3, 3.4.5). */
static uint32_t segment_flags(const struct x_seg *seg)
{
    uint32_t limit = seg->g ? seg->limit >> 12 : seg->limit;

    return (limit & 0xf0000) | (uint32_t)seg->type << 8 | (uint32_t)seg->s << 12 |
           (uint32_t)seg->dpl << 13 | (uint32_t)seg->present << 15 | (uint32_t)seg->avl << 20 |
           (uint32_t)seg->l << 21 | (uint32_t)seg->db << 22 | (uint32_t)seg->g << 23;
}

static struct system_segment segment(const struct x_seg *seg)
{
    return (struct system_segment){
        .selector = seg->selector,
        .limit = seg->limit,
        .flags = segment_flags(seg),
        .base = seg->base,
    };
}

static struct system_segment table(const struct x_dtable *dt)
{
    return (struct system_segment){.limit = dt->limit, .base = dt->base};
}

static uint64_t kernel_gs_base(const struct cpu_state *st)
{
    for (uint32_t i = 0; i < st->n_msrs; i++) {
        if (st->msr[i].index == MSR_KERNEL_GS_BASE) {
            return st->msr[i].data;
        }
    }
    return 0;
}

void dump_note_system(GByteArray *out, const struct cpu_state *st)
{
    const struct x_regs *r = &st->regs;
    const struct x_sregs *s = &st->sregs;
    const struct system_state state = {
        .version = 1,
        .size = sizeof(state),
        .rax = r->rax,
        .rbx = r->rbx,
        .rcx = r->rcx,
        .rdx = r->rdx,
        .rsi = r->rsi,
        .rdi = r->rdi,
        .rsp = r->rsp,
        .rbp = r->rbp,
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .rip = r->rip,
        .rflags = r->rflags,
        .cs = segment(&s->cs),
        .ds = segment(&s->ds),
        .es = segment(&s->es),
        .fs = segment(&s->fs),
        .gs = segment(&s->gs),
        .ss = segment(&s->ss),
        .ldt = segment(&s->ldt),
        .tr = segment(&s->tr),
        .gdt = table(&s->gdt),
        .idt = table(&s->idt),
        .cr = {s->cr0, 0, s->cr2, s->cr3, s->cr4},
        .kernel_gs_base = kernel_gs_base(st),
    };

    dump_note_append(out, "QEMU", 0, &state, sizeof(state));
}
