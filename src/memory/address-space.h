/*
 * Address spaces: which region answers at which guest physical address (or I/O port).
 *
 * Regions are mapped with a priority; where they overlap the higher one wins, and at equal priority
 * the one mapped later. The result is flattened into a sorted array (struct flat_view) that readers
 * use without a lock: it is replaced only while every reader (vCPU, I/O thread) is parked, which
 * the space asks for through the guard that the CPU room installs. Threads that the guard does not
 * know (I/O threads) say when they read: address_space_reader_begin().
 *
 * Threads: mapping calls and address_space_io_* need the machine lock. address_space_read/write
 * (DMA) may be called with or without it for RAM; an access that meets a REGION_IO needs it.
 */
#ifndef MEMORY_ADDRESS_SPACE_H
#define MEMORY_ADDRESS_SPACE_H

#include "memory/ram.h"
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct region_ops {
    /* offset is within the region; size is 1, 2, 4 or 8 and within [min_size, max_size]. Unused
     * high bits of a read's result are ignored. Called with the machine lock held. */
    uint64_t (*read)(void *opaque, gpa_t offset, unsigned size);
    void (*write)(void *opaque, gpa_t offset, uint64_t value, unsigned size);
    /* Access sizes that the handlers take; 0 means 1 and 8. A larger access is split, a smaller one
     * is answered from a larger read (and written as a zero-extended one of min_size). */
    uint8_t min_size, max_size;
    /* NULL, or a write without the machine lock, tried first by vCPUs: for doorbells, which never
     * wait. true: done; false: take the lock and call write(). Neither split nor widened. */
    bool (*write_unlocked)(void *opaque, gpa_t offset, uint64_t value, unsigned size);
};

/* REGION_ROM is read as RAM is; a vCPU's writes go to ops->write (flash memory), without ops they
 * are dropped. */
enum region_kind { REGION_RAM, REGION_ROM, REGION_IO };

struct region {
    const char *name;
    enum region_kind kind;
    uint64_t size; /* bytes */
    /* REGION_IO; REGION_ROM: write only, or NULL */
    const struct region_ops *ops;
    void *opaque;
    /* REGION_RAM, REGION_ROM */
    struct ram_block *ram;
    uint64_t ram_offset;
};

struct flat_range {
    gpa_t start, last;     /* inclusive */
    struct region *region; /* never NULL */
    uint64_t offset;       /* of start within the region */
};

struct flat_view {
    unsigned n;
    struct flat_range range[];
};

/* A write that does nothing but signal an eventfd: whoever executes guest code may have the host's
 * kernel do that, and then the region's handlers do not see it. */
struct doorbell {
    struct region *region;
    uint64_t offset;
    int fd;
    uint8_t size;   /* of the write in bytes; 0: any */
    bool has_value; /* only when this is written */
    uint16_t value;
};

struct map_guard {
    void (*park)(void *opaque); /* returns when no reader uses the old view; may nest */
    void (*unpark)(void *opaque);
    void *opaque;
};

struct map_listener {
    /* The view changed; called while readers are parked. */
    void (*changed)(struct map_listener *, const struct flat_view *view);
    /* RAM was written other than by a vCPU's own stores: DMA, loader, debugger, monitor. NULL is
     * fine. Any thread. */
    void (*ram_written)(struct map_listener *, struct ram_block *, uint64_t offset,
                        uint64_t length);
    /* A dirty log of the block began or ended; and: note with dirty_mark() what vCPUs wrote to it
     * since, if that was not noted at once, and from now on anew. Readers are parked; NULL is fine.
     */
    void (*log_changed)(struct map_listener *, struct ram_block *);
    void (*log_collect)(struct map_listener *, struct ram_block *);
    /* The space's list of doorbells changed. Machine lock held; readers are not parked. NULL is
     * fine. */
    void (*doorbells_changed)(struct map_listener *);
    struct map_listener *next; /* private */
};

struct address_space {
    const char *name;
    gpa_t last;
    _Atomic(struct flat_view *) view; /* never NULL */
    struct map_guard guard;
    struct map_listener *listeners;
    GArray *doorbells;           /* struct doorbell */
    struct mapping *mappings;    /* private; in order of precedence */
    _Atomic unsigned generation; /* of the view */
    pthread_rwlock_t readers;    /* I/O threads: read; a change of the view: write */
    unsigned transaction;
    bool dirty;
};

