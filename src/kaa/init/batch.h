/* A batch: what Python sends. See docs/protocol.md. */
#ifndef KAA_BATCH_H
#define KAA_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#define MAGIC 0x3161616b /* "kaa1" */
#define BATCH_MAX (64u << 20)
#define SLOTS 256
#define NO_SLOT 0xffff
#define SPECIAL 0x8000

enum kind { IMMEDIATE, DATA, SLOT };
enum policy { STOP, IGNORE, SKIP };

struct header {
    uint32_t magic;
    uint32_t size;
    uint32_t ops;
    uint32_t relocations;
    uint32_t data;
    uint32_t flags;
    uint64_t reserved;
};

struct op {
    uint16_t call;
    uint16_t store;
    uint16_t skip;
    uint16_t kinds;
    uint8_t policy;
    uint8_t errnos[7];
    uint64_t args[6];
};

struct relocation {
    uint32_t where;
    uint32_t target;
};

struct batch {
    const struct op *ops;
    const struct relocation *relocations;
    uint8_t *data;
    uint32_t op_count;
    uint32_t relocation_count;
    uint32_t data_size;
};

_Static_assert(sizeof(struct header) == 32, "header");
_Static_assert(sizeof(struct op) == 64, "op");
_Static_assert(sizeof(struct relocation) == 8, "relocation");

/* The header announces a batch that is possible: `size` bytes, itself included. */
bool header_is_valid(const struct header *header);

/* Checks a whole batch and finds its parts. `memory` holds header->size bytes, aligned to 8,
 * and its header has passed header_is_valid. Nothing is written but *batch. */
bool batch_parse(struct batch *batch, uint8_t *memory);

/* Writes the addresses that the relocations ask for into the data. */
void batch_relocate(const struct batch *batch);

#endif
