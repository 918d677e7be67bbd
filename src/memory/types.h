/* Guest addresses. */
#ifndef MEMORY_TYPES_H
#define MEMORY_TYPES_H

#include <stdint.h>

typedef uint64_t gpa_t; /* guest physical */
typedef uint64_t gva_t; /* guest linear */

#define GUEST_PAGE_BITS 12
#define GUEST_PAGE_SIZE 4096u
#define GUEST_PAGE_MASK (~(uint64_t)4095)

#endif
