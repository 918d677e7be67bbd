/*
 * A software CPU without a vCPU thread for tests and benchmarks: 64-bit mode, the low 4 MiB
 * identity-mapped by 4 KiB pages, an IDT whose handlers are HLT.
 */
#ifndef TESTS_LIB_SOFT_MACHINE_H
#define TESTS_LIB_SOFT_MACHINE_H

#include "cpu/x86/soft/block.h"
#include "memory/ram.h"

enum {
    RAM_BYTES = 8 << 20,
    MAPPED_BYTES = 4 << 20,
    PML4 = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    PT = 0x4000, /* two tables */
    IDT = 0x6000,
    GDT = 0x7000,
    HANDLER = 0x8000, /* HLT for every vector, 16 bytes apart */
    CODE = 0x10000,
    DATA = 0x20000,
    STACK = 0x40000,
};

struct fixture {
    struct ram_block *ram;
    struct cpu_model model;
    struct cpu *c;
};

static struct fixture *present; /* soft_host callbacks get no opaque pointer */

static uint8_t *ram_page(struct cpu *c, gpa_t gpa, bool *writable, struct ram_block **ram,
                         uint64_t *offset)
{
    if (gpa >= RAM_BYTES) {
        return NULL;
    }
    *writable = true;
    *ram = present->ram;
    *offset = gpa;
    return present->ram->host + gpa;
}

static uint64_t mmio_read(struct cpu *c, gpa_t gpa, unsigned size)
{
    return ~0ull;
}

static void mmio_write(struct cpu *c, gpa_t gpa, uint64_t value, unsigned size)
{
}

static uint32_t io_in(struct cpu *c, uint16_t port, unsigned size)
{
    return 0x11223344;
}

static void io_out(struct cpu *c, uint16_t port, uint32_t value, unsigned size)
{
}

static uint64_t tsc(struct cpu *c)
{
    return 0;
}

static const struct soft_host host = {mmio_read, mmio_write, io_in, io_out, tsc, ram_page};

static void put64(uint64_t at, uint64_t value)
{
    memcpy(present->ram->host + at, &value, 8);
}

static inline void put_code(uint64_t at, const void *bytes, size_t n)
{
    memcpy(present->ram->host + at, bytes, n);
    code_written(present->c, present->ram, at, at, n);
}

static inline void set_page(uint64_t lin, uint64_t entry)
{
    put64(PT + (lin >> 12) * 8, entry);
    tlb_flush_page(present->c, lin);
}

static void tables_build(void)
{
    put64(PML4, PDPT | 3);
    put64(PDPT, PD | 3);
    for (unsigned i = 0; i < MAPPED_BYTES >> 21; i++) {
        put64(PD + 8 * i, (PT + 0x1000 * i) | 3);
    }
    for (uint64_t page = 0; page < MAPPED_BYTES; page += 0x1000) {
        put64(PT + (page >> 12) * 8, page | 3);
    }
    for (unsigned v = 0; v < 32; v++) {
        put64(IDT + 16 * v, (HANDLER + 16 * v) | 8u << 16 | 0x8e0000000000);
        put64(IDT + 16 * v + 8, 0);
    }
    put64(GDT + 8, 0x00af9b000000ffff);
    memset(present->ram->host + HANDLER, 0xf4, 32 * 16);
}

static void machine_start(void)
{
    static const enum cpu_feature absent[] = {F_VME};
    struct fixture *f = g_new0(struct fixture, 1);
    present = f;
    memset(f->model.features, 0xff, sizeof(f->model.features));
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        f->model.features[absent[i] / 64] &= ~(1ull << (absent[i] % 64));
    }
    f->model.phys_bits = 40;
    f->ram = ram_block_new("test", RAM_BYTES, NULL);
    g_assert_nonnull(f->ram);
    struct cpu *c = f->c = soft_cpu_new(&f->model, &host, NULL);
    g_assert_nonnull(c);
    tables_build();
    c->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
    c->cr3 = PML4;
    c->cr4 = CR4_PAE | CR4_OSFXSR;
    c->efer = EFER_LME | EFER_LMA;
    c->idt.base = IDT;
    c->idt.limit = 0x1ff;
    c->gdt.base = GDT;
    c->gdt.limit = 0xf;
    struct seg flat = {.limit = UINT32_MAX, .type = 3, .s = 1, .present = 1, .g = 1, .db = 1};
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        c->seg[i] = flat;
    }
    c->seg[SEG_CS] = (struct seg){
        .limit = UINT32_MAX, .type = 11, .s = 1, .present = 1, .l = 1, .g = 1, .sel = 8};
    c->r[RSP] = STACK;
    tlb_flush_all(c);
    mode_update(c);
}

static void machine_end(void)
{
    soft_cpu_free(present->c);
    ram_block_free(present->ram);
    g_free(present);
    present = NULL;
}

/* Runs from rip until HLT; returns where that was. */
static inline uint64_t run_from(uint64_t rip)
{
    struct cpu *c = present->c;
    c->rip = rip;
    c->halted = false;
    g_assert_cmpint(soft_execute(c, 0), ==, RUN_HALT);
    return c->rip - 1;
}

#endif
