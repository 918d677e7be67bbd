/* Between the files that write dumps. */
#ifndef MIGRATION_DUMP_PRIV_H
#define MIGRATION_DUMP_PRIV_H

#include "migration/dump.h"

/* Where a dump goes: written from the first byte to the last, as pipes have it. A regular file that
 * was empty gets holes for zeros. */
struct dump_output {
    int fd;
    bool sparse, is_socket, may_block;
    uint64_t at;                /* bytes so far */
    uint64_t hole;              /* bytes of zeros at the end that were left out */
    const _Atomic bool *cancel; /* NULL: it is not */
    bool sum;                   /* keep a checksum of all bytes */
    uint32_t crc;
};

/* fd is owned by the output from here on. */
void output_init(struct dump_output *out, int fd, const _Atomic bool *cancel);
/* errno tells why not: ECANCELED among others. */
bool output_write(struct dump_output *out, const void *data, size_t length);
/* The same for zeros. */
bool output_write_zeros(struct dump_output *out, uint64_t length);
bool output_end(struct dump_output *out);
void output_close(struct dump_output *out);
/* Reads the file of that name again, from the disk, and compares its length and checksum. */
bool output_verify(const struct dump_output *out, const char *path, GError **error);

/* Physical memory, ascending, not overlapping. */
struct dump_block {
    gpa_t start;
    uint64_t length;
    const uint8_t *host;
    const struct ram_block *ram; /* host is in it */
    /* ram_block_touched(), owned by the job; NULL: all may be. */
    uint64_t *touched;
};

/* Whether the page at that offset of a block may hold something. */
static inline bool dump_block_touched(const struct dump_block *block, uint64_t offset)
{
    uint64_t page = offset / GUEST_PAGE_SIZE;

    return !block->touched || block->touched[page / 64] >> (page % 64) & 1;
}

/* A dump's job: gathered while the machine stands, then only read. */
struct dump_job {
    struct dump_options options;
    GArray *blocks;                                /* struct dump_block: what is written */
    GArray *mappings;                              /* struct page_mapping, paging only; else NULL */
    GByteArray *notes;                             /* ELF notes, all of them */
    uint32_t vmcoreinfo_offset, vmcoreinfo_length; /* its text, within notes; 0: none */
    uint64_t phys_base;                            /* of the guest's kernel */
    bool is_long;                                  /* the first vCPU is in long mode */
    unsigned n_vcpus;
    uint64_t total;             /* bytes of memory */
    _Atomic uint64_t completed; /* of them; read by the main thread */
    _Atomic bool cancel;        /* written by the main thread */
    struct dump_output out;
};

bool dump_elf_write(struct dump_job *job, GError **error);
bool dump_kdump_write(struct dump_job *job, GError **error);

/* Fills in blocks, mappings, notes and what belongs to them. */
bool dump_gather(struct machine *m, struct dump_job *job, GError **error);

/* dump: failed to <what>: <errno>; false. */
bool dump_fail(GError **error, const char *what);

#endif