/* last is the highest address (0xffff for ports). */
struct address_space *address_space_new(const char *name, gpa_t last);
void address_space_free(struct address_space *as); /* regions are not owned */
/* A new listener is told of the present view at once. */
void address_space_add_listener(struct address_space *as, struct map_listener *listener);
void address_space_remove_listener(struct address_space *as, struct map_listener *listener);

/* Maps region at base. The region must stay alive until unmapped. Changes between begin and commit
 * become visible together at the last commit. */
void address_space_map(struct address_space *as, gpa_t base, struct region *region, int priority);
void address_space_unmap(struct address_space *as, struct region *region); /* not mapped is fine */
void address_space_begin(struct address_space *as);
void address_space_commit(struct address_space *as);

/* The region need not be mapped. remove: all of the region's that signal fd, which is then still
 * open. */
void address_space_add_doorbell(struct address_space *as, const struct doorbell *doorbell);
void address_space_remove_doorbell(struct address_space *as, const struct region *region, int fd);

/* The range that holds addr, or NULL. */
const struct flat_range *address_space_find(struct address_space *as, gpa_t addr);

/* Around the use of the space by a thread that is neither a vCPU's nor holds the machine lock. May
 * nest; nothing is waited for in between. */
void address_space_reader_begin(struct address_space *as);
void address_space_reader_end(struct address_space *as);
/* Changes whenever the view does: what was looked up before is stale. */
static inline unsigned address_space_generation(const struct address_space *as)
{
    return atomic_load_explicit(&as->generation, memory_order_acquire);
}

/* A vCPU's write that needs no machine lock, see region_ops, or goes nowhere; false: nothing was
 * done. *near, any number at first, is where the last search ended: the next is faster when it ends
 * there too; or NULL. */
bool address_space_write_unlocked(struct address_space *as, gpa_t addr, uint64_t value,
                                  unsigned size, unsigned *near);
/* Whether nothing is mapped at all these bytes: they read as ones. */
bool address_space_is_hole(struct address_space *as, gpa_t addr, unsigned size, unsigned *near);

/* One device-sized access (1, 2, 4, 8 bytes), split or widened as the region wants; RAM works too.
 * Where nothing is mapped a read gives all ones and a write is dropped. */
uint64_t address_space_io_read(struct address_space *as, gpa_t addr, unsigned size);
void address_space_io_write(struct address_space *as, gpa_t addr, uint64_t value, unsigned size);
uint64_t address_space_io_read_near(struct address_space *as, gpa_t addr, unsigned size,
                                    unsigned *near);
void address_space_io_write_near(struct address_space *as, gpa_t addr, uint64_t value,
                                 unsigned size, unsigned *near);

/* DMA and loaders: any length. false when part of it is not RAM (ROM may be read; `force` writes
 * ROM too, as a loader must); what could be done is done, the rest of a read is all ones. */
bool address_space_read(struct address_space *as, gpa_t addr, void *buf, uint64_t length);
bool address_space_write(struct address_space *as, gpa_t addr, const void *buf, uint64_t length);
bool address_space_write_rom(struct address_space *as, gpa_t addr, const void *buf,
                             uint64_t length);

/* Gives the whole pages of RAM in [addr, addr + length) back to the host; they read as zeroes. What
 * is not RAM stays as it is. */
void address_space_discard(struct address_space *as, gpa_t addr, uint64_t length);

/* Host pointer to length bytes of RAM at addr when they lie in one RAM region, else NULL. Whoever
 * writes through it calls address_space_ram_written() afterwards. */
void *address_space_ram_ptr(struct address_space *as, gpa_t addr, uint64_t length);
/* The same for as many of `length` bytes as lie together (*n, at least 1); NULL: no RAM at addr. */
void *address_space_ram_piece(struct address_space *as, gpa_t addr, uint64_t length, uint64_t *n);
void address_space_ram_written(struct address_space *as, gpa_t addr, uint64_t length);
/* The same for one who wrote a block through its host pointer, wherever it is mapped. */
void address_space_block_written(struct address_space *as, struct ram_block *block, uint64_t offset,
                                 uint64_t length);

#endif
