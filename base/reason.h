/* SPDX-License-Identifier: Apache-2.0
 *
 * The one vocabulary of named conditions: why a GPU is not offered, or why an operation on it
 * failed. Names are stable: they appear in logs, status, journal, metrics and documentation.
 * Each has a cure, one sentence for the operator.
 */
#ifndef PGPU_BASE_REASON_H
#define PGPU_BASE_REASON_H

/* X(symbol, cure). The printed name is the symbol without REASON_. */
#define REASON_TABLE(X)                                                                            \
    X(NONE, "")                                                                                    \
    /* finding and claiming */                                                                     \
    X(NOT_CLAIMED, "add the device or its driver to `claim` to let pgpu manage it")                \
    X(DRIVER_IN_USE,                                                                               \
      "stop the workloads of the bound driver and unbind it, or name it in `claim`")               \
    X(UNREADABLE, "look at the device's files in /sys and at dmesg; reseat or power-cycle it")     \
    X(CHIP_UNKNOWN, "this device ID is no known confidential-computing GPU or NVSwitch")           \
    X(NO_IOMMU, "enable the IOMMU in firmware and kernel (amd_iommu=on or intel_iommu=on)")        \
    X(GROUP_SHARED, "two GPUs share an IOMMU group: enable ACS, or move one to another slot")      \
    X(GROUP_NOT_VIABLE, "unbind the named function of the IOMMU group from its host driver")       \
    X(VFS_ENABLED, "disable the GPU's virtual functions (sriov_numvfs = 0)")                       \
    X(VFIO_PCI_NOT_LOADED, "load vfio-pci (add it to /etc/modules-load.d)")                        \
    X(VFIO_TYPE1_NOT_LOADED,                                                                       \
      "load vfio_iommu_type1 (add it to /etc/modules-load.d), or use a kernel with iommufd")       \
    X(NO_CDEV, "use a kernel with CONFIG_VFIO_DEVICE_CDEV and iommufd, or set `vfio_node: group`") \
    X(NODE_MISSING, "the VFIO node did not appear in /dev: check devtmpfs and udev")               \
    X(NOT_BOUND, "bind the device to vfio-pci, or use `manage: full`")                             \
    /* driver, holders, power */                                                                   \
    X(BIND_FAILED, "look at dmesg for why the driver refused the device")                          \
    X(UNBIND_FAILED, "look at dmesg for what keeps the former driver")                             \
    X(IN_USE, "stop the VM or program that holds the device")                                      \
    X(POWER_STATE,                                                                                 \
      "the device does not wake to D0: check d3cold_allowed, firmware and slot power")             \
    /* reading the device */                                                                       \
    X(LOCKDOWN,                                                                                    \
      "kernel lockdown (Secure Boot) forbids resource0: bind it to vfio-pci and go through VFIO")  \
    X(STRICT_DEVMEM, "a VFIO user has claimed BAR0: wait until it closes the device")              \
    X(DEVICE_GONE, "the device fell off the bus: reset the bus, else power-cycle the host")        \
    X(BAR_DEAD, "BAR0 does not answer: reset the GPU, else power-cycle the host")                  \
    X(SEC_FAULT, "the GPU reports a security fault: power-cycle the host")                         \
    X(FIREWALL_UP, "the GPU's BAR0 firewall stayed up: reset the GPU, else power-cycle the host")  \
    X(BOOT_TIMEOUT, "the GPU's firmware did not finish booting: reset again, else power-cycle")    \
    X(RECOVERY_MODE, "the GPU is in recovery mode: update its firmware")                           \
    /* firmware exchange */                                                                        \
    X(FSP_SILENT, "the security processor does not answer: reset the GPU, else power-cycle")       \
    X(FSP_STUCK, "the security processor's queue is stuck: reset the GPU, else power-cycle")       \
    X(FSP_ERROR, "the security processor refused the command: update the VBIOS, power-cycle")      \
    X(FSP_PROTOCOL, "the security processor answered nonsense: reset the GPU")                     \
    X(KNOB_MISSING, "the firmware lacks this setting: update the VBIOS")                           \
    X(KNOB_LOCKED, "in-band change is forbidden: change the mode out of band (BMC)")               \
    X(KNOB_NOT_KEPT, "the written setting reads back differently: power-cycle, update the VBIOS")  \
    /* mode */                                                                                     \
    X(MODE_UNSUPPORTED, "this GPU cannot run in the wanted mode")                                  \
    X(MODE_FORBIDDEN, "the hardware service's own configuration does not allow this mode")         \
    X(MODE_MISMATCH, "the GPU is not in the wanted mode: set it, or use `manage: full`")           \
    X(MODE_NOT_LATCHED, "the mode did not become active at reset: power-cycle the host")           \
    X(MODE_INVALID, "an interrupted change left an undefined mode: set the mode again")            \
    X(C2C_PART, "confidential mode cannot be enabled on parts with a chip-to-chip link")           \
    /* reset and time */                                                                           \
    X(RESET_FAILED, "the kernel could not reset the device: check reset_method and the slot")      \
    X(STUCK, "the kernel has not come back from a write: wait, else reboot the host")              \
    X(DEADLINE, "the operation took longer than allowed: see the log for the phase")               \
    /* our own side */                                                                             \
    X(HWD_DOWN, "start pgpu-hwd")                                                                  \
    X(HWD_REFUSED, "the hardware service refused the request: see its log")                        \
    X(OP_PENDING, "another operation on the device is under way: wait")                            \
    X(GANG_INCOMPLETE, "functions that share an IOMMU group must be requested together")           \
    X(CDI_WRITE, "make the CDI directory writable and check its free space")                       \
    X(PERMISSION, "run as root, with the capabilities the documentation lists")                    \
    X(AUDIT_WRITE, "make the audit log's directory writable and free space on its disk")           \
    X(WAIT_RELEASE, "waiting for the previous user to let go")                                     \
    X(INTERNAL, "a defect in pgpu: please report it with the log")

enum reason {
#define REASON_ENUM(name, cure) REASON_##name,
    REASON_TABLE(REASON_ENUM)
#undef REASON_ENUM
        REASON_COUNT
};

/* "FSP_SILENT"; "NONE" for REASON_NONE, "UNKNOWN" for a number out of range. Never NULL. */
const char *reason_name(enum reason r);

/* The cure, one sentence without a full stop; "" for REASON_NONE and unknown numbers. */
const char *reason_cure(enum reason r);

/* The inverse of reason_name; REASON_NONE for an unknown name. */
enum reason reason_from_name(const char *name);

#endif
