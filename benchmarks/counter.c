/* The server's own hand on the instruction counter: what valgrind's callgrind is asked by a program
 * that runs under it. Elsewhere these do nothing. */

#include <valgrind/callgrind.h>

void counter_zero(void)
{
    CALLGRIND_ZERO_STATS;
}

void counter_dump(void)
{
    CALLGRIND_DUMP_STATS;
}
