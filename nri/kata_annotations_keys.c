/* SPDX-License-Identifier: Apache-2.0
 *
 * The annotations that Kata 4.1.0 knows. Go: kata-containers src/runtime/pkg/oci/utils.go and
 * virtcontainers/pkg/annotations; runtime-rs: src/libs/kata-types/src/annotations/mod.rs
 * (update_config_by_annotation). Constant data.
 */
#include "nri/kata_annotations_impl.h"

#include "base/cleanup.h"

#include <string.h>

#define H KATA_ANNOTATION_HYPERVISOR
#define R KATA_ANNOTATION_RUNTIME
#define A KATA_ANNOTATION_AGENT

#define BOTH_BOOL KV_GO_BOOL, KV_RS_BOOL
#define GO_BOOL_ONLY KV_GO_BOOL, KV_ABSENT
#define RS_ONLY(kind) KV_ABSENT, kind

/* clang-format off */
static const struct kata_key keys[] = {
    /* size of the VM */
    {H "default_vcpus", KV_GO_VCPUS, KV_RS_VCPUS, KM_VCPUS, NULL, NULL,
     "vCPUs the VM boots with, before what the pod's limits add"},
    {H "default_max_vcpus", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL,
     "upper bound of vCPUs"},
    {H "default_memory", KV_GO_MEMORY, KV_RS_MEMORY, KM_MEMORY, NULL, NULL,
     "memory the VM boots with, before what the pod's limits add"},
    {H "memory_slots", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL, "slots for memory hot plug"},
    {H "memory_offset", KV_GO_UINT, KV_RS_U64, KM_NONE, NULL, NULL, "address space for NVDIMM"},
    {H "enable_virtio_mem", BOTH_BOOL, KM_NONE, NULL, NULL, "memory hot plug by virtio-mem"},
    {H "enable_mem_prealloc", BOTH_BOOL, KM_NONE, NULL, NULL, "memory taken from the host at boot"},
    {H "enable_hugepages", BOTH_BOOL, KM_NONE, NULL, NULL, "guest memory from huge pages"},
    {H "hugepage_type", RS_ONLY(KV_STRING), KM_NONE, NULL, NULL, "kind of huge pages"},
    {H "file_mem_backend", KV_GLOB, KV_ABSENT, KM_NONE, NULL, "valid_file_mem_backends",
     "directory of file-backed guest memory"},
    {H "reclaim_guest_freed_memory", GO_BOOL_ONLY, KM_NONE, NULL, NULL,
     "freed guest memory goes back to the host"},
    {H "enable_guest_swap", BOTH_BOOL, KM_NONE, NULL, NULL, "swap in the guest"},
    {H "numa_mapping", KV_STRING, KV_ABSENT, KM_ACPI, NULL, NULL, "guest NUMA nodes"},
    {H "cpu_features", KV_STRING, KV_STRING, KM_CPU, NULL, NULL, "added to QEMU's -cpu"},
    /* what boots */
    {H "kernel_params", KV_STRING, KV_STRING, KM_CMDLINE, NULL, NULL,
     "kernel command line; a parameter given here replaces the configured one of that name"},
    {H "kernel_verity_params", KV_STRING, KV_STRING, KM_CMDLINE, NULL, NULL,
     "dm-verity root of the guest image, on the kernel command line"},
    {H "kernel", KV_FILE, KV_FILE, KM_KERNEL, NULL, NULL, "guest kernel"},
    {H "initrd", KV_FILE, KV_FILE, KM_INITRD, NULL, NULL, "guest initrd"},
    {H "image", KV_FILE, KV_FILE, KM_IMAGE, NULL, NULL, "guest image"},
    {H "firmware", KV_FILE, KV_FILE, KM_FIRMWARE, NULL, NULL, "guest firmware"},
    {H "firmware_volume", KV_FILE, KV_ABSENT, KM_FIRMWARE, NULL, NULL, "guest firmware variables"},
    {H "kernel_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the kernel named by annotation must have"},
    {H "initrd_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the initrd named by annotation must have"},
    {H "image_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the image named by annotation must have"},
    {H "firmware_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the firmware named by annotation must have"},
    {H "firmware_volume_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the firmware volume named by annotation must have"},
    {H "hypervisor_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the hypervisor named by annotation must have"},
    {H "jailer_hash", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "SHA-512 that the jailer named by annotation must have"},
    {"io.katacontainers.asset_hash_type", KV_STRING, KV_ABSENT, KM_NONE, NULL, NULL,
     "hash algorithm of the *_hash annotations"},
    {H "path", KV_GLOB, KV_GLOB, KM_NONE, NULL, "valid_hypervisor_paths",
     "the hypervisor program that runs on the host"},
    {H "jailer_path", KV_GLOB, KV_GLOB, KM_NONE, NULL, "valid_jailer_paths",
     "the jailer program that runs on the host"},
    {H "machine_type", KV_STRING, KV_STRING, KM_ACPI, NULL, NULL, "QEMU machine"},
    {H "machine_accelerators", KV_STRING, KV_STRING, KM_ACPI, NULL, NULL,
     "added to QEMU's -machine"},
    {H "entropy_source", KV_GLOB, KV_GLOB, KM_NONE, NULL, "valid_entropy_sources",
     "the host's source of the guest's entropy"},
    {H "guest_hook_path", KV_STRING, KV_FILE, KM_AFTER, NULL, NULL,
     "directory of OCI hooks in the guest"},
    {H "rootless", BOTH_BOOL, KM_NONE, NULL, NULL, "QEMU runs as another user"},
    {H "use_legacy_serial", GO_BOOL_ONLY, KM_ACPI, NULL, NULL, "console on a serial port"},
    {H "prefetch_files.list", RS_ONLY(KV_STRING), KM_NONE, NULL, NULL,
     "files that the image service reads ahead"},
    /* confidential */
    {H "cc_init_data", KV_INITDATA, KV_INITDATA, KM_INITDATA, NULL, NULL,
     "configuration and policy for the guest, bound to its attestation report"},
    /* devices */
    {H "cold_plug_vfio", KV_WORDS, KV_ABSENT, KM_ACPI, "|root-port|switch-port|bridge-port|no-port",
     NULL, "port for devices plugged before boot; turns hot plug off"},
    {H "hot_plug_vfio", KV_WORDS, KV_ABSENT, KM_ACPI, "|root-port|switch-port|bridge-port|no-port",
     NULL, "port for devices plugged later; turns cold plug off, which confidential GPUs need"},
    {H "pcie_root_port", KV_GO_PORTS, KV_RS_PORTS, KM_ACPI, NULL, NULL, "spare PCIe root ports"},
    {H "pcie_switch_port", KV_GO_PORTS, KV_RS_PORTS, KM_ACPI, NULL, NULL, "spare PCIe switch ports"},
    {H "enable_iommu", BOTH_BOOL, KM_IOMMU, NULL, NULL,
     "an Intel vIOMMU in the guest; passthrough does not need it"},
    {H "enable_iommu_platform", BOTH_BOOL, KM_NONE, NULL, NULL,
     "iommu_platform of CCW devices (s390x); does nothing on PCI machines"},
    {H "default_gpus", KV_REMOTE, KV_REMOTE, KM_NONE, NULL, NULL,
     "GPUs of a peer pod's instance"},
    {H "default_gpu_model", KV_REMOTE, KV_REMOTE, KM_NONE, NULL, NULL,
     "GPU model of a peer pod's instance"},
    /* block, network, shared files */
    {H "block_device_driver", KV_WORDS, KV_STRING, KM_ACPI,
     "virtio-scsi|virtio-blk|virtio-mmio|nvdimm|virtio-blk-ccw", NULL, "driver of block devices"},
    {H "block_device_aio", KV_WORDS, KV_ABSENT, KM_NONE, "native|threads|io_uring", NULL,
     "how QEMU reads block devices"},
    {H "disable_block_device_use", BOTH_BOOL, KM_NONE, NULL, NULL,
     "container images are not given to the guest as block devices"},
    {H "block_device_cache_set", BOTH_BOOL, KM_NONE, NULL, NULL, "cache settings count"},
    {H "block_device_cache_direct", BOTH_BOOL, KM_NONE, NULL, NULL, "block devices by O_DIRECT"},
    {H "block_device_cache_noflush", BOTH_BOOL, KM_NONE, NULL, NULL, "flushes are ignored"},
    {H "blk_logical_sector_size", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL,
     "logical sector size of block devices"},
    {H "blk_physical_sector_size", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL,
     "physical sector size of block devices"},
    {H "block_device_num_queues", RS_ONLY(KV_RS_U64), KM_NONE, NULL, NULL,
     "queues of block devices"},
    {H "block_device_queue_size", RS_ONLY(KV_RS_U32), KM_NONE, NULL, NULL,
     "queue size of block devices"},
    {H "enable_iothreads", BOTH_BOOL, KM_NONE, NULL, NULL, "block devices by a thread of their own"},
    {H "indep_iothreads", RS_ONLY(KV_RS_U32), KM_NONE, NULL, NULL, "number of I/O threads"},
    {H "disable_image_nvdimm", BOTH_BOOL, KM_ACPI, NULL, NULL, "guest image not by NVDIMM"},
    {H "enable_vhost_user_store", BOTH_BOOL, KM_NONE, NULL, NULL, "vhost-user block devices"},
    {H "vhost_user_store_path", KV_GLOB, KV_GLOB, KM_NONE, NULL, "valid_vhost_user_store_paths",
     "directory of vhost-user sockets"},
    {H "vhost_user_reconnect_timeout_sec", KV_GO_UINT, KV_ABSENT, KM_NONE, NULL, NULL,
     "reconnecting vhost-user sockets"},
    {H "disable_vhost_net", BOTH_BOOL, KM_NONE, NULL, NULL, "network without vhost-net"},
    {H "rx_rate_limiter_max_rate", KV_GO_UINT, KV_RS_U64, KM_NONE, NULL, NULL, "inbound rate"},
    {H "tx_rate_limiter_max_rate", KV_GO_UINT, KV_RS_U64, KM_NONE, NULL, NULL, "outbound rate"},
    {H "network_queues", RS_ONLY(KV_RS_U32), KM_NONE, NULL, NULL, "queues of network devices"},
    {H "shared_fs", KV_MAYBE, KV_STRING, KM_NONE, "virtio-fs", NULL,
     "how files are shared with the guest"},
    {H "virtio_fs_daemon", KV_GLOB, KV_GLOB, KM_NONE, NULL, "valid_virtio_fs_daemon_paths",
     "the virtiofsd program that runs on the host"},
    {H "virtio_fs_cache", KV_STRING, KV_STRING, KM_NONE, NULL, NULL, "virtio-fs cache mode"},
    {H "virtio_fs_cache_size", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL, "virtio-fs DAX cache"},
    {H "virtio_fs_extra_args", KV_GO_JSON, KV_STRING, KM_NONE, NULL, NULL,
     "arguments of virtiofsd on the host: gives the tenant a say on the host"},
    {H "msize_9p", KV_GO_UINT, KV_ABSENT, KM_NONE, NULL, NULL, "message size of 9p"},
    /* the runtime; no list has to allow these */
    {R "create_container_timeout", KV_GO_UINT, KV_RS_U32, KM_NONE, NULL, NULL,
     "seconds that creating a container may take"},
    {R "vfio_mode", KV_WORDS, KV_WORDS, KM_NONE, "vfio|guest-kernel", NULL,
     "VFIO devices as such or by a guest driver; agent policies take guest-kernel only"},
    {R "sandbox_cgroup_only", BOTH_BOOL, KM_NONE, NULL, NULL, "one cgroup for the sandbox"},
    {R "disable_guest_seccomp", BOTH_BOOL, KM_AFTER, NULL, NULL, "no seccomp in the guest"},
    {R "internetworking_model", KV_MAYBE, KV_MAYBE, KM_NONE, "macvtap|tcfilter|none", NULL,
     "how the pod's network reaches the VM"},
    {R "disable_new_netns", BOTH_BOOL, KM_NONE, NULL, NULL, "no network namespace for the VM"},
    {R "experimental", KV_EXPERIMENT, KV_STRING, KM_NONE, NULL, NULL, "experimental features"},
    {R "experimental_force_guest_pull", GO_BOOL_ONLY, KM_AFTER, NULL, NULL,
     "images are pulled inside the guest"},
    {R "enable_pprof", KV_GO_LAX_BOOL, KV_RS_BOOL, KM_NONE, NULL, NULL, "profiling of the shim"},
    {"io.katacontainers.enable_vcpus_pinning", KV_GO_BOOL, KV_ABSENT, KM_NONE, NULL, NULL,
     "vCPU threads on fixed CPUs"},
    {R "enable_vcpus_pinning", RS_ONLY(KV_RS_BOOL), KM_NONE, NULL, NULL,
     "vCPU threads on fixed CPUs"},
    {R "name", RS_ONLY(KV_WORDS), KM_NONE, "virt-container|linux-container|wasm-container", NULL,
     "kind of runtime"},
    {R "hypervisor_name", RS_ONLY(KV_STRING), KM_ALL, NULL, NULL,
     "hypervisor, where the configuration has a table of that name"},
    {R "agent_name", RS_ONLY(KV_STRING), KM_NONE, NULL, NULL,
     "agent, where the configuration has a table of that name"},
    {R "shared_mounts", RS_ONLY(KV_RS_JSON), KM_AFTER, NULL, NULL,
     "mounts shared between containers"},
    {R "sandbox_bind_mounts", RS_ONLY(KV_STRING), KM_NONE, NULL, NULL,
     "host directories shared with the sandbox"},
    /* the guest's agent; nor these */
    {A "policy", KV_BASE64, KV_ABSENT, KM_AFTER, NULL, NULL,
     "agent policy, sent after boot; a policy in initdata is the one that attestation covers"},
    {A "kernel_modules", KV_STRING, KV_STRING, KM_AFTER, NULL, NULL, "modules the guest loads"},
    {A "enable_tracing", BOTH_BOOL, KM_CMDLINE_RS, NULL, NULL, "tracing in the guest"},
    {A "container_pipe_size", KV_GO_UINT, KV_RS_U32, KM_CMDLINE_RS, NULL, NULL,
     "size of stdio pipes in the guest"},
    {A "cdh_api_timeout_ms", RS_ONLY(KV_RS_U32), KM_CMDLINE_RS, NULL, NULL,
     "timeout of the guest's Confidential Data Hub"},
};
/* clang-format on */

