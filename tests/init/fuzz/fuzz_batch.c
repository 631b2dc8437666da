/* libFuzzer on the reader of batches: whatever comes, it stays within the memory that it was
 * given, and what it accepts keeps its promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct header header;
    struct batch batch;
    if (size < sizeof header)
        return 0;
    memcpy(&header, input, sizeof header);
    /* Sizes that add up are too rare to be found by chance. */
    header.magic = MAGIC;
    header.size = (uint32_t)size;
    if (!header_is_valid(&header))
        return 0;
    uint8_t *memory = malloc(size); /* exactly: one byte more is ASan's */
    memcpy(memory, input, size);
    memcpy(memory, &header, sizeof header);
    if (batch_parse(&batch, memory)) {
        if (batch.data + batch.data_size != memory + size)
            abort();
        for (uint32_t i = 0; i < batch.op_count; i++) {
            const struct op *op = &batch.ops[i];
            if (i + 1 + op->skip > batch.op_count)
                abort();
            for (int n = 0; n < 6; n++) {
                int kind = op->kinds >> (2 * n) & 3;
                if (kind > SLOT || (kind == SLOT && op->args[n] >= SLOTS) ||
                    (kind == DATA && op->args[n] > batch.data_size))
                    abort();
            }
        }
        batch_relocate(&batch);
    }
    free(memory);
    return 0;
}
