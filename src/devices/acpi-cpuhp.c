/*
 * acpi-cpu-hotplug: the registers through which ACPI methods tell a guest of processors that have
 * come or are to go, and hear what it says (after QEMU's docs/specs/acpi_cpu_hotplug, in its later
 * form, which is there from the start).
 *
 * From the base: write 0: the processor that all else is about. 4: read bit 0 it is there, 1 it has
 * come, 2 it is to go; write 1 to bit 1 or 2 to acknowledge, to bit 3 to let it go. Write 5: a
 * command, 0 to look for a processor with news, from the selected one on, 1 and 2 that _OST's event
 * and status are the next data, 3 that the data are the local APIC's id. 8: the command's data.
 * General purpose event 2 tells of news.
 */
#include "devices/acpi-cpuhp.h"

#include "devices/acpi-pm.h"
#include "qapi-events.h"

#define GPE                2
#define MAX_CPUS           255

#define REG_SELECT         0
#define REG_FLAGS          4
#define REG_COMMAND        5
#define REG_DATA           8
#define FLAG_ENABLED       1
#define FLAG_COME          2
#define FLAG_TO_GO         4
#define FLAG_EJECT         8
#define COMMAND_NEXT       0
#define COMMAND_OST_EVENT  1
#define COMMAND_OST_STATUS 2
#define COMMAND_APIC_ID    3

#define OST_EJECT_REQUEST  3
#define OST_SUCCESS        0
#define OST_IN_PROGRESS    0x84

struct acpi_cpuhp_state {
    uint32_t selected;
    uint32_t ost_event[MAX_CPUS], ost_status[MAX_CPUS];
    bool come[MAX_CPUS], to_go[MAX_CPUS], asked[MAX_CPUS];
    bool gone[MAX_CPUS]; /* let go: soon it is not there any more */
    uint8_t command;
    uint8_t pad[3];
};

static const struct state_field acpi_cpuhp_fields[] = {
    STATE(struct acpi_cpuhp_state, selected),
    STATE_ARRAY(struct acpi_cpuhp_state, ost_event),
    STATE_ARRAY(struct acpi_cpuhp_state, ost_status),
    STATE_ARRAY(struct acpi_cpuhp_state, come),
    STATE_ARRAY(struct acpi_cpuhp_state, to_go),
    STATE_ARRAY(struct acpi_cpuhp_state, asked),
    STATE_ARRAY(struct acpi_cpuhp_state, gone),
    STATE(struct acpi_cpuhp_state, command),
    STATE_PAD(struct acpi_cpuhp_state, pad),
    {0},
};

static const struct state_desc acpi_cpuhp_desc = {
    .name = "acpi-cpu-hotplug",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct acpi_cpuhp_state),
    .fields = acpi_cpuhp_fields,
};

struct acpi_cpuhp {
    struct device dev;
    struct acpi_cpuhp_state s;
    struct device *pm;
    struct region region;
};

static unsigned count(const struct acpi_cpuhp *d)
{
    return d->dev.env->cpus ? MIN(d->dev.env->cpus->max, MAX_CPUS) : 0;
}

static struct vcpu *vcpu_of(const struct acpi_cpuhp *d, unsigned index)
{
    return index < count(d) ? cpus_find(d->dev.env->cpus, index) : NULL;
}

void acpi_cpuhp_plugged(struct device *cpuhp, unsigned index)
{
    struct acpi_cpuhp *d = (struct acpi_cpuhp *)cpuhp;

    d->s.come[index] = true;
    d->s.gone[index] = false;
    acpi_pm_set_gpe(d->pm, GPE);
}

void acpi_cpuhp_ask(struct device *cpuhp, unsigned index)
{
    struct acpi_cpuhp *d = (struct acpi_cpuhp *)cpuhp;

    d->s.to_go[index] = d->s.asked[index] = true;
    acpi_pm_set_gpe(d->pm, GPE);
}

void acpi_cpuhp_ost(const struct device *cpuhp, unsigned index, uint32_t *event, uint32_t *status)
{
    const struct acpi_cpuhp *d = (const struct acpi_cpuhp *)cpuhp;

    *event = d->s.ost_event[index];
    *status = d->s.ost_status[index];
}

/* ---- what the guest says */

