/* Reading a batch: pure functions of memory, so that a fuzzer can run them on their own. */
#include "batch.h"
#include "calls.h"

static uint64_t announced_size(const struct header *header)
{
    return sizeof *header + (uint64_t)header->ops * sizeof(struct op) +
           (uint64_t)header->relocations * sizeof(struct relocation) + header->data;
}

bool header_is_valid(const struct header *header)
{
    return header->magic == MAGIC && header->flags == 0 && header->reserved == 0 &&
           header->data % 8 == 0 && header->size <= BATCH_MAX &&
           announced_size(header) == header->size;
}

static bool call_is_known(uint16_t call)
{
    return call & SPECIAL ? (call & ~SPECIAL) < SPECIAL_COUNT : call < CALL_COUNT;
}

static bool op_is_valid(const struct batch *batch, uint32_t index)
{
    const struct op *op = &batch->ops[index];
    if (!call_is_known(op->call) || op->policy > SKIP)
        return false;
    if (op->store != NO_SLOT && op->store >= SLOTS)
        return false;
    if (op->skip > batch->op_count - index - 1)
        return false;
    /* The parent half of a fork exits: whatever came after it would be the child's alone. */
    if (op->call == (SPECIAL + SPECIAL_fork) && index + 1 != batch->op_count)
        return false;
    if (op->kinds >> 12)
        return false;
    for (int i = 0; i < 6; i++) {
        switch (op->kinds >> (2 * i) & 3) {
        case IMMEDIATE:
            break;
        case DATA: /* the end itself is where an empty buffer may be */
            if (op->args[i] > batch->data_size)
                return false;
            break;
        case SLOT:
            if (op->args[i] >= SLOTS)
                return false;
            break;
        default:
            return false;
        }
    }
    return true;
}

static bool relocation_is_valid(const struct batch *batch, const struct relocation *relocation)
{
    return relocation->where % 8 == 0 && relocation->where < batch->data_size &&
           relocation->target <= batch->data_size;
}

bool batch_parse(struct batch *batch, uint8_t *memory)
{
    const struct header *header = (const struct header *)memory;
    batch->op_count = header->ops;
    batch->relocation_count = header->relocations;
    batch->data_size = header->data;
    batch->ops = (const struct op *)(memory + sizeof *header);
    batch->relocations = (const struct relocation *)(batch->ops + batch->op_count);
    batch->data = (uint8_t *)(batch->relocations + batch->relocation_count);

    for (uint32_t i = 0; i < batch->op_count; i++)
        if (!op_is_valid(batch, i))
            return false;
    for (uint32_t i = 0; i < batch->relocation_count; i++)
        if (!relocation_is_valid(batch, &batch->relocations[i]))
            return false;
    return true;
}

void batch_relocate(const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->relocation_count; i++) {
        const struct relocation *relocation = &batch->relocations[i];
        uint64_t *word = (uint64_t *)(batch->data + relocation->where);
        *word = (uint64_t)(batch->data + relocation->target);
    }
}
