/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's texts as vfio/ reads them: uevents, attributes, modules.alias, pci.ids. The first
 * byte chooses the parser; outputs must stay untouched when the text is refused.
 */
#include "vfio/parse.h"

#include "tests/fuzz/fuzz.h"

#include <limits.h>
#include <string.h>

#define TEXT_MAX 4096

static void
uevent(const char *text, size_t size)
{
    bool relevant = false;

    if (vfio_parse_uevent(text, size, &relevant) && relevant)
        FUZZ_ASSERT(memmem(text, size, "SUBSYSTEM=", 10) != NULL);
}

static void
attributes(const char *text)
{
    uint32_t h = 0;
    int i = 0;
    (void)vfio_list_has(text, "flr");
    if (vfio_parse_hex(text, 0xffff, &h))
        FUZZ_ASSERT(h <= 0xffff && strlen(text) <= 18);
    else
        FUZZ_ASSERT(h == 0);
    if (vfio_parse_int(text, -1, 1000, &i))
        FUZZ_ASSERT(i >= -1 && i <= 1000);
    else
        FUZZ_ASSERT(i == 0);
    i = 0;
    if (vfio_parse_cdev(text, &i))
        FUZZ_ASSERT(i >= 0 && strncmp(text, "vfio", 4) == 0);
    else
        FUZZ_ASSERT(i == 0);
}

static void
resource(const char *text)
{
    for (unsigned line = 0; line < 8; line++) {
        uint64_t start = 1, size = 2, flags = 3;

        if (vfio_parse_resource(text, line, &start, &size, &flags))
            FUZZ_ASSERT(size == 0 || start + (size - 1) >= start);
        else
            FUZZ_ASSERT(start == 1 && size == 2 && flags == 3);
    }
}

static void
alias(const char *text, size_t size)
{
    char module[32] = "";
    int wild = vfio_match_alias(text, size, "v000010DEd00002342sv000010DEsd000016EBbc03sc02i00",
                                module, sizeof(module));

    FUZZ_ASSERT(wild >= -1);
    FUZZ_ASSERT((wild >= 0) == (module[0] != '\0'));
}

static void
ids(const char *text, size_t size)
{
    char name[48] = "";

    if (vfio_ids_name(text, size, 0x10de, 0x2330, name, sizeof(name))) {
        FUZZ_ASSERT(name[0] != '\0');
        for (const char *p = name; *p; p++)
            FUZZ_ASSERT(*p >= 0x20 && *p <= 0x7e);
    } else {
        FUZZ_ASSERT(name[0] == '\0');
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX + 1];
    size_t n;

    if (size < 1 || size > TEXT_MAX)
        return 0;
    n = size - 1;
    memcpy(text, data + 1, n);
    text[n] = '\0';
    switch (data[0]) {
    case 'u':
        uevent(text, n);
        break;
    case 'a':
        attributes(text);
        break;
    case 'r':
        resource(text);
        break;
    case 'm':
        alias(text, n);
        break;
    case 'i':
        ids(text, n);
        break;
    default:
        break;
    }
    return 0;
}
