/*
 * Memory accesses of the software CPU that are no hit of the TLB's first level: what a page is,
 * data breakpoints, devices, pages that hold code, accesses that cross pages, segments with limits.
 *
 * Page-table pages and translated pages are found through a small cache of host pointers (`refs`).
 */
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/mmu-priv.h"
#include "memory/dirty.h"

/* ---------------------------------------------------------------- host pages */

const struct page_ref *page_ref_get(struct cpu *c, uint64_t gpa)
{
    struct page_ref *ref = &c->l2->refs[(gpa >> GUEST_PAGE_BITS) & (REFS - 1)];
    if (likely(ref->gpa == gpa)) {
        return ref;
    }
    ref->ram = NULL;
    ref->offset = 0;
    ref->writable = false;
    ref->host = c->host != NULL && c->host->ram_page != NULL
                    ? c->host->ram_page(c, gpa, &ref->writable, &ref->ram, &ref->offset)
                    : NULL;
    ref->gpa = gpa;
    return ref;
}

void mmu_note_dirty(const struct page_ref *ref)
{
    if (ref->ram != NULL && ref->writable) {
        dirty_mark(ref->ram, ref->offset, GUEST_PAGE_SIZE);
    }
}

static void refs_flush(struct cpu *c)
{
    for (unsigned i = 0; i < REFS; i++) {
        c->l2->refs[i].gpa = NO_PAGE;
    }
}

void mmu_map_changed(struct cpu *c)
{
    refs_flush(c);
    tlb_flush_all(c);
}

void mmu_a20_changed(struct cpu *c)
{
    uint64_t mask = c->vcpu != NULL && atomic_load(&c->vcpu->a20_off) ? ~(1ull << 20) : UINT64_MAX;
    if (mask != c->a20_mask) {
        c->a20_mask = mask;
        mmu_map_changed(c);
        blocks_flush(c);
    }
}

bool mmu_init(struct cpu *c)
{
    c->a20_mask = UINT64_MAX;
    c->l2 = g_try_new0(struct mmu_l2, 1);
    if (c->l2 == NULL || !l1_init(c)) {
        return false;
    }
    refs_flush(c);
    c->tlb = c->tlb_mode[TLB_KERNEL];
    return true;
}

void mmu_finish(struct cpu *c)
{
    g_clear_pointer(&c->l2, g_free);
}

/* ---------------------------------------------------------------- breakpoints on data */

static unsigned dr7_len(uint64_t dr7, unsigned n)
{
    static const uint8_t len[4] = {1, 2, 8, 4};
    return len[dr7 >> (18 + 4 * n) & 3];
}

static unsigned dr7_kind(uint64_t dr7, unsigned n)
{
    return dr7 >> (16 + 4 * n) & 3;
}

/* DR6 bits of the enabled data breakpoints that overlap the access. */
static uint32_t watch_match(const struct cpu *c, uint64_t lin, uint64_t size, bool write)
{
    uint32_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = dr7_kind(c->dr[7], n);
        if (!(c->dr[7] >> (2 * n) & 3) || !(kind == 3 || (kind == 1 && write))) {
            continue;
        }
        uint64_t len = dr7_len(c->dr[7], n);
        uint64_t start = c->dr[n] & ~(len - 1);
        if (lin < start + len && start < lin + size) {
            hit |= 1u << n;
        }
    }
    return hit;
}

static bool host_watches_page(const struct cpu *c, uint64_t page)
{
    const struct cpus *cpus = c->vcpu->cpus;
    return debug_watch_match(cpus, page, GUEST_PAGE_SIZE, true) != NULL ||
           debug_watch_match(cpus, page, GUEST_PAGE_SIZE, false) != NULL;
}

/* The debugger's watchpoints: the instruction is finished, then the vCPU stops. All decoded code is
 * dropped so that the block does not go on. */
static void host_watch_access(struct cpu *c, uint64_t lin, unsigned size, bool write)
{
    const struct debug_point *p = debug_watch_match(c->vcpu->cpus, lin, size, write);
    if (p != NULL && c->vcpu->hit.kind == DEBUG_NONE) {
        c->vcpu->hit = (struct debug_hit){p->kind, MAX(lin, p->addr)};
        atomic_fetch_or(c->req, VCPU_REQ_DEBUG);
        blocks_flush(c);
    }
}

void watch_access(struct cpu *c, uint64_t lin, unsigned size, bool write)
{
    if (unlikely(c->host_watches)) {
        host_watch_access(c, lin, size, write);
    }
    if (unlikely(c->watch)) {
        c->pending_db |= watch_match(c, lin, size, write);
    }
}

