/*
 * Constant properties of a vCPU's object: what its model is (as CPUID has it), and where it sits.
 * The model's features are properties, too; cmd-qom.c has them from the table of features.
 */
#include "monitor/qom-vcpu.h"

#include "cpu/x86/cpu-features.h"
#include "machine/cpu-hotplug.h"
#include <string.h>

static struct json_object *number(uint64_t value)
{
    return json_object_new_int64((int64_t)value);
}

static struct cpuid_leaf leaf_of(const struct machine *m, const struct vcpu *vcpu, uint32_t leaf)
{
    return cpu_model_cpuid(m->cpu_model, vcpu->index, leaf, 0);
}

static struct json_object *get_level(const struct machine *m, const struct vcpu *vcpu)
{
    return number(leaf_of(m, vcpu, 0).eax);
}

static struct json_object *get_xlevel(const struct machine *m, const struct vcpu *vcpu)
{
    uint32_t last = leaf_of(m, vcpu, 0x80000000).eax;

    return number(last >> 31 ? last : 0); /* without such leaves another one answers */
}

static struct json_object *get_level_func7(const struct machine *m, const struct vcpu *vcpu)
{
    return number(leaf_of(m, vcpu, 0).eax >= 7 ? leaf_of(m, vcpu, 7).eax : 0);
}

/* SDM volume 2, CPUID, "version information". */
static struct json_object *get_family(const struct machine *m, const struct vcpu *vcpu)
{
    uint32_t signature = leaf_of(m, vcpu, 1).eax, family = signature >> 8 & 0xf;

    return number(family == 0xf ? family + (signature >> 20 & 0xff) : family);
}

static struct json_object *get_model(const struct machine *m, const struct vcpu *vcpu)
{
    uint32_t signature = leaf_of(m, vcpu, 1).eax;

    return number((signature >> 4 & 0xf) | (signature >> 12 & 0xf0));
}

static struct json_object *get_stepping(const struct machine *m, const struct vcpu *vcpu)
{
    return number(leaf_of(m, vcpu, 1).eax & 0xf);
}

static struct json_object *get_vendor(const struct machine *m, const struct vcpu *vcpu)
{
    const struct cpuid_leaf leaf = leaf_of(m, vcpu, 0);
    const uint32_t words[] = {leaf.ebx, leaf.edx, leaf.ecx};
    char text[sizeof(words) + 1] = "";

    memcpy(text, words, sizeof(words));
    return json_object_new_string(text);
}

static struct json_object *get_model_id(const struct machine *m, const struct vcpu *vcpu)
{
    char text[49] = "";

    for (unsigned i = 0; i < 3; i++) {
        const struct cpuid_leaf leaf = leaf_of(m, vcpu, 0x80000002 + i);
        const uint32_t words[] = {leaf.eax, leaf.ebx, leaf.ecx, leaf.edx};

        memcpy(text + i * sizeof(words), words, sizeof(words));
    }
    return json_object_new_string(text);
}

static struct json_object *get_phys_bits(const struct machine *m, const struct vcpu *vcpu)
{
    return number(m->cpu_model->phys_bits);
}

static struct json_object *get_socket_id(const struct machine *m, const struct vcpu *vcpu)
{
    return number(machine_cpu_place(m, vcpu->index).socket);
}

static struct json_object *get_die_id(const struct machine *m, const struct vcpu *vcpu)
{
    return number(machine_cpu_place(m, vcpu->index).die);
}

static struct json_object *get_core_id(const struct machine *m, const struct vcpu *vcpu)
{
    return number(machine_cpu_place(m, vcpu->index).core);
}

static struct json_object *get_thread_id(const struct machine *m, const struct vcpu *vcpu)
{
    return number(machine_cpu_place(m, vcpu->index).thread);
}

static struct json_object *get_node_id(const struct machine *m, const struct vcpu *vcpu)
{
    const uint8_t *of_cpu = m->config->numa.of_cpu;

    return json_object_new_int64(of_cpu ? of_cpu[vcpu->index] : -1);
}

static struct json_object *get_realized(const struct machine *m, const struct vcpu *vcpu)
{
    return json_object_new_boolean(true);
}

static struct json_object *get_hotplugged(const struct machine *m, const struct vcpu *vcpu)
{
    return json_object_new_boolean(vcpu->plugged);
}

/* The schema module machine-target's way to tell of feature bits (X86CPUFeatureWordInfo). */
static struct json_object *words_list(const uint32_t word[W__MAX])
{
    static const char *const registers[] = {"EAX", "EBX", "ECX", "EDX"};
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < W__MAX; i++) {
        const struct cpuid_word_desc *desc = &cpuid_words[i];
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "cpuid-register",
                               json_object_new_string(registers[desc->reg]));
        if (desc->leaf == 7 || desc->leaf == 0xd) {
            json_object_object_add(entry, "cpuid-input-ecx", number(desc->subleaf));
        }
        json_object_object_add(entry, "cpuid-input-eax", number(desc->leaf));
        json_object_object_add(entry, "features", number(word[i]));
        json_object_array_add(list, entry);
    }
    return list;
}

static struct json_object *get_feature_words(const struct machine *m, const struct vcpu *vcpu)
{
    return words_list(m->cpu_model->word);
}

static struct json_object *get_filtered_features(const struct machine *m, const struct vcpu *vcpu)
{
    return words_list(m->cpu_model->lost);
}

const struct qom_vcpu_property qom_vcpu_properties[] = {
    {"family", "int", get_family},
    {"model", "int", get_model},
    {"stepping", "int", get_stepping},
    {"level", "uint32", get_level},
    {"level-func7", "uint32", get_level_func7},
    {"xlevel", "uint32", get_xlevel},
    {"vendor", "string", get_vendor},
    {"model-id", "string", get_model_id},
    {"phys-bits", "uint32", get_phys_bits},
    {"socket-id", "int32", get_socket_id},
    {"die-id", "int32", get_die_id},
    {"core-id", "int32", get_core_id},
    {"thread-id", "int32", get_thread_id},
    {"node-id", "int32", get_node_id},
    {"realized", "bool", get_realized},
    {"hotplugged", "bool", get_hotplugged},
    {"hotpluggable", "bool", get_realized},
    {"feature-words", "X86CPUFeatureWordInfo", get_feature_words},
    {"filtered-features", "X86CPUFeatureWordInfo", get_filtered_features},
    {0},
};

const struct qom_vcpu_property *qom_vcpu_property_find(const char *name)
{
    for (const struct qom_vcpu_property *p = qom_vcpu_properties; p->name; p++) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}
