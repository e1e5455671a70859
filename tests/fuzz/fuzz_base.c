/* SPDX-License-Identifier: Apache-2.0
 *
 * PCI addresses and the buffer. The first byte chooses: an address as text, or a script of buffer
 * operations that is checked against a plain array.
 */
#include "base/buf.h"
#include "base/pci_addr.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#define LIMIT 300

static void
address(const uint8_t *data, size_t size)
{
    char text[64], back[PCI_ADDR_STR];
    struct pci_addr a;

    if (size >= sizeof(text))
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (pci_addr_parse(text, &a))
        FUZZ_ASSERT(strcmp(pci_addr_str(a, back), text) == 0);
}

struct model {
    uint8_t data[LIMIT];
    size_t len, off;
};

static void
put(struct buf *b, struct model *m, const uint8_t *p, size_t n)
{
    bool fits = !buf_failed(b) && n <= LIMIT - m->len;

    FUZZ_ASSERT(buf_put(b, p, n) == fits);
    if (fits) {
        memcpy(m->data + m->len, p, n);
        m->len += n;
    }
}

static void
get(struct buf *b, struct model *m, size_t n)
{
    uint8_t out[256];
    bool there = n <= m->len - m->off;

    FUZZ_ASSERT(buf_get(b, out, n) == there);
    if (there) {
        FUZZ_ASSERT(memcmp(out, m->data + m->off, n) == 0);
        m->off += n;
    }
}

static void
compact(struct buf *b, struct model *m)
{
    buf_compact(b);
    m->len -= m->off;
    memmove(m->data, m->data + m->off, m->len);
    m->off = 0;
}

static void
script(const uint8_t *data, size_t size)
{
    struct buf b;
    struct model m = {.len = 0};

    buf_init(&b, LIMIT);
    for (size_t i = 0; i + 1 < size; i += 2) {
        size_t n = data[i + 1];

        switch (data[i] % 6) {
        case 0:
        case 1:
            put(&b, &m, data, n < size ? n : size);
            break;
        case 2:
            get(&b, &m, n);
            break;
        case 3:
            compact(&b, &m);
            break;
        case 4:
            FUZZ_ASSERT((buf_cstr(&b) != NULL) == !buf_failed(&b));
            break;
        default:
            buf_clear(&b);
            m.len = m.off = 0;
            break;
        }
        FUZZ_ASSERT(b.len <= LIMIT && buf_left(&b) == m.len - m.off);
        FUZZ_ASSERT(memcmp(buf_peek(&b), m.data + m.off, buf_left(&b)) == 0);
    }
    buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > FUZZ_MAX)
        return 0;
    if (data[0] % 2 == 0)
        address(data + 1, size - 1);
    else
        script(data + 1, size - 1);
    return 0;
}