/* ---------------------------------------------------------------- first level */

static void l1_fill(struct cpu *c, uint64_t lin, const struct xlate *x, enum access how,
                    unsigned mode)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    if (x->ref->host == NULL || how == ACCESS_FETCH ||
        (c->lapic != NULL && lapic_claims(c->lapic, x->gpa)) ||
        (c->watch && watch_match(c, page, GUEST_PAGE_SIZE, true) != 0) ||
        (c->host_watches && host_watches_page(c, page))) {
        return;
    }
    l1_enter(c, lin, x,
             how == ACCESS_WRITE && x->ref->writable &&
                 (x->ref->ram == NULL || code_page_allow_write(x->ref->ram, x->ref->offset)),
             mode);
}

/* As translate_try(), or raises the fault. */
static void translate(struct cpu *c, const struct op *o, uint64_t lin, enum access how,
                      unsigned mode, struct xlate *x)
{
    uint32_t error;
    if (!translate_try(c, lin, how, mode, x, &error)) {
        raise_page_fault(c, o, lin, error);
    }
    x->ref = page_ref_get(c, x->gpa);
    if (how == ACCESS_WRITE) {
        mmu_note_dirty(x->ref);
    }
    l1_fill(c, lin, x, how, mode);
}

struct itlbe *code_page_lookup(struct cpu *c, uint64_t lin)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    struct itlbe *e = &c->itlb[(lin >> GUEST_PAGE_BITS) & (ITLB_SIZE - 1)];
    uint32_t user = c->cpl == 3;
    if (likely(e->tag == page && e->mode == user)) {
        return e;
    }
    if (unlikely(!is_canonical(lin))) {
        raise_error(c, NULL, EXC_GP, 0);
    }
    struct xlate x;
    uint32_t error;
    if (!translate_try(c, lin, ACCESS_FETCH, user ? TLB_USER : TLB_KERNEL, &x, &error)) {
        raise_page_fault(c, NULL, lin, error);
    }
    x.ref = page_ref_get(c, x.gpa);
    e->tag = page;
    e->mode = user;
    e->gpa = x.gpa;
    e->host = x.ref->host;
    e->global = x.rights & XL_GLOBAL;
    if (!e->global) {
        unsigned at = e - c->itlb;
        c->l2->itlb_local[at / 64] |= 1ull << (at % 64);
    }
    return e;
}

/* ---------------------------------------------------------------- pieces within one page */

static uint64_t device_read(struct cpu *c, uint64_t gpa, unsigned size)
{
    if (unlikely(c->side)) {
        lockstep_outside(c);
    }
    if (c->lapic != NULL && lapic_claims(c->lapic, gpa & GUEST_PAGE_MASK)) {
        return lapic_read(c->lapic, gpa & ~GUEST_PAGE_MASK);
    }
    if (c->host == NULL || c->host->mmio_read == NULL) {
        return UINT64_MAX;
    }
    return c->host->mmio_read(c, gpa, size);
}

static void device_write(struct cpu *c, uint64_t gpa, uint64_t value, unsigned size)
{
    if (unlikely(c->side)) {
        lockstep_outside(c);
    }
    if (c->lapic != NULL && lapic_claims(c->lapic, gpa & GUEST_PAGE_MASK)) {
        lapic_write(c->lapic, gpa & ~GUEST_PAGE_MASK, value);
    } else if (c->host != NULL && c->host->mmio_write != NULL) {
        c->host->mmio_write(c, gpa, value, size);
    }
}