const struct kata_key *
kata_key_at(size_t i)
{
    return i < ARRAY_SIZE(keys) ? &keys[i] : NULL;
}

const struct kata_key *
kata_key_find(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return &keys[i];
    return NULL;
}

/* SNP: the launch digest covers the firmware, one VMSA for each vCPU and, with QEMU's
 * kernel-hashes=on, the hashes of kernel, initrd and command line (AMD SEV-SNP ABI "Launch
 * Digest"; QEMU docs/system/i386/amd-memory-encryption.rst). HOSTDATA stands beside it.
 * TDX: MRTD covers the firmware alone, which measures the rest into RTMRs: 0 its configuration
 * (memory and ACPI tables of the host), 1 the kernel, 2 what the kernel's EFI stub loads (UEFI 2.10
 * section 38.4.1). */
struct measure_text {
    bool snp, tdx;
    const char *snp_text, *tdx_text;
};

#define NOT_MEASURED "not measured by the launch digest"
#define NOT_MRTD "not in MRTD"

static const struct measure_text measures[KM_COUNT] = {
    [KM_NONE] = {false, false, NOT_MEASURED, "not measured by MRTD"},
    [KM_CMDLINE] = {true, true, "changes the launch digest (kernel-hashes: command line)",
                    NOT_MRTD "; changes the RTMR that the command line is measured into"},
    [KM_VCPUS] = {true, true, "changes the launch digest (one VMSA for each vCPU)",
                  NOT_MRTD "; changes RTMR[0], where firmware measures the ACPI tables"},
    [KM_KERNEL] = {true, true, "changes the launch digest (kernel-hashes: kernel)",
                   NOT_MRTD "; changes RTMR[1]"},
    [KM_INITRD] = {true, true, "changes the launch digest (kernel-hashes: initrd)",
                   NOT_MRTD "; changes the RTMR that the initrd is measured into"},
    [KM_FIRMWARE] = {true, true, "changes the launch digest (firmware)", "changes MRTD or RTMR[0]"},
    [KM_IMAGE] =
        {false, false,
         "not measured itself: the dm-verity root on the measured command line must fit it",
         "not measured itself: the dm-verity root on the measured command line must fit "
         "it"},
    [KM_INITDATA] = {true, true, "sets HOSTDATA in the report; the launch digest stays",
                     "sets MRCONFIGID in the quote; MRTD stays"},
    [KM_MEMORY] = {false, true, NOT_MEASURED,
                   NOT_MRTD "; changes RTMR[0], where firmware measures the memory layout"},
    [KM_ACPI] = {false, true, NOT_MEASURED,
                 NOT_MRTD "; may change RTMR[0], where firmware measures the ACPI tables"},
    [KM_AFTER] = {false, false, NOT_MEASURED ": reaches the guest after launch",
                  "not measured by MRTD: reaches the guest after launch"},
    [KM_ALL] = {true, true, "everything measured may change", "everything measured may change"},
    [KM_CPU] = {false, false,
                NOT_MEASURED ", unless it changes family, model or stepping of the CPU",
                "not measured by MRTD"},
};

const char *
kata_measure_text(enum kata_measure m, enum kata_tee tee, enum kata_flavour flavour,
                  bool *ret_changes)
{
    /* runtime-rs alone turns these into kernel parameters after it has read the annotations */
    if (m == KM_CMDLINE_RS || m == KM_IOMMU)
        m = flavour == KATA_FLAVOUR_RS ? KM_CMDLINE : m == KM_IOMMU ? KM_ACPI : KM_NONE;
    const struct measure_text *t = &measures[m];

    *ret_changes = false;
    switch (tee) {
    case KATA_TEE_NONE:
        return "not a confidential handler: nothing is measured";
    case KATA_TEE_TDX:
        *ret_changes = t->tdx;
        return t->tdx_text;
    case KATA_TEE_SNP:
        *ret_changes = t->snp;
        return t->snp_text;
    case KATA_TEE_UNKNOWN:
        break;
    }
    *ret_changes = t->snp || t->tdx;
    return t->snp || t->tdx ? "changes what a confidential guest's report says"
                            : "changes nothing that is measured";
}
