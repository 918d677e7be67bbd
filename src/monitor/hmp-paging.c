/*
 * The human monitor's commands about what a vCPU's page tables map: `info tlb` page by page, `info
 * mem` by runs with the same rights. The layout of lines is QEMU's.
 *
 * A guest may map more than anybody reads: the first LINES_MAX lines are told, and that there are
 * more.
 */
#include "monitor/hmp-priv.h"

#include "cpu/x86/page-map.h"
#include <inttypes.h>
#include <string.h>

#define LINES_MAX 200000

struct printer {
    struct hmp *h;
    unsigned lines;
    struct page_entry run; /* `info mem`: adjacent pages, length 0: none */
};

static bool line_room(struct printer *p)
{
    if (++p->lines <= LINES_MAX) {
        return true;
    }
    hmp_print(p->h, "... and more than these %d lines\n", LINES_MAX);
    return false;
}

static bool print_entry(const struct page_entry *e, void *opaque)
{
    static const struct {
        uint64_t bit;
        char letter;
    } flags[] = {
        {PTE_NX, 'X'},       {PTE_GLOBAL, 'G'},   {PTE_LARGE, 'P'},         {PTE_DIRTY, 'D'},
        {PTE_ACCESSED, 'A'}, {PTE_NO_CACHE, 'C'}, {PTE_WRITE_THROUGH, 'T'}, {PTE_USER, 'U'},
        {PTE_WRITE, 'W'}};
    struct printer *p = opaque;
    char text[G_N_ELEMENTS(flags) + 1] = "";

    if (!line_room(p)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        text[i] = e->entry & flags[i].bit ? flags[i].letter : '-';
    }
    hmp_print(p->h, "%016" PRIx64 ": %016" PRIx64 " %s\n", e->linear, e->physical, text);
    return true;
}

static bool run_end(struct printer *p)
{
    const struct page_entry *r = &p->run;

    if (r->length == 0) {
        return true;
    }
    if (!line_room(p)) {
        return false;
    }
    hmp_print(p->h, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n", r->linear,
              r->linear + r->length, r->length, r->rights & PTE_USER ? 'u' : '-',
              r->rights & PTE_WRITE ? 'w' : '-');
    p->run.length = 0;
    return true;
}

static bool print_run(const struct page_entry *e, void *opaque)
{
    struct printer *p = opaque;

    if (p->run.length && p->run.linear + p->run.length == e->linear && p->run.rights == e->rights) {
        p->run.length += e->length;
        return true;
    }
    if (!run_end(p)) {
        return false;
    }
    p->run = *e;
    return true;
}

static void print_tables(struct hmp *h, bool (*fn)(const struct page_entry *, void *))
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    struct printer p = {.h = h};

    if (!h->vcpu) {
        hmp_print(h, "No CPU available\n");
        return;
    }
    machine_park_begin(h->m);
    h->vcpu->ops->get(h->vcpu, state, ST_REGS | ST_SREGS);
    if (!(state->sregs.cr0 & CR0_PG)) {
        hmp_print(h, "PG disabled\n");
    } else if (page_map_entries(h->m->mem, state, fn, &p)) {
        run_end(&p);
    }
    machine_park_end(h->m);
}

static void info_mem(struct hmp *h, struct json_object *args)
{
    print_tables(h, print_run);
}

static void info_tlb(struct hmp *h, struct json_object *args)
{
    print_tables(h, print_entry);
}

const struct hmp_command hmp_paging_commands[] = {
    {"info mem", NULL, "", "what this vCPU's page tables map, by rights", .run = info_mem},
    {"info tlb", NULL, "", "what this vCPU's page tables map, page by page", .run = info_tlb},
    {0}};
