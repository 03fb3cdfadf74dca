/* The encrypted bytes between TLS and a socket, in buffers that the connections of a listener
 * share. */
#ifndef SOCKWAVE_WIRE_H
#define SOCKWAVE_WIRE_H

#include <stdint.h>
#include <stdlib.h>

typedef struct {
    const uint8_t *input; /* received bytes, from where reading stopped */
    size_t input_size;
    uint8_t *output; /* encrypted bytes that have to be sent */
    size_t output_size, output_capacity;
} Wire;

/* Makes room for `size` more bytes of output. Returns 0, or -1 without memory. */
static inline int wire_reserve(Wire *wire, size_t size)
{
    if (size > wire->output_capacity - wire->output_size) {
        size_t capacity = 2 * wire->output_capacity + size;
        uint8_t *grown = realloc(wire->output, capacity);
        if (grown == NULL)
            return -1;
        wire->output = grown;
        wire->output_capacity = capacity;
    }
    return 0;
}

#endif
