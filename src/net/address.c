/* address: which addresses are not on the public internet. Sources: IANA's special-purpose address
 * registries (RFC 6890), RFC 6598, RFC 6052 (NAT64), RFC 3056 (6to4). */
#include <netinet/in.h>
#include <sys/socket.h>

#include "client.h"

struct block4 {
    uint32_t net;
    int bits;
};

static const struct block4 private4[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared, carrier-grade NAT */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local, cloud metadata */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* 6to4 relays */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 4},  /* multicast */
    {0xf0000000, 4},  /* reserved, broadcast */
};

static bool private_v4(uint32_t a)
{
    for (size_t i = 0; i < sizeof private4 / sizeof private4[0]; i++) {
        if ((a ^ private4[i].net) >> (32 - private4[i].bits) == 0)
            return true;
    }
    return false;
}

static uint32_t v4_at(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool has_prefix(const unsigned char *b, const unsigned char *prefix, size_t n)
{
    return memcmp(b, prefix, n) == 0;
}

static bool private_v6(const unsigned char *b)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const unsigned char local_nat64[6] = {0, 0x64, 0xff, 0x9b, 0, 1};
    static const unsigned char zero[12] = {0};
    if (has_prefix(b, mapped, 12) || has_prefix(b, nat64, 12))
        return private_v4(v4_at(b + 12));
    if (has_prefix(b, local_nat64, 6) || has_prefix(b, zero, 12)) /* with ::, ::1 and ::a.b.c.d */
        return true;
    if (b[0] == 0x20 && b[1] == 0x02) /* 6to4 carries an IPv4 address */
        return private_v4(v4_at(b + 2));
    if (b[0] == 0x20 && b[1] == 0x01 && b[2] < 2) /* protocol assignments, Teredo, ORCHID */
        return true;
    if (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8) /* documentation */
        return true;
    if (b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10) /* documentation, RFC 9637 */
        return true;
    return (b[0] & 0xe0) != 0x20; /* only 2000::/3 is global unicast */
}

bool address_is_private(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        return private_v4(ntohl(in->sin_addr.s_addr));
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        return private_v6(in6->sin6_addr.s6_addr);
    }
    return true;
}
