/*
 * The software CPU as an accelerator: vCPUs with their local APICs, and the way out to memory and
 * devices through the address spaces.
 *
 * Device accesses take the machine lock (vcpu_lock_machine); while a vCPU waits for it the memory
 * map may change, so nothing looked up before is used afterwards. A change of the map, made while
 * all vCPUs are out of guest memory, empties every TLB and drops all decoded code.
 */
#include "base/log.h"
#include "cpu/x86/cpu-features.h"
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/soft/xlat-lockstep.h"
#include <cpuid.h>

struct soft {
    struct cpus *cpus;
    struct lapic_bus *bus;
    struct map_listener listener;
};

/* ---------------------------------------------------------------- out of the CPU */

static void access_begin(struct cpu *c, struct vcpu_access access)
{
    fp_leave(c);
    vcpu_lock_machine(c->vcpu);
    c->vcpu->access = access;
}

static void access_end(struct cpu *c)
{
    c->vcpu->access.kind = VCPU_ACCESS_NONE;
    vcpu_unlock_machine(c->vcpu);
}

static uint64_t host_mmio_read(struct cpu *c, gpa_t gpa, unsigned size)
{
    struct address_space *as = c->vcpu->cpus->mem;
    if (address_space_is_hole(as, gpa, size, &c->near_mem)) {
        return UINT64_MAX;
    }
    access_begin(c, (struct vcpu_access){VCPU_ACCESS_MEMORY, false, size, gpa, 0});
    uint64_t value = address_space_io_read_near(as, gpa, size, &c->near_mem);
    access_end(c);
    return value;
}

static void host_mmio_write(struct cpu *c, gpa_t gpa, uint64_t value, unsigned size)
{
    struct address_space *as = c->vcpu->cpus->mem;
    if (address_space_write_unlocked(as, gpa, value, size, &c->near_mem)) {
        return;
    }
    access_begin(c, (struct vcpu_access){VCPU_ACCESS_MEMORY, true, size, gpa, value});
    address_space_io_write_near(as, gpa, value, size, &c->near_mem);
    access_end(c);
}

static uint32_t host_io_read(struct cpu *c, uint16_t port, unsigned size)
{
    struct address_space *as = c->vcpu->cpus->io;
    if (address_space_is_hole(as, port, size, &c->near_io)) {
        return UINT32_MAX;
    }
    access_begin(c, (struct vcpu_access){VCPU_ACCESS_PORT, false, size, port, 0});
    uint32_t value = address_space_io_read_near(as, port, size, &c->near_io);
    access_end(c);
    return value;
}

static void host_io_write(struct cpu *c, uint16_t port, uint32_t value, unsigned size)
{
    struct address_space *as = c->vcpu->cpus->io;
    if (address_space_write_unlocked(as, port, value, size, &c->near_io)) {
        return;
    }
    access_begin(c, (struct vcpu_access){VCPU_ACCESS_PORT, true, size, port, value});
    address_space_io_write_near(as, port, value, size, &c->near_io);
    access_end(c);
}

static uint64_t host_tsc(struct cpu *c)
{
    const struct cpus *cpus = c->vcpu->cpus;
    return c->tsc_line ? (uint64_t)vclock_now(cpus->clock)
                       : muldiv64(vclock_now(cpus->clock), cpus->tsc_khz, 1000000);
}

static uint8_t *host_ram_page(struct cpu *c, gpa_t gpa, bool *writable, struct ram_block **ram,
                              uint64_t *offset)
{
    const struct flat_range *range = address_space_find(c->vcpu->cpus->mem, gpa);
    if (range == NULL || range->region->kind == REGION_IO ||
        range->last - gpa < GUEST_PAGE_SIZE - 1) {
        return NULL;
    }
    const struct region *region = range->region;
    *ram = region->ram;
    *offset = region->ram_offset + range->offset + (gpa - range->start);
    if (*offset % GUEST_PAGE_SIZE != 0) {
        return NULL; /* accesses go through the address space */
    }
    *writable = region->kind == REGION_RAM;
    return region->ram->host + *offset;
}

