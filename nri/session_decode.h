/* SPDX-License-Identifier: Apache-2.0
 *
 * From protobuf messages to the structs of nri/nri.h. The messages have gone through pb_unpack, so
 * strings are sound; they must outlive what is made of them. No state, any thread.
 */
#ifndef PGPU_NRI_SESSION_DECODE_H
#define PGPU_NRI_SESSION_DECODE_H

#include "nri/nri.h"

#include "proto/nri.pb-c.h"

/* Where the lists live. */
struct nri_arena {
    struct nri_block *first;
};
void nri_arena_free(struct nri_arena *a);
/* Zeroed; NULL when out of memory. n may be 0. */
void *nri_arena_get(struct nri_arena *a, size_t n, size_t size);

/* NULL gives a struct of empty strings. False: out of memory. Maps come sorted by key. */
bool nri_decode_pod(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__PodSandbox *m,
                    struct nri_pod *ret);
bool nri_decode_container(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__Container *m,
                          struct nri_container *ret);
bool nri_decode_adjust(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__ContainerAdjustment *m,
                       struct nri_adjust *ret);

#endif
