/*
 * Programs as a C compiler makes them (-O2, general registers only), for programs.py to time.
 *
 * Runs each program ROUNDS times and prints "NAME CHECKSUM" on COM1 after each round, then powers
 * off. In the same manner: 64 MiB of code no part of which is like another, run over and over, and
 * code that is written anew before each run.
 */
#include <stdint.h>

#define ROUNDS 8

void debug_main(void);
void *memset(void *to, int value, unsigned long n);
void *memcpy(void *to, const void *from, unsigned long n);

static void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

void *memset(void *to, int value, unsigned long n)
{
    void *start = to;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return start;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
    void *start = to;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}

static uint64_t random_state;

static uint32_t random_next(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 33;
}

/* ---------------------------------------------------------------- quicksort */

#define NUMBERS 60000

static int32_t numbers[NUMBERS];

static __attribute__((noinline)) void sort(int32_t *a, long low, long high)
{
    while (low < high) {
        int32_t pivot = a[(low + high) / 2];
        long i = low, k = high;

        while (i <= k) {
            while (a[i] < pivot) {
                i++;
            }
            while (a[k] > pivot) {
                k--;
            }
            if (i <= k) {
                int32_t t = a[i];

                a[i++] = a[k];
                a[k--] = t;
            }
        }
        if (k - low < high - i) {
            sort(a, low, k);
            low = i;
        } else {
            sort(a, i, high);
            high = k;
        }
    }
}