static const struct soft_host host = {
    .mmio_read = host_mmio_read,
    .mmio_write = host_mmio_write,
    .io_read = host_io_read,
    .io_write = host_io_write,
    .tsc = host_tsc,
    .ram_page = host_ram_page,
};

/* ---------------------------------------------------------------- vCPUs */

/* Whether LOCK is needed for more than order: who else could see a locked access half done? Devices
 * do no such accesses themselves, and other vCPUs and processes would have to be there. */
static bool is_alone(const struct cpus *cpus)
{
    const struct flat_view *view = atomic_load(&cpus->mem->view);
    for (unsigned i = 0; i < view->n; i++) {
        const struct region *region = view->range[i].region;
        if (region->kind == REGION_RAM && region->ram->shared) {
            return false;
        }
    }
    return cpus->max <= 1;
}

/* Each vCPU has its share of the code cache. Without a translator there is nothing to compare. */
static bool translator_start(struct cpu *c, GError **error)
{
    const struct cpus *cpus = c->vcpu->cpus;
    const struct xlat_config config = {
        .cache_bytes = cpus->config.cache_bytes / MAX(cpus->max, 1),
        .threshold = cpus->config.threshold,
        .max_insns = cpus->config.region_insns,
    };
    g_autoptr(GError) why = NULL;
    bool works = cpus->config.translate && xlat_init(c, &config, &why);
    if (cpus->config.lockstep && !works) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "x-lockstep: %s",
                    why ? why->message : "nothing is translated");
        return false;
    }
    if (cpus->config.lockstep) {
        lockstep_init(c);
    } else if (why && c->vcpu->index == 0) {
        log_warn("%s; guest code is interpreted", why->message);
    }
    return true;
}

static bool soft_create(struct vcpu *vcpu, GError **error)
{
    struct soft *soft = vcpu->cpus->accel_data;
    struct cpu *c = soft_cpu_new(vcpu->cpus->model, &host, vcpu);
    if (c == NULL) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "vCPU %u: not enough memory",
                    vcpu->index);
        return false;
    }
    vcpu->accel = c;
    c->lapic = lapic_new(soft->bus, vcpu);
    c->alone = is_alone(vcpu->cpus);
    if (vcpu->cpus->tsc_khz * 1000ull == NS_PER_SEC) {
        c->tsc_line = vclock_line(vcpu->cpus->clock);
    }
    return translator_start(c, error);
}

static void soft_destroy(struct vcpu *vcpu)
{
    struct cpu *c = vcpu->accel;
    if (c != NULL) {
        lapic_free(c->lapic);
        soft_cpu_free(c);
        vcpu->accel = NULL;
    }
}

static void soft_reset(struct vcpu *vcpu)
{
    atomic_store(&vcpu->mp_state, vcpu->index == 0 ? MP_RUNNABLE : MP_UNINITIALIZED);
    atomic_store(&vcpu->a20_off, false);
    mmu_a20_changed(vcpu->accel);
    cpu_reset(vcpu->accel, false);
    blocks_reset(vcpu->accel);
}

static void soft_match_clock(struct vcpu *vcpu, const struct vcpu *other)
{
    ((struct cpu *)vcpu->accel)->tsc_offset = ((const struct cpu *)other->accel)->tsc_offset;
}

static enum run_exit soft_vcpu_run(struct vcpu *vcpu)
{
    if (atomic_load(&vcpu->mp_state) != MP_RUNNABLE && atomic_load(&vcpu->req) == 0) {
        return RUN_HALT; /* resumed from a pause: it still sleeps */
    }
    return soft_run(vcpu);
}

static void soft_get(struct vcpu *vcpu, struct cpu_state *state, unsigned what)
{
    soft_state_get(vcpu->accel, state, what);
}

static bool soft_set(struct vcpu *vcpu, const struct cpu_state *state, unsigned what,
                     GError **error)
{
    return soft_state_set(vcpu->accel, state, what, error);
}