/* The largest power of two, at most 8, that fits. */
static unsigned device_size(unsigned left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static void copy_sized(void *to, const void *from, unsigned size)
{
    switch (size) { /* one host access each: as atomic as the hardware's */
    case 1:
        *(guest8 *)to = *(const guest8 *)from;
        break;
    case 2:
        *(guest16 *)to = *(const guest16 *)from;
        break;
    case 4:
        *(guest32 *)to = *(const guest32 *)from;
        break;
    case 8:
        *(guest64 *)to = *(const guest64 *)from;
        break;
    default:
        memcpy(to, from, size);
        break;
    }
}

static void note_write(struct cpu *c, const void *host, unsigned size)
{
    if (unlikely(c->side)) {
        lockstep_note(c, host, size);
    }
}

static bool is_device(const struct cpu *c, const struct xlate *x)
{
    return x->ref->host == NULL || (c->lapic != NULL && lapic_claims(c->lapic, x->gpa));
}

static void piece_read(struct cpu *c, const struct xlate *x, unsigned offset, uint8_t *buf,
                       unsigned size)
{
    if (likely(!is_device(c, x))) {
        copy_sized(buf, x->ref->host + offset, size);
        return;
    }
    uint64_t gpa = x->gpa + offset;
    while (size > 0) {
        unsigned n = device_size(size);
        uint64_t value = device_read(c, gpa, n);
        memcpy(buf, &value, n);
        buf += n;
        gpa += n;
        size -= n;
    }
}

static void piece_write(struct cpu *c, const struct xlate *x, unsigned offset, const uint8_t *buf,
                        unsigned size)
{
    if (likely(!is_device(c, x) && x->ref->writable)) {
        struct page_ref ref = *x->ref; /* code_written() may let the map change */
        note_write(c, ref.host + offset, size);
        copy_sized(ref.host + offset, buf, size);
        if (ref.ram != NULL) {
            code_written(c, ref.ram, ref.offset + offset, x->gpa + offset, size);
        }
        return;
    }
    uint64_t gpa = x->gpa + offset;
    while (size > 0) { /* ROM too: it may be flash memory */
        unsigned n = device_size(size);
        uint64_t value = 0;
        memcpy(&value, buf, n);
        device_write(c, gpa, value, n);
        buf += n;
        gpa += n;
        size -= n;
    }
}

/* ---------------------------------------------------------------- accesses */

/* #GP(0) or #SS(0) unless both ends are canonical; #AC. Returns the bytes in the first page. */
static unsigned access_check(struct cpu *c, const struct op *o, uint64_t lin, unsigned size,
                             unsigned mode)
{
    if (unlikely(!is_canonical(lin) || !is_canonical(lin + size - 1))) {
        if (c->efer & EFER_LMA) {
            raise_error(c, o, o != NULL && (o->mflags & MF_STACK) ? EXC_SS : EXC_GP, 0);
        }
    }
    if (unlikely(c->key & KEY_ALIGN) && mode == TLB_USER) {
        unsigned align = size == 10 ? 8 : size;
        if (align <= 8 && (lin & (align - 1)) != 0) {
            raise_error(c, o, EXC_AC, 0);
        }
    }
    return MIN(size, GUEST_PAGE_SIZE - (unsigned)(lin & ~GUEST_PAGE_MASK));
}

/* The address after the first page's last byte; it wraps at 4 GiB outside 64-bit mode. */
static uint64_t next_page(const struct cpu *c, uint64_t lin)
{
    uint64_t next = (lin & GUEST_PAGE_MASK) + GUEST_PAGE_SIZE;
    return is_long64(c) ? next : (uint32_t)next;
}

/* A hit in the first level of a mode that need not be the present one. */
static const struct tlbe *l1_entry(const struct cpu *c, uint64_t lin, unsigned mode)
{
    return &c->tlb_mode[mode][(lin >> GUEST_PAGE_BITS) & (TLB_SIZE - 1)];
}

static bool l1_usable(const struct cpu *c, unsigned mode)
{
    return mode != TLB_USER || likely(!(c->key & KEY_ALIGN));
}

void mem_read_as(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size,
                 unsigned mode)
{
    const uint8_t *host = tlb_host_read(l1_entry(c, lin, mode), lin, size);
    if (likely(host != NULL) && l1_usable(c, mode)) {
        copy_sized(buf, host, size);
        return;
    }
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x, y;
    c->access_op = o;
    translate(c, o, lin, ACCESS_READ, mode, &x);
    if (unlikely(first < size)) {
        struct page_ref x_ref = *x.ref; /* the second page may take the slot */
        translate(c, o, next_page(c, lin), ACCESS_READ, mode, &y);
        struct page_ref y_ref = *y.ref;
        x.ref = &x_ref;
        y.ref = &y_ref;
        piece_read(c, &x, lin & ~GUEST_PAGE_MASK, buf, first);
        piece_read(c, &y, 0, (uint8_t *)buf + first, size - first);
    } else {
        piece_read(c, &x, lin & ~GUEST_PAGE_MASK, buf, size);
    }
    watch_access(c, lin, size, false);
}

void mem_write_as(struct cpu *c, const struct op *o, uint64_t lin, const void *buf, unsigned size,
                  unsigned mode)
{
    const struct tlbe *e = l1_entry(c, lin, mode);
    uint8_t *host = tlb_host_write(e, lin, size);
    if (likely(host != NULL) && l1_usable(c, mode)) {
        note_write(c, host, size);
        copy_sized(host, buf, size);
        return;
    }
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x, y;
    c->access_op = o;
    translate(c, o, lin, ACCESS_WRITE, mode, &x);
    if (unlikely(first < size)) {
        struct page_ref x_ref = *x.ref;
        translate(c, o, next_page(c, lin), ACCESS_WRITE, mode, &y);
        struct page_ref y_ref = *y.ref;
        x.ref = &x_ref;
        y.ref = &y_ref;
        if (unlikely(c->side) && is_device(c, &y)) {
            lockstep_outside(c); /* before the first piece is written */
        }
        piece_write(c, &x, lin & ~GUEST_PAGE_MASK, buf, first);
        piece_write(c, &y, 0, (const uint8_t *)buf + first, size - first);
    } else if (likely((host = tlb_host_write(e, lin, size)) != NULL)) {
        note_write(c, host, size);
        copy_sized(host, buf, size); /* entered just now: holds no code */
    } else {
        piece_write(c, &x, lin & ~GUEST_PAGE_MASK, buf, size);
    }
    watch_access(c, lin, size, true);
}

void mem_read_slow(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size)
{
    mem_read_as(c, o, lin, buf, size, mem_mode(c));
}

void mem_write_slow(struct cpu *c, const struct op *o, uint64_t lin, const void *buf, unsigned size)
{
    mem_write_as(c, o, lin, buf, size, mem_mode(c));
}

void *mem_rmw_slow(struct cpu *c, const struct op *o, uint64_t lin, unsigned size)
{
    unsigned mode = mem_mode(c);
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x;
    translate(c, o, lin, ACCESS_WRITE, mode, &x);
    if (first < size) {
        translate(c, o, next_page(c, lin), ACCESS_WRITE, mode, &x);
        return NULL;
    }
    if (is_device(c, &x) || !x.ref->writable || c->watch || c->host_watches ||
        (x.ref->ram != NULL && !code_page_allow_write(x.ref->ram, x.ref->offset))) {
        return NULL;
    }
    uint8_t *host = x.ref->host + (lin & ~GUEST_PAGE_MASK);
    note_write(c, host, size);
    return host;
}

void mem_probe_as(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how,
                  unsigned mode)
{
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x;
    translate(c, o, lin, how, mode, &x);
    if (first < size) {
        translate(c, o, next_page(c, lin), how, mode, &x);
    }
}

void mem_probe(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how)
{
    mem_probe_as(c, o, lin, size, how, mem_mode(c));
}

uint64_t sys_read(struct cpu *c, const struct op *o, uint64_t lin, unsigned size)
{
    uint64_t value = 0;
    mem_read_as(c, o, lin, &value, size, TLB_KERNEL);
    return value;
}

void sys_write(struct cpu *c, const struct op *o, uint64_t lin, uint64_t value, unsigned size)
{
    mem_write_as(c, o, lin, &value, size, TLB_KERNEL);
}

/* ---------------------------------------------------------------- segmented addresses */

G_GNUC_NORETURN static void segment_fault(struct cpu *c, const struct op *o, unsigned seg)
{
    raise_error(c, o, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* size 0: unknown, check one byte. */
bool segment_holds(const struct seg *s, uint64_t offset, unsigned size)
{
    uint64_t last = offset + (size > 0 ? size - 1 : 0);
    if (!(s->type & 8) && (s->type & 4) && s->s) { /* expand-down data */
        return offset > s->limit && last <= (s->db ? UINT32_MAX : UINT16_MAX);
    }
    return last <= s->limit;
}

uint64_t ea_slow(struct cpu *c, const struct op *o, uint64_t offset, unsigned size, bool write)
{
    if (o->mflags & MF_ADDR32) {
        offset = (uint32_t)offset;
    } else if (o->mflags & MF_ADDR16) {
        offset = (uint16_t)offset;
    }
    const struct seg *s = &c->seg[o->seg];
    if (o->mflags & MF_SEG64) {
        return s->base + offset;
    }
    if (!(o->mflags & MF_SEGCHK)) {
        return offset;
    }
    if ((c->key & KEY_PE) && !(c->key & KEY_VM86)) {
        bool code = s->type & 8;
        if (s->unusable || (write ? code || !(s->type & 2) : code && !(s->type & 2))) {
            segment_fault(c, o, o->seg);
        }
    }
    if (!segment_holds(s, offset, size)) {
        segment_fault(c, o, o->seg);
    }
    return (uint32_t)(s->base + offset);
}