static uint64_t run_quicksort(void)
{
    uint64_t sum = 0;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < NUMBERS; i++) {
            numbers[i] = (int32_t)random_next();
        }
        sort(numbers, 0, NUMBERS - 1);
        for (int i = 0; i < NUMBERS; i += 997) {
            sum = sum * 31 + (uint32_t)numbers[i];
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- sieve of Eratosthenes */

#define SIEVE 200000

static uint8_t composite[SIEVE];

static uint64_t run_sieve(void)
{
    uint64_t sum = 0;

    for (int round = 0; round < 1000; round++) {
        memset(composite, 0, sizeof(composite));
        for (uint32_t i = 2; i < SIEVE; i++) {
            if (composite[i]) {
                continue;
            }
            sum += i;
            for (uint32_t k = i + i; k < SIEVE; k += i) {
                composite[k] = 1;
            }
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- matches by hash, as LZ77 */

#define TEXT 131072

static uint8_t text[TEXT + 16], packed[2 * TEXT];
static uint32_t table[4096];

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    __builtin_memcpy(&v, p, 4);
    return v;
}

static __attribute__((noinline)) unsigned match_length(const uint8_t *a, const uint8_t *b,
                                                       unsigned most)
{
    unsigned n = 0;

    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

static uint32_t pack(const uint8_t *from, uint32_t size, uint8_t *to)
{
    uint32_t at = 0, out = 0;

    memset(table, 0, sizeof(table));
    while (at + 4 < size) {
        uint32_t hash = (load32(from + at) * 2654435761u) >> 20, candidate = table[hash];
        unsigned n = 0;

        table[hash] = at;
        if (candidate < at && at - candidate < 65536) {
            n = match_length(from + candidate, from + at, size - at < 255 ? size - at : 255);
        }
        if (n >= 4) {
            to[out++] = 0xff;
            to[out++] = (at - candidate) & 0xff;
            to[out++] = (at - candidate) >> 8;
            to[out++] = n;
            at += n;
        } else {
            to[out++] = from[at++];
        }
    }
    return out;
}

static uint64_t run_lz(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < TEXT; i++) {
        uint32_t r = random_next();

        text[i] = i > 64 && (r & 31) ? text[i - 1 - (r >> 5 & 15) % 40] : 'a' + (r >> 10) % 26;
    }
    for (int round = 0; round < 100; round++) {
        uint32_t n = pack(text, TEXT, packed);

        text[round * 1000] ^= 1;
        for (uint32_t i = 0; i < n; i += 61) {
            sum = sum * 31 + packed[i];
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- a linked list */

struct node {
    struct node *next;
    uint32_t key;
    uint32_t count;
};
#define NODES 4096

static struct node nodes[NODES];

static __attribute__((noinline)) struct node *find(struct node *list, uint32_t key)
{
    while (list && list->key != key) {
        list = list->next;
    }
    return list;
}

static uint64_t run_list(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i] = (struct node){i ? &nodes[i - 1] : 0, i * 2654435761u, 0};
    }
    for (uint32_t i = NODES - 1; i > 0; i--) { /* any order */
        uint32_t k = random_next() % i, key = nodes[i].key;

        nodes[i].key = nodes[k].key;
        nodes[k].key = key;
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct node *n = find(&nodes[NODES - 1], (random_next() & (NODES - 1)) * 2654435761u);

        if (n) {
            sum += ++n->count;
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- product of matrices */

#define SIDE 96

static uint32_t left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

static uint64_t run_matrix(void)
{
    uint64_t sum = 0;

    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < SIDE; i++) {
            for (int k = 0; k < SIDE; k++) {
                left[i][k] = random_next();
                right[i][k] = random_next();
            }
        }
        for (int i = 0; i < SIDE; i++) {
            for (int k = 0; k < SIDE; k++) {
                uint32_t t = 0;

                for (int n = 0; n < SIDE; n++) {
                    t += left[i][n] * right[n][k];
                }
                product[i][k] = t;
            }
        }
        for (int i = 0; i < SIDE; i++) {
            sum = sum * 31 + product[i][SIDE - 1 - i];
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- an interpreter of byte code */

enum { PUSH, LOAD, STORE, ADD, MUL, XOR, LESS, BRANCH, STOP };

static int64_t stack[64], variables[8];

static __attribute__((noinline)) int64_t interpret(const uint8_t *code)
{
    int64_t *top = stack;

    for (const uint8_t *pc = code;;) {
        switch (*pc++) {
        case PUSH:
            *top++ = (int8_t)*pc++;
            break;
        case LOAD:
            *top++ = variables[*pc++ & 7];
            break;
        case STORE:
            variables[*pc++ & 7] = *--top;
            break;
        case ADD:
            top--;
            top[-1] += top[0];
            break;
        case MUL:
            top--;
            top[-1] *= top[0];
            break;
        case XOR:
            top--;
            top[-1] ^= top[0];
            break;
        case LESS:
            top--;
            top[-1] = top[-1] < top[0];
            break;
        case BRANCH:
            pc = *--top ? code + *pc : pc + 1;
            break;
        default:
            return variables[0];
        }
    }
}

static uint64_t run_bytecode(void)
{
    /* do { x = x * 31 + i ^ 85; i = i + 1; } while (i < end); */
    static const uint8_t code[] = {LOAD, 0,     PUSH, 31,   MUL,  LOAD,   1, ADD, PUSH,  85,
                                   XOR,  STORE, 0,    LOAD, 1,    PUSH,   1, ADD, STORE, 1,
                                   LOAD, 1,     LOAD, 2,    LESS, BRANCH, 0, STOP};

    variables[0] = random_next();
    variables[1] = 0;
    variables[2] = 2000000;
    return interpret(code);
}

/* ---------------------------------------------------------------- recursion */

static __attribute__((noinline)) uint64_t fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t run_calls(void)
{
    uint64_t (*volatile call)(unsigned) = fibonacci;

    return call(34);
}

/* ---------------------------------------------------------------- much code, and code that changes
 */

/* Above the program and what firmware or loader may have put behind it. */
#define CODE       ((uint8_t *)(32ul << 20))
#define CODE_BYTES (64u << 20)
#define FUNCTION   64u

/* At `at`: three operations on RAX with constants of its own, and RET. */
static void function_make(uint8_t *at, uint32_t seed)
{
    static const uint8_t form[] = {0x48, 0x89, 0xf8,          /* mov rax, rdi */
                                   0x48, 0x05, 0,    0, 0, 0, /* add rax, seed */
                                   0x48, 0xd1, 0xc0,          /* rol rax, 1 */
                                   0x48, 0x35, 0,    0, 0, 0, /* xor rax, ~seed */
                                   0x48, 0x89, 0xc2,          /* mov rdx, rax */
                                   0x48, 0xc1, 0xea, 7,       /* shr rdx, 7 */
                                   0x48, 0x29, 0xd0,          /* sub rax, rdx */
                                   0x85, 0xc0,                /* test eax, eax */
                                   0x74, 0x03,                /* jz over the next */
                                   0x48, 0xff, 0xc0,          /* inc rax */
                                   0xc3};
    uint32_t inverse = ~seed;

    __builtin_memcpy(at, form, sizeof(form));
    __builtin_memcpy(at + 5, &seed, 4);
    __builtin_memcpy(at + 14, &inverse, 4);
}

static uint64_t function_call(const uint8_t *at, uint64_t argument)
{
    uint64_t (*function)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)at;

    return function(argument);
}

static uint64_t run_much(void)
{
    static int made;
    uint64_t sum = 1;

    for (uint32_t i = 0; !made && i < CODE_BYTES / FUNCTION; i++) {
        function_make(CODE + (uint64_t)i * FUNCTION, i * 2654435761u & 0x7fffffff);
    }
    made = 1;
    for (uint32_t i = 0; i < CODE_BYTES / FUNCTION; i++) {
        sum = function_call(CODE + (uint64_t)i * FUNCTION, sum);
    }
    return sum;
}

/* Each of 64 pages is written anew, all of it, and its functions are called once. */
static uint64_t run_rewrite(void)
{
    uint64_t sum = 1;

    for (uint32_t round = 0; round < 2000; round++) {
        uint8_t *page = CODE + (round % 64) * 4096;

        for (uint32_t i = 0; i < 4096 / FUNCTION; i++) {
            function_make(page + i * FUNCTION, (random_next() & 0x7fffffff));
        }
        for (uint32_t i = 0; i < 4096 / FUNCTION; i++) {
            sum = function_call(page + i * FUNCTION, sum);
        }
    }
    return sum;
}

/* One function of a page is changed, and run often enough to be worth translating. */
static uint64_t run_patch(void)
{
    uint64_t sum = 1;

    for (uint32_t round = 0; round < 20000; round++) {
        uint8_t *at = CODE + (round % 64) * 4096 + (round / 64 % 64) * FUNCTION;

        function_make(at, (random_next() & 0x7fffffff));
        for (uint32_t i = 0; i < 100; i++) {
            sum = function_call(at, sum);
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- all of them */

static void say(const char *p)
{
    for (; *p; p++) {
        outb(0x3f8, (uint8_t)*p);
    }
}

static void report(const char *name, uint64_t sum)
{
    say(name);
    say(" ");
    for (int shift = 60; shift >= 0; shift -= 4) {
        outb(0x3f8, "0123456789abcdef"[sum >> shift & 15]);
    }
    say("\n");
}

void debug_main(void)
{
    static const struct {
        const char *name;
        uint64_t (*run)(void);
    } programs[] = {
        {"quicksort", run_quicksort}, {"sieve", run_sieve},   {"lz", run_lz},
        {"list", run_list},           {"matrix", run_matrix}, {"bytecode", run_bytecode},
        {"calls", run_calls},         {"code-64m", run_much}, {"rewrite", run_rewrite},
        {"patch", run_patch},
    };

    say("start\n");
    for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        for (int round = 0; round < ROUNDS; round++) {
            report(programs[i].name, programs[i].run());
        }
    }
    say("end\n");
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "d"((uint16_t)0x604));
    for (;;) {
        __asm__ volatile("hlt");
    }
}