static bool soft_translate(struct vcpu *vcpu, gva_t addr, gpa_t *gpa)
{
    return mmu_translate_debug(vcpu->accel, addr, gpa);
}

/* Decoded code knows of breakpoints, and the TLB of watchpoints. */
static bool soft_debug_points(struct vcpu *vcpu, GError **error)
{
    struct cpu *c = vcpu->accel;
    c->host_breaks = vcpu->cpus->debug.n_breaks > 0;
    c->host_watches = vcpu->cpus->debug.n_watches > 0;
    blocks_flush(c);
    tlb_flush_all(c);
    mode_update(c);
    return true;
}

static void soft_debug_step(struct vcpu *vcpu)
{
    struct cpu *c = vcpu->accel;
    c->host_step = vcpu->step & DEBUG_STEP_ENABLE;
    c->host_noirq = c->host_step && (vcpu->step & DEBUG_STEP_NOIRQ);
    c->host_stepped = false;
    atomic_fetch_and(c->req, ~(uint32_t)VCPU_REQ_DEBUG);
    mode_update(c);
    intr_recheck(c);
}

static bool soft_read_linear(struct vcpu *vcpu, gva_t addr, void *buf, size_t length)
{
    struct cpu *c = vcpu->accel;
    uint8_t *to = buf;
    while (length > 0) {
        size_t n = MIN(length, GUEST_PAGE_SIZE - (addr & ~GUEST_PAGE_MASK));
        gpa_t gpa;
        if (!mmu_translate_debug(c, addr, &gpa) ||
            !address_space_read(vcpu->cpus->mem, gpa, to, n)) {
            return false;
        }
        to += n;
        addr += n;
        length -= n;
    }
    return true;
}

static uint64_t soft_instruction_pointer(struct vcpu *vcpu)
{
    struct cpu *c = vcpu->accel;
    return vcpu->access.kind != VCPU_ACCESS_NONE && c->access_op != NULL
               ? rip_wrap(c, OP_RIP(c, c->access_op))
               : c->rip;
}

static const uint8_t *soft_privilege(struct vcpu *vcpu)
{
    return &((struct cpu *)vcpu->accel)->cpl;
}

static const struct vcpu_ops soft_vcpu_ops = {
    .create = soft_create,
    .destroy = soft_destroy,
    .reset = soft_reset,
    .match_clock = soft_match_clock,
    .run = soft_vcpu_run,
    .get = soft_get,
    .set = soft_set,
    .read_linear = soft_read_linear,
    .instruction_pointer = soft_instruction_pointer,
    .privilege = soft_privilege,
    .translate = soft_translate,
    .debug_points = soft_debug_points,
    .debug_step = soft_debug_step,
};

/* ---------------------------------------------------------------- the accelerator */

static void map_changed(struct map_listener *listener, const struct flat_view *view)
{
    struct soft *soft = (void *)((uint8_t *)listener - offsetof(struct soft, listener));
    for (unsigned i = 0; i < soft->cpus->n; i++) {
        struct cpu *c = soft->cpus->vcpu[i]->accel;
        if (c != NULL) {
            c->alone = is_alone(soft->cpus);
            mmu_map_changed(c);
            blocks_flush(c);
        }
    }
}

static void ram_written(struct map_listener *listener, struct ram_block *ram, uint64_t offset,
                        uint64_t length)
{
    struct soft *soft = (void *)((uint8_t *)listener - offsetof(struct soft, listener));
    soft_ram_written(soft->cpus, ram, offset, 0, length);
}

/* Dirty logs: a page is marked where it is entered for writing; so all are to be entered anew. */
static void log_renew(struct map_listener *listener, struct ram_block *ram)
{
    struct soft *soft = (void *)((uint8_t *)listener - offsetof(struct soft, listener));
    for (unsigned i = 0; i < soft->cpus->n; i++) {
        struct cpu *c = soft->cpus->vcpu[i]->accel;
        if (c != NULL) {
            tlb_drop_writes(c);
        }
    }
}

