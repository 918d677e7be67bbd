/*
 * vCPUs in streams: what whoever saves and loads a machine needs to know of them, whatever their
 * architecture and accelerator.
 *
 * All vCPUs are parked. Machine lock held.
 */
#ifndef CPU_VCPU_STREAM_H
#define CPU_VCPU_STREAM_H

#include "base/state.h"
#include "cpu/vcpu.h"

/* The name of the CPU model that the guest is shown. */
const char *cpus_model_name(const struct cpus *cpus);
/* The features that it is shown, as words; their order is the stream's. */
#define CPUS_FEATURE_WORDS_MAX 64
unsigned cpus_feature_words(const struct cpus *cpus, uint32_t words[CPUS_FEATURE_WORDS_MAX]);
/* Names of those of the features that are not shown here, comma-separated; NULL: none. What is
 * beyond the words that are known here counts by its bits. To be freed. */
char *cpus_lacking_features(const struct cpus *cpus, const uint32_t *words, size_t n);

/* Appends the registers and what else there is to know of the vCPU. */
void vcpu_stream_save(struct vcpu *vcpu, GByteArray *out);
/* Reads that; the vCPU is as it was. who: for messages. NULL and *error; freed with g_free(). */
struct vcpu_stream_state;
struct vcpu_stream_state *vcpu_stream_load(struct state_input *in, const char *who, GError **error);
/* Puts it into the vCPU. false and *error when no processor can be in that state. */
bool vcpu_stream_apply(struct vcpu *vcpu, const struct vcpu_stream_state *state, GError **error);

#endif
