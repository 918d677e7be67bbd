/*
 * Guest memory with a kernel's vmcoreinfo note, page tables and log ring in it, for the readers of
 * machine/guest-kernel.h. The kernel runs 0x200000 from where it was linked for, phys_base is below
 * zero, and its structs are laid out as no Linux lays them out, for only the note is to count.
 */
#ifndef TESTS_LIB_GUEST_KERNEL_MEMORY_H
#define TESTS_LIB_GUEST_KERNEL_MEMORY_H

#include "machine/guest-kernel.h"
#include <stdio.h>
#include <string.h>

#define KM_BYTES     0x40000u
#define KM_NOTE      0x1000u
#define KM_NOTE_SIZE 4096u
#define KM_TOP       0x4000u /* page tables: top, third, second, last level */
#define KM_RING_PTR  0x9000u
#define KM_RING      0x9100u
#define KM_DESCS     0xa000u
#define KM_INFOS     0xb000u
#define KM_DATA      0x10000u
#define KM_BASE      0xffffffff80400000ull /* virtual address of guest-physical 0 */
#define KM_COUNT     16u                   /* descriptors, of 48 bytes */
#define KM_TEXT      1024u                 /* bytes of text */

struct kernel_memory {
    uint8_t bytes[KM_BYTES];
    uint64_t id, lpos; /* of the next record */
};

static inline void km_put(struct kernel_memory *km, uint32_t at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        km->bytes[at + i] = (uint8_t)(value >> 8 * i);
    }
}

static inline bool km_read(void *opaque, uint64_t addr, void *buf, size_t length)
{
    const struct kernel_memory *km = opaque;

    if (addr > KM_BYTES || length > KM_BYTES - addr) {
        return false;
    }
    memcpy(buf, km->bytes + addr, length);
    return true;
}

static inline struct phys_reader km_reader(struct kernel_memory *km)
{
    return (struct phys_reader){km_read, km};
}

static inline void km_set_note(struct kernel_memory *km, const char *text)
{
    memset(km->bytes + KM_NOTE, 0, KM_NOTE_SIZE);
    km_put(km, KM_NOTE, 11, 4);
    km_put(km, KM_NOTE + 4, strlen(text), 4);
    memcpy(km->bytes + KM_NOTE + 12, "VMCOREINFO", 11);
    memcpy(km->bytes + KM_NOTE + 24, text, strlen(text));
}

static inline char *km_note(void)
{
    return g_strdup_printf("OSRELEASE=6.1.0-test\n"
                           "PAGESIZE=4096\n"
                           "SYMBOL(init_top_pgt)=%llx\n"
                           "NUMBER(phys_base)=-4194304\n"
                           "KERNELOFFSET=200000\n"
                           "SYMBOL(prb)=%llx\n"
                           "SIZE(printk_ringbuffer)=128\n"
                           "OFFSET(printk_ringbuffer.desc_ring)=8\n"
                           "OFFSET(printk_ringbuffer.text_data_ring)=72\n"
                           "SIZE(prb_desc_ring)=56\n"
                           "OFFSET(prb_desc_ring.count_bits)=0\n"
                           "OFFSET(prb_desc_ring.descs)=8\n"
                           "OFFSET(prb_desc_ring.infos)=16\n"
                           "OFFSET(prb_desc_ring.head_id)=24\n"
                           "OFFSET(prb_desc_ring.tail_id)=32\n"
                           "SIZE(prb_data_ring)=40\n"
                           "OFFSET(prb_data_ring.size_bits)=4\n"
                           "OFFSET(prb_data_ring.data)=16\n"
                           "SIZE(prb_desc)=48\n"
                           "OFFSET(prb_desc.state_var)=16\n"
                           "OFFSET(prb_desc.text_blk_lpos)=24\n"
                           "SIZE(prb_data_blk_lpos)=16\n"
                           "OFFSET(prb_data_blk_lpos.begin)=8\n"
                           "OFFSET(prb_data_blk_lpos.next)=0\n"
                           "SIZE(printk_info)=40\n"
                           "OFFSET(printk_info.ts_nsec)=0\n"
                           "OFFSET(printk_info.text_len)=12\n",
                           KM_BASE + KM_TOP, KM_BASE + KM_RING_PTR);
}

/* An empty ring. */
static inline void km_init(struct kernel_memory *km)
{
    g_autofree char *note = km_note();

    memset(km, 0, sizeof(*km));
    km_set_note(km, note);
    km_put(km, KM_TOP + 511 * 8, (KM_TOP + 0x1000) | 3, 8);
    km_put(km, KM_TOP + 0x1000 + 510 * 8, (KM_TOP + 0x2000) | 3, 8);
    km_put(km, KM_TOP + 0x2000 + 2 * 8, (KM_TOP + 0x3000) | 3, 8);
    for (unsigned i = 0; i < KM_BYTES / 4096; i++) {
        km_put(km, KM_TOP + 0x3000 + i * 8, i * 4096 | 3, 8);
    }
    km_put(km, KM_RING_PTR, KM_BASE + KM_RING, 8);
    km_put(km, KM_RING + 8, 4, 4);
    km_put(km, KM_RING + 16, KM_BASE + KM_DESCS, 8);
    km_put(km, KM_RING + 24, KM_BASE + KM_INFOS, 8);
    km_put(km, KM_RING + 72 + 4, 10, 4);
    km_put(km, KM_RING + 72 + 16, KM_BASE + KM_DATA, 8);
    km->id = (1ull << 62) - 20; /* ids and positions are to overflow */
    km->lpos = UINT64_MAX - 3 * KM_TEXT + 1;
    km_put(km, KM_RING + 40, km->id, 8);
}

/* Adds a record, as the kernel would: in a block of its own, at the start when it does not fit. */
static inline void km_log(struct kernel_memory *km, uint64_t time_ns, const char *text)
{
    uint64_t n = strlen(text), block = 8 + (n + 7) / 8 * 8, begin = km->lpos, next = begin + block;
    uint32_t desc = KM_DESCS + (uint32_t)(km->id % KM_COUNT) * 48;
    uint32_t info = KM_INFOS + (uint32_t)(km->id % KM_COUNT) * 40;
    uint32_t at = (uint32_t)(begin % KM_TEXT);

    if (at + block > KM_TEXT) {
        next = begin - at + KM_TEXT + block;
        at = 0;
    }
    km_put(km, KM_DATA + at, km->id, 8);
    memcpy(km->bytes + KM_DATA + at + 8, text, n);
    km_put(km, desc + 16, km->id | 2ull << 62, 8);
    km_put(km, desc + 24 + 8, begin, 8);
    km_put(km, desc + 24, next, 8);
    km_put(km, info, time_ns, 8);
    km_put(km, info + 12, n, 2);
    km_put(km, KM_RING + 32, km->id, 8);
    km->id = (km->id + 1) & ~(3ull << 62);
    km->lpos = next;
}

#endif