/* What the table says, less the vector features that are the host's instructions where it has none
 * (op-avx-fp.c). */
static bool soft_probe(struct cpu_support *support, GError **error)
{
    static const struct {
        const char *feature;
        bool avx, fma, f16c;
    } needs[] = {{"avx", true}, {"avx2", true}, {"fma", true, true}, {"f16c", true, false, true}};
    bool avx = __builtin_cpu_supports("avx"), fma = __builtin_cpu_supports("fma");
    unsigned eax, ebx, ecx = 0, edx; /* clang has no name for F16C */
    bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);

    *support = (struct cpu_support){.name = "TCG"};
    cpu_support_table(support, FEATURE_SOFT);
    for (unsigned i = 0; i < G_N_ELEMENTS(needs); i++) {
        if ((needs[i].avx && !avx) || (needs[i].fma && !fma) || (needs[i].f16c && !f16c)) {
            const struct cpu_feature_desc *f = cpu_feature_find(needs[i].feature);
            support->word[f->word] &= ~(1u << f->bit);
        }
    }
    return true;
}

static bool soft_init(struct cpus *cpus, GError **error)
{
    struct cpu_support support;

    if (cpus->config.lockstep && cpus->max > 1 && !cpus->config.single) {
        g_set_error(
            error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
            "x-lockstep=on with %u vCPUs needs thread=single: others must not run meanwhile",
            cpus->max);
        return false;
    }
    if (!soft_probe(&support, error) || !cpu_model_filter(cpus->model, &support, error)) {
        return false;
    }
    cpus->tsc_khz = cpus->model->tsc_khz;
    struct soft *soft = g_new0(struct soft, 1);
    soft->cpus = cpus;
    soft->bus = lapic_bus_new(cpus);
    soft->listener.changed = map_changed;
    soft->listener.ram_written = ram_written;
    soft->listener.log_changed = log_renew;
    soft->listener.log_collect = log_renew;
    cpus->accel_data = soft;
    address_space_add_listener(cpus->mem, &soft->listener);
    return true;
}

static void soft_finish(struct cpus *cpus)
{
    struct soft *soft = cpus->accel_data;
    address_space_remove_listener(cpus->mem, &soft->listener);
    lapic_bus_free(soft->bus);
    g_free(soft);
    cpus->accel_data = NULL;
}

static void soft_send_msi(struct cpus *cpus, gpa_t addr, uint32_t data)
{
    struct soft *soft = cpus->accel_data;
    lapic_bus_msi(soft->bus, addr, data);
}

static void soft_set_extint(struct cpus *cpus, bool level)
{
    struct soft *soft = cpus->accel_data;
    lapic_bus_extint(soft->bus, level);
}

static void soft_pulse_lint1(struct cpus *cpus)
{
    struct soft *soft = cpus->accel_data;
    lapic_bus_lint1(soft->bus);
}

static bool soft_translation_stats(struct cpus *cpus, struct translation_stats *sum)
{
    bool any = false;
    memset(sum, 0, sizeof(*sum));
    for (unsigned i = 0; i < cpus->n; i++) {
        const struct cpu *c = cpus->vcpu[i]->accel;
        struct translation_stats one;
        any |= c->xlat != NULL;
        xlat_stats_get(c, &one);
        for (size_t k = 0; k < sizeof(one) / sizeof(uint64_t); k++) { /* nothing but counters */
            ((uint64_t *)sum)[k] += ((const uint64_t *)&one)[k];
        }
    }
    return any;
}

const struct accel_ops accel_soft = {
    .name = "tcg",
    .one_insn = true,
    .one_thread = true,
    .probe = soft_probe,
    .init = soft_init,
    .finish = soft_finish,
    .vcpu = &soft_vcpu_ops,
    .send_msi = soft_send_msi,
    .set_extint = soft_set_extint,
    .pulse_lint1 = soft_pulse_lint1,
    .translation_stats = soft_translation_stats,
};
