/* The bytes between TLS and a socket, in buffers that the connections of a loop share. */
#ifndef SOCKWAVE_WIRE_H
#define SOCKWAVE_WIRE_H

#include <stdint.h>
#include <stdlib.h>

typedef struct {
    const uint8_t *input; /* what has been received, from where reading stopped */
    size_t input_size;
    uint8_t *output; /* what is to be sent */
    size_t output_size, output_capacity;
} Wire;

static inline int wire_reserve(Wire *line, size_t size)
{
    if (size > line->output_capacity - line->output_size) {
        size_t capacity = 2 * line->output_capacity + size;
        uint8_t *grown = realloc(line->output, capacity);
        if (grown == NULL)
            return -1;
        line->output = grown;
        line->output_capacity = capacity;
    }
    return 0;
}

#endif