static void tell_ost(struct acpi_cpuhp *d, unsigned index)
{
    struct vcpu *vcpu = vcpu_of(d, index);
    uint32_t event = d->s.ost_event[index], status = d->s.ost_status[index];
    g_autofree char *number = g_strdup_printf("%u", index);
    struct acpiost_info info = {.device = vcpu ? vcpu->id : NULL,
                                .slot = number,
                                .slot_type = ACPI_SLOT_TYPE_CPU,
                                .source = event,
                                .status = status};

    qapi_event_send_acpi_device_ost(d->dev.env->events, &info);
    if (vcpu && d->s.asked[index] && event == OST_EJECT_REQUEST && status != OST_SUCCESS &&
        status != OST_IN_PROGRESS) {
        d->s.asked[index] = false;
        system_note_cpu_kept(d->dev.env, vcpu);
    }
}

static void write_flags(struct acpi_cpuhp *d, unsigned index, uint8_t value)
{
    struct vcpu *vcpu = vcpu_of(d, index);

    if (value & FLAG_COME) {
        d->s.come[index] = false;
    } else if (value & FLAG_TO_GO) {
        d->s.to_go[index] = false;
    } else if ((value & FLAG_EJECT) && vcpu && index > 0) {
        d->s.come[index] = d->s.to_go[index] = d->s.asked[index] = false;
        d->s.gone[index] = true;
        system_request_cpu_out(d->dev.env, index);
    }
}

static void write_command(struct acpi_cpuhp *d, uint8_t command)
{
    unsigned n = count(d);

    d->s.command = command;
    for (unsigned i = 0; command == COMMAND_NEXT && i < n; i++) {
        unsigned index = (unsigned)((d->s.selected + (uint64_t)i) % n);

        if (d->s.come[index] || d->s.to_go[index]) {
            d->s.selected = index;
            return;
        }
    }
}

/* ---- registers */

static uint64_t cpuhp_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct acpi_cpuhp *d = opaque;
    unsigned index = d->s.selected;
    const struct vcpu *vcpu = vcpu_of(d, index);

    if (index >= count(d)) {
        return 0;
    }
    switch (offset) {
    case REG_FLAGS:
        return (vcpu && !d->s.gone[index] ? FLAG_ENABLED : 0) | (d->s.come[index] ? FLAG_COME : 0) |
               (d->s.to_go[index] ? FLAG_TO_GO : 0);
    case REG_DATA:
        return d->s.command == COMMAND_NEXT                      ? index
               : d->s.command == COMMAND_APIC_ID && vcpu != NULL ? vcpu->apic_id
                                                                 : 0;
    default:
        return 0;
    }
}

static void cpuhp_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct acpi_cpuhp *d = opaque;
    unsigned index = d->s.selected;

    if (offset == REG_SELECT) {
        d->s.selected = (uint32_t)value;
        return;
    }
    if (index >= count(d)) {
        return;
    }
    switch (offset) {
    case REG_FLAGS:
        write_flags(d, index, (uint8_t)value);
        break;
    case REG_COMMAND:
        write_command(d, (uint8_t)value);
        break;
    case REG_DATA:
        if (d->s.command == COMMAND_OST_EVENT) {
            d->s.ost_event[index] = (uint32_t)value;
        } else if (d->s.command == COMMAND_OST_STATUS) {
            d->s.ost_status[index] = (uint32_t)value;
            tell_ost(d, index);
        }
        break;
    default:
        break;
    }
}

static const struct region_ops cpuhp_ops = {
    .read = cpuhp_read, .write = cpuhp_write, .min_size = 1, .max_size = 4};

/* ---- class */

static void acpi_cpuhp_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct acpi_cpuhp *)dev)->region);
}

static void acpi_cpuhp_reset(struct device *dev, enum reset_kind kind)
{
    ((struct acpi_cpuhp *)dev)->s = (struct acpi_cpuhp_state){0};
}

const struct device_class acpi_cpuhp_class = {
    .name = "acpi-cpu-hotplug",
    .help = "hot plug of processors by ACPI",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct acpi_cpuhp),
    .state = &acpi_cpuhp_desc,
    .state_offset = offsetof(struct acpi_cpuhp, s),
    .unrealize = acpi_cpuhp_unrealize,
    .reset = acpi_cpuhp_reset,
};

struct device *acpi_cpuhp_create(struct device_env *env, uint16_t base, struct device *pm,
                                 GError **error)
{
    struct device *dev = device_new(&acpi_cpuhp_class, env);
    struct acpi_cpuhp *d = (struct acpi_cpuhp *)dev;

    d->pm = pm;
    d->region = (struct region){.name = "acpi-cpu-hotplug",
                                .kind = REGION_IO,
                                .size = ACPI_CPUHP_BYTES,
                                .ops = &cpuhp_ops,
                                .opaque = d};
    if (!device_realize(dev, error)) {
        return NULL;
    }
    address_space_map(env->io, base, &d->region, 0);
    return dev;
}
