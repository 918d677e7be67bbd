/* Guest code as text: see disas.h. */
#include "cpu/x86/disas.h"

#include "cpu/x86/state.h"
#include <string.h>

enum disas_mode disas_mode_of(struct vcpu *vcpu)
{
    g_autofree struct cpu_state *st = g_new0(struct cpu_state, 1);

    vcpu->ops->get(vcpu, st, ST_SREGS);
    if ((st->sregs.efer & EFER_LMA) && st->sregs.cs.l) {
        return DISAS_64;
    }
    return st->sregs.cs.db ? DISAS_32 : DISAS_16;
}

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>

#define MNEMONIC_WIDTH 8

bool disas_available(void)
{
    return true;
}

static void decoder_init(ZydisDecoder *decoder, enum disas_mode mode)
{
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } modes[] = {
        [DISAS_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        [DISAS_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        [DISAS_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };

    ZydisDecoderInit(decoder, modes[mode].machine, modes[mode].stack);
}

static void formatter_init(ZydisFormatter *formatter)
{
    ZydisFormatterInit(formatter, ZYDIS_FORMATTER_STYLE_ATT);
    ZydisFormatterSetProperty(formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(formatter, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE,
                              ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(formatter, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(formatter, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
}

unsigned disas_insn(enum disas_mode mode, uint64_t addr, const uint8_t *bytes, size_t n,
                    GString *text)
{
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction insn;
    ZydisFormatter formatter;
    ZydisDecoder decoder;
    char line[128];
    size_t word;

    decoder_init(&decoder, mode);
    formatter_init(&formatter);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, n, &insn, operands)) ||
        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &insn, operands,
                                                      insn.operand_count_visible, line,
                                                      sizeof(line), addr, ZYAN_NULL))) {
        return 0;
    }
    word = strcspn(line, " ");
    if (line[word]) {
        line[word] = '\0';
        g_string_append_printf(text, "%-*s %s", MNEMONIC_WIDTH, line, line + word + 1);
    } else {
        g_string_append(text, line);
    }
    return insn.length;
}

#else

bool disas_available(void)
{
    return false;
}

unsigned disas_insn(enum disas_mode mode, uint64_t addr, const uint8_t *bytes, size_t n,
                    GString *text)
{
    return 0;
}

#endif
