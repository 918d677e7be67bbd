/*
 * The human monitor's commands about vCPUs: which there are and which one commands are about, their
 * registers, machine checks, and how the software CPU executes guest code.
 */
#include "monitor/hmp-priv.h"

#include "cpu/x86/mce.h"
#include "cpu/x86/print.h"
#include <inttypes.h>
#include <string.h>

static void info_cpus(struct hmp *h, struct json_object *args)
{
    for (unsigned i = 0; h->m->cpus && i < h->m->cpus->n; i++) {
        const struct vcpu *vcpu = h->m->cpus->vcpu[i];

        hmp_print(h, "%c CPU #%u: thread_id=%" PRIu64 "\n", vcpu == h->vcpu ? '*' : ' ',
                  vcpu->index, vcpu->thread_id);
    }
}

static void run_cpu(struct hmp *h, struct json_object *args)
{
    struct vcpu *vcpu = machine_vcpu(h->m, (int64_t)hmp_number(args, "index"));

    if (vcpu) {
        h->vcpu = vcpu;
    } else {
        hmp_print(h, "invalid CPU index\n");
    }
}

/* ---- registers */

static void print_registers(struct hmp *h, struct vcpu *vcpu)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);

    machine_park_begin(h->m);
    vcpu->ops->get(vcpu, state, CPU_PRINT_STATE);
    machine_park_end(h->m);
    hmp_print(h, "\nCPU#%u\n", vcpu->index);
    cpu_state_print(state, h->out);
}

static void info_registers(struct hmp *h, struct json_object *args)
{
    struct vcpu *vcpu = h->vcpu;

    if (hmp_flag(args, "all")) {
        for (unsigned i = 0; h->m->cpus && i < h->m->cpus->n; i++) {
            print_registers(h, h->m->cpus->vcpu[i]);
        }
        return;
    }
    if (hmp_has(args, "vcpu")) {
        vcpu = machine_vcpu(h->m, (int64_t)hmp_number(args, "vcpu"));
        if (!vcpu) {
            hmp_print(h, "CPU#%" PRIu64 " not available\n", hmp_number(args, "vcpu"));
            return;
        }
    }
    if (vcpu) {
        print_registers(h, vcpu);
    } else {
        hmp_print(h, "No CPU available\n");
    }
}

static void info_lapic(struct hmp *h, struct json_object *args)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    struct vcpu *vcpu = h->vcpu;

    if (hmp_has(args, "apic_id")) {
        vcpu = NULL;
        for (unsigned i = 0; h->m->cpus && i < h->m->cpus->n; i++) {
            if (h->m->cpus->vcpu[i]->apic_id == hmp_number(args, "apic_id")) {
                vcpu = h->m->cpus->vcpu[i];
            }
        }
    }
    if (!vcpu) {
        hmp_print(h, "No CPU available\n");
        return;
    }
    machine_park_begin(h->m);
    vcpu->ops->get(vcpu, state, ST_SREGS | ST_LAPIC);
    machine_park_end(h->m);
    hmp_print(h, "dumping local APIC state for CPU %-2u\n\n", vcpu->index);
    lapic_state_print(state, h->out);
}

/* ---- machine checks */

static void run_mce(struct hmp *h, struct json_object *args)
{
    struct vcpu *vcpu = machine_vcpu(h->m, (int64_t)hmp_number(args, "cpu"));
    const struct mce mce = {
        (unsigned)hmp_number(args, "bank"), hmp_number(args, "status"),
        hmp_number(args, "mcg_status"),     hmp_number(args, "addr"),
        hmp_number(args, "misc"),
    };

    if (vcpu) {
        machine_inject_mce(h->m, vcpu, &mce, hmp_flag(args, "broadcast"), h->out);
    }
}

/* ---- how guest code is executed */

static void info_jit(struct hmp *h, struct json_object *args)
{
    struct cpus *cpus = h->m->cpus;
    struct translation_stats s;

    if (!cpus || !cpus->accel->translation_stats || !cpus->accel->translation_stats(cpus, &s)) {
        hmp_print(h, "Guest code is not translated\n");
        return;
    }
    const struct {
        const char *what;
        uint64_t n;
    } line[] = {
        {"regions translated", s.units},
        {"instructions in them", s.insns},
        {"bytes of host code", s.code_bytes},
        {"bytes of the cache in use", s.used_bytes},
        {"entered by the interpreter", s.enters},
        {"dispatched to another region", s.dispatches},
        {"direct links made", s.links},
        {"instructions handed to the interpreter", s.handlers},
        {"left for the interpreter", s.leaves},
        {"... because of a request", s.leaves_req},
        {"regions dropped, code changed", s.invalidations},
        {"cache flushes", s.flushes},
        {"places refused", s.refused},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(line); i++) {
        hmp_print(h, "%-40s %" G_GUINT64_FORMAT "\n", line[i].what, line[i].n);
    }
    if (s.lockstep) {
        g_string_append_printf(h->out,
                               "Compared with the interpreter: %" G_GUINT64_FORMAT
                               " instructions in %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
                               " of them more than once\n",
                               s.lockstep_insns, s.lockstep_steps, s.lockstep_retries);
    }
}

static void run_singlestep(struct hmp *h, struct json_object *args)
{
    const char *option = hmp_string(args, "option");
    bool off = g_strcmp0(option, "off") == 0;
    g_autoptr(GError) error = NULL;

    if (option && !off && strcmp(option, "on") != 0) {
        hmp_print(h, "unexpected option %s\n", option);
    } else if (h->m->cpus) {
        machine_park_begin(h->m);
        cpus_set_one_insn(h->m->cpus, !off, &error);
        machine_park_end(h->m);
        hmp_print_error(h, error);
    }
}

const struct hmp_command hmp_cpu_commands[] = {
    {"cpu", NULL, "index", "choose the vCPU that commands are about", "index:i", .run = run_cpu},
    {"info cpus", NULL, "", "vCPUs, and which one commands are about", .run = info_cpus},
    {"info jit", NULL, "", "what the translator of guest code has done", .run = info_jit},
    {"info lapic", NULL, "[apic-id]", "registers of this vCPU's local APIC, or of one",
     "apic_id:i?", .run = info_lapic},
    {"info registers", NULL, "[-a|vcpu]", "registers of this vCPU, of all, or of one",
     "all:-a vcpu:i?", .run = info_registers},
    {"mce", NULL, "[-b] cpu bank status mcgstatus addr misc",
     "inject a machine check into a vCPU [-b: and tell all the others]",
     "broadcast:-b cpu:i bank:i status:l mcg_status:l addr:l misc:l", .run = run_mce},
    {"singlestep", NULL, "[on|off]",
     "have the software CPU execute one instruction at a time, or no longer", "option:s?",
     .run = run_singlestep},
    {0}};
