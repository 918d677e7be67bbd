/*
 * CMP and TEST with the conditional branch that follows: one handler runs both ops, saving a
 * dispatch. The flags are stored as always, but the branch is decided by a compare of the host's.
 *
 * Fusing replaces only the first op's handler. The branch stays behind it: the pair's slow paths go
 * on with it, and a fused handler takes target and link from there.
 */
#include "cpu/x86/soft/op-int.h"

/* Goes on as the branch op o says. */
#define BRANCH(taken)                                                                              \
    do {                                                                                           \
        o++;                                                                                       \
        if (taken) {                                                                               \
            if (likely(o->next != NULL)) {                                                         \
                ENTER_BLOCK(o->next, o->disp);                                                     \
            }                                                                                      \
            return take_direct(c, o, c->r[R_BLOCK] + o->imm);                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    } while (0)

/* Conditions after a - b. OF and PF (cc 0, 1, a, b) come from the flags just stored. */
#define DEFINE_CONDITIONS(bits)                                                                    \
    static inline __attribute__((always_inline)) bool cmp_is##bits(                                \
        const struct cpu *c, unsigned cc, uint##bits##_t a, uint##bits##_t b)                      \
    {                                                                                              \
        bool yes;                                                                                  \
        switch (cc >> 1) {                                                                         \
        case 1:                                                                                    \
            yes = a < b;                                                                           \
            break;                                                                                 \
        case 2:                                                                                    \
            yes = a == b;                                                                          \
            break;                                                                                 \
        case 3:                                                                                    \
            yes = a <= b;                                                                          \
            break;                                                                                 \
        case 4:                                                                                    \
            yes = (int##bits##_t)(a - b) < 0;                                                      \
            break;                                                                                 \
        case 6:                                                                                    \
            yes = (int##bits##_t)a < (int##bits##_t)b;                                             \
            break;                                                                                 \
        case 7:                                                                                    \
            yes = (int##bits##_t)a <= (int##bits##_t)b;                                            \
            break;                                                                                 \
        default:                                                                                   \
            return flags_condition(c, cc);                                                         \
        }                                                                                          \
        return cc & 1 ? !yes : yes;                                                                \
    }                                                                                              \
    /* After a & b: CF and OF are 0. */                                                            \
    static inline __attribute__((always_inline)) bool test_is##bits(                               \
        const struct cpu *c, unsigned cc, uint##bits##_t a, uint##bits##_t b)                      \
    {                                                                                              \
        return (cc >> 1) == 5 ? flags_condition(c, cc) : cmp_is##bits(c, cc, a & b, 0);            \
    }
DEFINE_CONDITIONS(8)
DEFINE_CONDITIONS(32)
DEFINE_CONDITIONS(64)

#define FUSED_PLAIN(name, is, arith, bits, cc, form, a_expr, b_expr)                               \
    static OP(op_##name##_##form##bits##_j##cc)                                                    \
    {                                                                                              \
        uint##bits##_t a = (a_expr), b = (b_expr);                                                 \
        arith##bits(c, a, b);                                                                      \
        BRANCH(is##bits(c, 0x##cc, a, b));                                                         \
    }

#define FUSED_MEMORY(name, is, arith, bits, cc, form, a_expr, b_expr)                              \
    static OP(op_##name##_##form##bits##_j##cc)                                                    \
    {                                                                                              \
        PLAIN_OR_TWIN(op_##name##_##form##bits)                                                    \
        FAST_OR_TWIN(op_##name##_##form##bits, ea_plain(c, o), read, bits / 8)                     \
        uint##bits##_t v = *(const guest##bits *)host_;                                            \
        uint##bits##_t a = (a_expr), b = (b_expr);                                                 \
        arith##bits(c, a, b);                                                                      \
        BRANCH(is##bits(c, 0x##cc, a, b));                                                         \
    }

/* Of the memory forms: the compare alone; the branch op comes next. */
#define SLOW_COMPARE(name, arith, bits, form, a_expr, b_expr)                                      \
    SLOW_TWIN OP(op_##name##_##form##bits##_slow)                                                  \
    {                                                                                              \
        uint##bits##_t v = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                          \
        arith##bits(c, a_expr, b_expr);                                                            \
        NEXT;                                                                                      \
    }

/* clang-format does not settle on one form of this. */
/* clang-format off */
#define EACH_CONDITION(M, ...)                                                                     \
    M(__VA_ARGS__, 0) M(__VA_ARGS__, 1) M(__VA_ARGS__, 2) M(__VA_ARGS__, 3) \
    M(__VA_ARGS__, 4) M(__VA_ARGS__, 5) M(__VA_ARGS__, 6) M(__VA_ARGS__, 7) \
    M(__VA_ARGS__, 8) M(__VA_ARGS__, 9) M(__VA_ARGS__, a) M(__VA_ARGS__, b) \
    M(__VA_ARGS__, c) M(__VA_ARGS__, d) M(__VA_ARGS__, e) M(__VA_ARGS__, f)
/* clang-format on */

#define PAIR_RR(name, is, arith, bits, cc)                                                         \
    FUSED_PLAIN(name, is, arith, bits, cc, rr, RD##bits(o->dst), RD##bits(o->src))
#define PAIR_RI(name, is, arith, bits, cc)                                                         \
    FUSED_PLAIN(name, is, arith, bits, cc, ri, RD##bits(o->dst), o->imm)
#define PAIR_MI(name, is, arith, bits, cc) FUSED_MEMORY(name, is, arith, bits, cc, mi, v, o->imm)
#define PAIR_MR(name, is, arith, bits, cc)                                                         \
    FUSED_MEMORY(name, is, arith, bits, cc, mr, v, RD##bits(o->src))
#define PAIR_RM(name, is, arith, bits, cc)                                                         \
    FUSED_MEMORY(name, is, arith, bits, cc, rm, RD##bits(o->dst), v)

#define TABLE_ENTRY(name, form, bits, cc) op_##name##_##form##bits##_j##cc,
#define TABLE(name, form, bits)                                                                    \
    static const op_fn pairs_##name##_##form##bits[16] = {                                         \
        EACH_CONDITION(TABLE_ENTRY, name, form, bits)};

#define CMP_PLAIN(bits)                                                                            \
    EACH_CONDITION(PAIR_RR, cmp, cmp_is, arith_sub, bits)                                          \
    EACH_CONDITION(PAIR_RI, cmp, cmp_is, arith_sub, bits)                                          \
    TABLE(cmp, rr, bits)                                                                           \
    TABLE(cmp, ri, bits)
#define CMP_MEMORY(bits)                                                                           \
    SLOW_COMPARE(cmp, arith_sub, bits, mi, v, o->imm)                                              \
    SLOW_COMPARE(cmp, arith_sub, bits, mr, v, RD##bits(o->src))                                    \
    SLOW_COMPARE(cmp, arith_sub, bits, rm, RD##bits(o->dst), v)                                    \
    EACH_CONDITION(PAIR_MI, cmp, cmp_is, arith_sub, bits)                                          \
    EACH_CONDITION(PAIR_MR, cmp, cmp_is, arith_sub, bits)                                          \
    EACH_CONDITION(PAIR_RM, cmp, cmp_is, arith_sub, bits)                                          \
    TABLE(cmp, mi, bits)                                                                           \
    TABLE(cmp, mr, bits)                                                                           \
    TABLE(cmp, rm, bits)
#define TEST_PLAIN(bits)                                                                           \
    EACH_CONDITION(PAIR_RR, test, test_is, arith_and, bits)                                        \
    TABLE(test, rr, bits)

CMP_PLAIN(8)
CMP_PLAIN(32)
CMP_PLAIN(64)
CMP_MEMORY(8)
CMP_MEMORY(32)
CMP_MEMORY(64)
TEST_PLAIN(8)
TEST_PLAIN(32)
TEST_PLAIN(64)
EACH_CONDITION(PAIR_RI, test, test_is, arith_and, 8)
EACH_CONDITION(PAIR_RI, test, test_is, arith_and, 32)
TABLE(test, ri, 8)
TABLE(test, ri, 32)
SLOW_COMPARE(test, arith_and, 8, mi, v, o->imm)
EACH_CONDITION(PAIR_MI, test, test_is, arith_and, 8)
TABLE(test, mi, 8)

op_fn fused_with_branch(op_fn first, unsigned condition)
{
    const struct {
        op_fn first;
        const op_fn *pairs;
    } table[] = {
        {forms_cmp_eg[FORM_REG + 3], pairs_cmp_rr64},
        {forms_test_eg[FORM_REG + 2], pairs_test_rr32},
        {forms_test_eg[FORM_REG + 3], pairs_test_rr64},
        {forms_test_eg[FORM_REG + 0], pairs_test_rr8},
        {forms_cmp_ei[FORM_REG + 2], pairs_cmp_ri32},
        {forms_cmp_ei[FORM_REG + 3], pairs_cmp_ri64},
        {forms_cmp_eg[FORM_REG + 2], pairs_cmp_rr32},
        {forms_cmp_ei[FORM_REG + 0], pairs_cmp_ri8},
        {forms_cmp_eg[FORM_REG + 0], pairs_cmp_rr8},
        {forms_test_ei[FORM_REG + 0], pairs_test_ri8},
        {forms_test_ei[FORM_REG + 2], pairs_test_ri32},
        {forms_cmp_ei[FORM_MEM + 0], pairs_cmp_mi8},
        {forms_cmp_ei[FORM_MEM + 2], pairs_cmp_mi32},
        {forms_cmp_ei[FORM_MEM + 3], pairs_cmp_mi64},
        {forms_cmp_eg[FORM_MEM + 0], pairs_cmp_mr8},
        {forms_cmp_eg[FORM_MEM + 2], pairs_cmp_mr32},
        {forms_cmp_eg[FORM_MEM + 3], pairs_cmp_mr64},
        {forms_cmp_ge[FORM_MEM + 0], pairs_cmp_rm8},
        {forms_cmp_ge[FORM_MEM + 2], pairs_cmp_rm32},
        {forms_cmp_ge[FORM_MEM + 3], pairs_cmp_rm64},
        {forms_test_ei[FORM_MEM + 0], pairs_test_mi8},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        if (table[i].first == first) {
            return table[i].pairs[condition];
        }
    }
    return NULL;
}
