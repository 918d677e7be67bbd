/*
 * x86 vCPUs in streams: see cpu/vcpu-stream.h. Two sections: the registers (state-fields.h), and
 * what Godwit knows of the vCPU beside them.
 */
#include "cpu/vcpu-stream.h"

#include "cpu/x86/cpu-features.h"
#include "cpu/x86/state-fields.h"
#include "cpu/x86/state.h"
#include <string.h>

G_STATIC_ASSERT((unsigned)W__MAX <= CPUS_FEATURE_WORDS_MAX);

struct vcpu_own {
    uint64_t crash_arg[5]; /* what the guest said of its crash, by the Hyper-V crash registers */
    bool crashed;
    bool stuck; /* after a shutdown or an internal error: it executes nothing */
    uint8_t pad[6];
};

static const struct state_field own_fields[] = {
    STATE_ARRAY(struct vcpu_own, crash_arg),
    STATE(struct vcpu_own, crashed),
    STATE(struct vcpu_own, stuck),
    STATE_PAD(struct vcpu_own, pad),
    {0},
};

static const struct state_desc own_desc = {
    .name = "vcpu",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct vcpu_own),
    .fields = own_fields,
};

struct vcpu_stream_state {
    struct cpu_state cpu;
    struct vcpu_own own;
};

/* ---- features */

const char *cpus_model_name(const struct cpus *cpus)
{
    return cpus->model->name;
}

unsigned cpus_feature_words(const struct cpus *cpus, uint32_t words[CPUS_FEATURE_WORDS_MAX])
{
    memcpy(words, cpus->model->word, sizeof(cpus->model->word));
    return W__MAX;
}

static void add_name(GString *names, size_t word, unsigned bit)
{
    const char *name = word < W__MAX ? cpu_feature_bit_name((unsigned)word, bit) : NULL;

    if (names->len) {
        g_string_append(names, ", ");
    }
    if (name) {
        g_string_append(names, name);
    } else {
        g_string_append_printf(names, "word %zu bit %u", word, bit);
    }
}

/* A guest that uses one of cpu_features_of_kvm() has an MSR of KVM's set, which is refused where
 * there is none; one that does not use it will not miss it. */
char *cpus_lacking_features(const struct cpus *cpus, const uint32_t *words, size_t n)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < n && i < CPUS_FEATURE_WORDS_MAX; i++) {
        uint32_t here = i < W__MAX ? cpus->model->word[i] : 0;
        uint32_t lacking = words[i] & ~(here | (i == W_KVM_EAX ? cpu_features_of_kvm() : 0));

        for (; lacking; lacking &= lacking - 1) {
            add_name(names, i, (unsigned)__builtin_ctz(lacking));
        }
    }
    return names->len ? g_strdup(names->str) : NULL;
}

/* ---- state */

void vcpu_stream_save(struct vcpu *vcpu, GByteArray *out)
{
    g_autofree struct cpu_state *cpu = g_new0(struct cpu_state, 1);
    struct vcpu_own own = {.crashed = vcpu->crashed, .stuck = vcpu->stuck};

    memcpy(own.crash_arg, vcpu->crash_arg, sizeof(own.crash_arg));
    vcpu->ops->get(vcpu, cpu, ST_ALL);
    state_save(&cpu_state_desc, cpu, out);
    state_save(&own_desc, &own, out);
}

struct vcpu_stream_state *vcpu_stream_load(struct state_input *in, const char *who, GError **error)
{
    struct vcpu_stream_state *state = g_new0(struct vcpu_stream_state, 1);

    if (!state_load(&cpu_state_desc, &state->cpu, in, who, error) ||
        !state_load(&own_desc, &state->own, in, who, error)) {
        g_free(state);
        return NULL;
    }
    return state;
}

bool vcpu_stream_apply(struct vcpu *vcpu, const struct vcpu_stream_state *state, GError **error)
{
    if (!vcpu->ops->set(vcpu, &state->cpu, ST_ALL, error)) {
        g_prefix_error(error, "CPU %u: ", vcpu->index);
        return false;
    }
    memcpy(vcpu->crash_arg, state->own.crash_arg, sizeof(vcpu->crash_arg));
    vcpu->crashed = state->own.crashed;
    vcpu->stuck = state->own.stuck;
    return true;
}
