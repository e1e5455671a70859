/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cli/doctor_cases.h"

#include "tests/unit/cli/doctor_kit.h"

#define CONF "/etc/pgpu/pgpud.yaml"
#define HWD_CONF "/etc/pgpu/hwd.yaml"
#define GPU "/sys/bus/pci/devices/" DOCTOR_GPU0
#define KUBELET "/var/lib/kubelet/config.yaml"
#define CTRD "/etc/containerd/config.toml"
#define SHIM "/opt/kata/containerd/config.d/kata-deploy.toml"
#define KATA                                                                                       \
    "/opt/kata/share/defaults/kata-containers/runtimes/qemu-nvidia-gpu-snp/"                       \
    "configuration-qemu-nvidia-gpu-snp.toml"
#define PLUGINS "/var/lib/kubelet/device-plugins"
#define DPKG "/var/lib/dpkg/status"
#define GOOD_CDI(node)                                                                             \
    "{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/pgpu\",\"devices\":[{\"name\":\"0\","         \
    "\"containerEdits\":{\"deviceNodes\":[{\"path\":\"" node "\"}]}}]}"

/* clang-format off */
const struct doctor_case doctor_cases[] = {
    /* tee */
    {"NO_TEE", "error", NULL, "", {{DE_SUB, "/proc/cpuinfo", "AuthenticAMD", "SomebodyElse"}}},
    {"KVM_NOT_LOADED", "error", "kvm_amd", "", {{DE_REMOVE, "/sys/module/kvm_amd", 0, 0}}},
    {"KVM_NOT_LOADED", "error", "kvm_intel", "--tee tdx", {{DE_NONE, 0, 0, 0}}},
    {"SNP_CPU", "error", NULL, "", {{DE_SUB, "/proc/cpuinfo", " sev_snp", ""}}},
    {"SNP_OFF", "error", "sev_snp=N", "", {{DE_WRITE, "/sys/module/kvm_amd/parameters/sev_snp", "N\n", 0}}},
    {"SEV_DEVICE_MISSING", "error", "modprobe ccp", "", {{DE_REMOVE, "/dev/sev", 0, 0}}},
    {"SNP_NO_ASIDS", "error", "no sev_es", "", {{DE_WRITE, "/sys/fs/cgroup/misc.capacity", "sev 410\n", 0}}},
    {"SNP_NO_ASIDS", "error", "all 99", "", {{DE_WRITE, "/sys/fs/cgroup/misc.current", "sev_es 99\n", 0}}},
    {"SNP_NO_ASIDS", "unknown", NULL, "", {{DE_REMOVE, "/sys/fs/cgroup/misc.capacity", 0, 0}}},
    {"IOMMU_PASSTHROUGH", "error", "remove iommu=pt", "", {{DE_SUB, "/proc/cmdline", "quiet", "quiet iommu=pt"}}},
    {"IOMMU_PASSTHROUGH", "error", "amd_iommu=pgtbl_v2", "", {{DE_SUB, "/proc/cmdline", "amd_iommu=on", "amd_iommu=pgtbl_v2"}}},
    {"TDX_OFF", "error", "the CPU has TDX", "--tee tdx", {{DE_DIR, "/sys/module/kvm_intel", 0, 0}}},
    /* kernel */
    {"LOCKDOWN", "info", NULL, "", {{DE_WRITE, "/sys/kernel/security/lockdown", "none [integrity] confidentiality\n", 0}}},
    {"LOCKDOWN", "error", "access: auto", "", {{DE_WRITE, "/sys/kernel/security/lockdown", "none [integrity] confidentiality\n", 0},
                                         {DE_WRITE, HWD_CONF, "access: sysfs\n", 0}}},
    {"HOST_DRIVER_LOADED", "warning", "nouveau", "", {{DE_DIR, "/sys/module/nouveau", 0, 0}}},
    {"NOFILE_LOW", "warning", "containerd[812]", "", {{DE_SUB, "/proc/812/limits", "1048576 ", "1024    "}}},
    {"MEMLOCK_LOW", "warning", "65536", "", {{DE_SUB, "/proc/812/limits", "unlimited", "65536    "}}},
    {"CLOCK_BEHIND", "error", NULL, "", {{DE_LATER, "/etc/machine-id", 0, 0}}},
    {"CLOCK_UNKEPT", "info", NULL, "", {{DE_REMOVE, "/proc/602", 0, 0}}},
    /* iommu */
    {"NO_IOMMU", "error", "amd_iommu=on", "", {{DE_REMOVE, "/sys/kernel/iommu_groups", 0, 0}}},
    {"VFIO_PCI_NOT_LOADED", "error", "modprobe vfio-pci", "", {{DE_REMOVE, "/sys/bus/pci/drivers/vfio-pci", 0, 0}}},
    {"VFIO_AT_BOOT", "info", NULL, "", {{DE_REMOVE, "/etc/modules-load.d/pgpu.conf", 0, 0}}},
    {"NO_IOMMUFD", "error", NULL, "", {{DE_REMOVE, "/dev/iommu", 0, 0}}},
    {"NO_IOMMUFD", "warning", "plain VMs", "", {{DE_REMOVE, "/dev/iommu", 0, 0}, {DE_WRITE, HWD_CONF, "vfio_node: group\n", 0},
                                          {DE_DIR, "/sys/module/vfio_iommu_type1", 0, 0}}},
    {"VFIO_TYPE1_NOT_LOADED", "error", NULL, "", {{DE_REMOVE, "/dev/iommu", 0, 0}}},
    {"UNSAFE_INTERRUPTS", "warning", NULL, "", {{DE_WRITE, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n", 0}}},
    /* devices */
    {"NO_DEVICES", "warning", NULL, "", {{DE_NO_GPUS, 0, 0, 0}}},
    {"SCAN_FAILED", "error", NULL, "", {{DE_REMOVE, "/sys/bus/pci/devices", 0, 0}, {DE_REMOVE, "/run/pgpu-hwd", 0, 0}}},
    {"BAR_UNASSIGNED", "error", "BAR 2", "", {{DE_SUB, GPU "/resource", "0x000038a000000000 0x000038bfffffffff", "0x0000000000000000 0x0000001fffffffff"}}},
    {"NO_RESET_METHOD", "error", DOCTOR_GPU0, "", {{DE_WRITE, GPU "/reset_method", "\n", 0}}},
    {"NO_RESET_METHOD", "error", "knows no way", "", {{DE_REMOVE, GPU "/reset_method", 0, 0}}},
    {"D3COLD_ALLOWED", "info", DOCTOR_GPU0 "/d3cold_allowed", "", {{DE_WRITE, GPU "/d3cold_allowed", "1\n", 0}}},
    {"POWER_STATE", "warning", "D3cold", "", {{DE_WRITE, GPU "/power_state", "D3cold\n", 0}}},
    {"NOT_CLAIMED", "info", NULL, "", {{DE_REASON, 0, "NOT_CLAIMED", 0}}},
    {"DRIVER_IN_USE", "warning", NULL, "", {{DE_REASON, 0, "DRIVER_IN_USE", 0}}},
    {"UNREADABLE", "error", NULL, "", {{DE_REASON, 0, "UNREADABLE", 0}}},
    {"CHIP_UNKNOWN", "info", NULL, "", {{DE_REASON, 0, "CHIP_UNKNOWN", 0}}},
    {"GROUP_SHARED", "error", "ACS", "", {{DE_REASON, 0, "GROUP_SHARED", 0}}},
    {"GROUP_NOT_VIABLE", "error", NULL, "", {{DE_REASON, 0, "GROUP_NOT_VIABLE", 0}}},
    {"VFS_ENABLED", "error", NULL, "", {{DE_REASON, 0, "VFS_ENABLED", 0}}},
    {"NO_CDEV", "error", NULL, "", {{DE_REASON, 0, "NO_CDEV", 0}}},
    {"NOT_BOUND", "warning", NULL, "", {{DE_REASON, 0, "NOT_BOUND", 0}}},
    {"BAR_DEAD", "error", NULL, "", {{DE_REASON, 0, "BAR_DEAD", 0}}},
    {"RECOVERY_MODE", "error", NULL, "", {{DE_REASON, 0, "RECOVERY_MODE", 0}}},
    {"C2C_PART", "info", NULL, "", {{DE_REASON, 0, "C2C_PART", 0}}},
    {"DEVICE_UNFIT", "error", "FSP_STUCK", "", {{DE_REASON, 0, "FSP_STUCK", 0}}},
    {"IN_USE", "info", "qemu[4711]", "", {{DE_HELD, 0, 0, 0}}},
    {"STUCK", "error", NULL, "", {{DE_STUCK, 0, 0, 0}}},
    /* modes: digits of enum cc_mode */
    {"MODE_INVALID", "error", "cc set " DOCTOR_GPU0 " --mode on", "", {{DE_MODE, 0, "4", "4"}}},
    {"MODE_DEVTOOLS", "error", NULL, "", {{DE_MODE, 0, "2", "2"}}},
    {"MODES_MIXED", "warning", "1 off, 1 on", "", {{DE_MODE, 0, "0", "0"}}},
    {"MODE_MISMATCH", "info", "off, wanted is on", "", {{DE_MODE, 0, "0", "0"}}},
    {"MODE_MISMATCH", "warning", NULL, "", {{DE_MODE, 0, "0", "0"}, {DE_WRITE, CONF, "manage: verify\n", 0}}},
    {"MODE_PENDING", "warning", "active on, after a reset off", "", {{DE_MODE, 0, "1", "0"}}},
    {"MODE_UNKNOWN", "info", NULL, "", {{DE_MODE, 0, "5", "5"}}},
    {"PPCIE_INCOMPLETE", "error", "2 GPUs and 0 NVSwitches", "", {{DE_WRITE, CONF, "mode: ppcie\n", 0}}},
    {"MODE_UNLOCKED", "warning", NULL, "", {{DE_WRITE, CONF, "unlock_devtools: true\n", 0}}},
    /* kubelet */
    {"KUBELET_DOWN", "error", "No such file", "", {{DE_REMOVE, PLUGINS "/kubelet.sock", 0, 0}}},
    {"KUBELET_DOWN", "error", "refused", "", {{DE_REMOVE, PLUGINS "/kubelet.sock", 0, 0}, {DE_STALE, PLUGINS "/kubelet.sock", 0, 0}}},
    {"PLUGIN_DIR", "error", "0777", "", {{DE_OPEN, PLUGINS, 0, 0}}},
    {"POD_RESOURCES_DOWN", "error", NULL, "", {{DE_REMOVE, "/var/lib/kubelet/pod-resources", 0, 0}}},
    {"KUBELET_ROOT", "error", "/var/lib/k0s", "", {{DE_SUB, "/proc/930/cmdline", "--root-dir=/var/lib/kubelet", "--root-dir /var/lib/k0s"}}},
    {"KUBELET_CONFIG", "warning", NULL, "", {{DE_WRITE, KUBELET, "a: [\n", 0}}},
    {"KUBELET_CONFIG", "unknown", NULL, "", {{DE_REMOVE, KUBELET, 0, 0}}},
    {"POD_RESOURCES_GET_OFF", "error", "set to false", "", {{DE_SUB, KUBELET, "KubeletPodResourcesGet: true", "KubeletPodResourcesGet: false"}}},
    {"POD_RESOURCES_GET_OFF", "error", "1.33", "--kubelet 1.33.2", {{DE_SUB, KUBELET, "  KubeletPodResourcesGet: true\n", ""}}},
    {"POD_RESOURCES_GET_OFF", "error", "1.26", "--kubelet 1.26.0", {{DE_NONE, 0, 0, 0}}},
    {"POD_RESOURCES_GET_OFF", "ok", "by default", "", {{DE_SUB, KUBELET, "  KubeletPodResourcesGet: true\n", ""}}},
    {"POD_RESOURCES_GET_OFF", "ok", "the gate is set", "--kubelet 1.33.2", {{DE_SUB, KUBELET, "KubeletPodResourcesGet: true", "KubeletPodResourcesGet: false"},
        {DE_WRITE, "/etc/kubernetes/kubelet.conf.d/10-gates.conf", "featureGates: {KubeletPodResourcesGet: true}\n", 0}}},
    {"POD_RESOURCES_GET_OFF", "error", NULL, "", {{DE_SUB, "/proc/930/cmdline", "--root-dir", "--feature-gates=A=true,KubeletPodResourcesGet=false --root-dir"}}},
    {"POD_RESOURCES_GET_OFF", "unknown", "kubelet --version", "", {{DE_SUB, KUBELET, "  KubeletPodResourcesGet: true\n", ""}, {DE_SUB, DPKG, "Package: kubelet", "Package: other"}}},
    {"POD_RESOURCES_GET_OFF", "error", "OpenShift 4.18", "", {{DE_SUB, KUBELET, "  KubeletPodResourcesGet: true\n", ""}, {DE_SUB, DPKG, "Package: kubelet", "Package: other"},
        {DE_WRITE, "/etc/os-release", "ID=\"rhcos\"\nOPENSHIFT_VERSION=\"4.18\"\n", 0}}},
    {"REQUEST_TIMEOUT_SHORT", "warning", "2m0s", "", {{DE_SUB, KUBELET, "20m0s", "2m0s"}}},
    {"REQUEST_TIMEOUT_SHORT", "warning", "not set", "", {{DE_SUB, KUBELET, "runtimeRequestTimeout: 20m0s\n", ""}}},
    {"IMAGE_PER_CLASS_OFF", "warning", "nydus", "", {{DE_SUB, KUBELET, "RuntimeClassInImageCriApi: true", "RuntimeClassInImageCriApi: false"}}},
    /* cdi */
    {"CDI_POISON", "error", "mv /var/run/cdi/x.json", "", {{DE_WRITE, "/run/cdi/x.json", "{\"cdiVersion\":", 0}}},
    {"CDI_POISON", "error", "/etc/cdi/y.json", "", {{DE_WRITE, "/etc/cdi/y.json", "{}", 0}}},
    {"CDI_WARNING", "warning", "is not there", "", {{DE_WRITE, "/run/cdi/nvidia.com-pgpu.json", GOOD_CDI("/dev/vfio/devices/vfio77"), 0}}},
    {"CDI_WARNING", "warning", "bind-mount", "", {{DE_REMOVE, "/run/cdi", 0, 0}, {DE_DIR, "/run/other", 0, 0}, {DE_LINK, "/run/cdi", "other", 0}}},
    {"CDI_POISON", "ok", "1 file", "", {{DE_WRITE, "/run/cdi/nvidia.com-pgpu.json", GOOD_CDI("/dev/vfio/devices/vfio0"), 0},
        {DE_WRITE, "/dev/vfio/devices/vfio0", "", 0}}},
    {"CDI_STALE_NVIDIA", "warning", "rm /var/run/cdi/nvidia.com-pgpu.yaml", "", {{DE_WRITE, "/run/cdi/nvidia.com-pgpu.yaml", GOOD_CDI("/dev/sev"), 0}}},
    {"CDI_DIR_OPEN", "error", "chmod 0755 /var/run/cdi", "", {{DE_OPEN, "/run/cdi", 0, 0}}},
    {"CDI_WRITE", "info", "mkdir -p /var/run/cdi", "", {{DE_REMOVE, "/run/cdi", 0, 0}}},
    {"CDI_UNREADABLE", "error", "is no directory", "", {{DE_WRITE, "/etc/cdi", "", 0}}},
    /* runtime */
    {"RUNTIME_MISSING", "error", NULL, "", {{DE_REMOVE, "/etc/containerd", 0, 0}, {DE_REMOVE, "/proc/812", 0, 0}, {DE_REMOVE, DPKG, 0, 0}}},
    {"RUNTIME_CONFIG", "error", "config.toml:1", "", {{DE_WRITE, CTRD, "= 1\n", 0}}},
    {"NRI_OFF", "warning", "disable = true", "", {{DE_SUB, CTRD, "disable = false", "disable = true"}}},
    {"NRI_OFF", "warning", "default of containerd 1.7", "--runtime-version 1.7.28", {{DE_SUB, CTRD, "  disable = false\n", ""}}},
    {"NRI_OFF", "warning", "default of CRI-O 1.29", "--runtime crio --runtime-version 1.29.1", {{DE_SUB, "/etc/crio/crio.conf", "enable_nri = true\n", ""}}},
    {"NRI_OFF", "ok", "default of containerd 2.1", "", {{DE_SUB, CTRD, "  disable = false\n", ""}}},
    {"NRI_NO_SOCKET", "warning", "/var/run/nri/nri.sock", "", {{DE_REMOVE, "/run/nri", 0, 0}}},
    {"NRI_CLOSED", "warning", NULL, "", {{DE_SUB, CTRD, "disable = false", "disable = false\n  disable_connections = true"}}},
    {"NRI_TIMEOUT", "warning", "1500 ms", "", {{DE_SUB, CTRD, "plugin_request_timeout = \"2s\"", "plugin_request_timeout = \"1.5s\""}}},
    {"NRI_TIMEOUT", "error", "100 ms", "--runtime crio", {{DE_SUB, "/etc/crio/crio.conf", "nri_plugin_request_timeout = \"2s\"", "nri_plugin_request_timeout = \"100ms\""}}},
    {"NRI_SOCKET_SHARED", "error", NULL, "", {{DE_PROCESS, "crio", "/usr/bin/crio", 0}, {DE_WRITE, "/etc/crio/crio.conf", "[crio.nri]\nenable_nri = true\n", 0}}},
    {"NRI_FAILS_OPEN", "info", NULL, "", {{DE_NONE, 0, 0, 0}}},
    {"NRI_FAILS_OPEN", "ok", NULL, "", {{DE_WRITE, "/opt/kata/containerd/config.d/v.toml",
        "[plugins.\"io.containerd.nri.v1.nri\".default_validator]\nenable = true\nrequired_plugins = [\"pgpu\"]\n", 0}}},
    {"RUNTIME_CDI_OFF", "error", NULL, "", {{DE_SUB, CTRD, "enable_cdi = true", "enable_cdi = false"}, {DE_WRITE, CONF, "cdi_devices: true\n", 0}}},
    /* kata */
    {"KATA_MISSING", "warning", NULL, "", {{DE_REMOVE, SHIM, 0, 0}}},
    {"KATA_CONFIG", "error", "No such file", "", {{DE_REMOVE, KATA, 0, 0}}},
    {"KATA_CONFIG", "error", "toml:", "", {{DE_WRITE, KATA, "[hypervisor\n", 0}}},
    {"KATA_COLD_PLUG_OFF", "error", "no-port", "", {{DE_SUB, KATA, "cold_plug_vfio = \"root-port\"", "cold_plug_vfio = \"no-port\""}}},
    {"KATA_COLD_PLUG_OFF", "error", "no-port", "--runtime crio", {{DE_WRITE,
        "/opt/kata/share/defaults/kata-containers/runtimes/qemu-nvidia-gpu-snp/config.d/50-x.toml", "[hypervisor.qemu]\ncold_plug_vfio = \"no-port\"\n", 0}}},
    {"KATA_HOT_PLUG", "warning", NULL, "", {{DE_SUB, KATA, "hot_plug_vfio = \"no-port\"", "hot_plug_vfio = \"root-port\""}}},
    {"KATA_POD_RESOURCES", "error", "/var/lib/kubelet/pod-resources/kubelet.sock", "", {{DE_SUB, KATA, "pod_resource_api_sock = ", "other = "}}},
    {"KATA_NOT_CONFIDENTIAL", "error", NULL, "", {{DE_SUB, KATA, "sev_snp_guest = true", "sev_snp_guest = false"}}},
    {"KATA_TIMEOUT", "warning", "60 s", "", {{DE_SUB, KATA, "create_container_timeout = 1200\n", ""}}},
    {"KATA_ANNOTATIONS_WIDE", "error", "\".*\"", "", {{DE_SUB, KATA, "\"enable_iommu\"", "\".*\""}}},
    {"KATA_NO_INITDATA", "info", NULL, "", {{DE_SUB, KATA, ", \"cc_init_data\"", ""}}},
    {"KATA_NO_POD_ANNOTATIONS", "warning", NULL, "", {{DE_SUB, SHIM, "pod_annotations = [\"io.katacontainers.*\"]", "pod_annotations = [\"com.example.*\"]"}}},
    {"KATA_BY_ANNOTATION", "warning", "3.23", "--kata 3.23.0", {{DE_NONE, 0, 0, 0}}},
    {"KATA_BY_ANNOTATION", "ok", "3.24", "--kata 3.24.0", {{DE_NONE, 0, 0, 0}}},
    {"KATA_BY_ANNOTATION", "warning", "CRI-O", "--kata 3.26.0 --runtime crio", {{DE_NONE, 0, 0, 0}}},
    {"KATA_BY_ANNOTATION", "error", "plugs no GPUs", "--kata 3.15.0", {{DE_NONE, 0, 0, 0}}},
    {"KATA_BY_ANNOTATION", "unknown", NULL, "", {{DE_REMOVE, "/opt/kata/VERSION", 0, 0}}},
    {"RUNTIME_CLASS", "unknown", NULL, "", {{DE_NONE, 0, 0, 0}}},
    /* operator */
    {"OPERAND_RUNNING", "error", "VFIO manager", "", {{DE_PROCESS, "vfio-manage", "/usr/bin/vfio-manage bind --all", 0}}},
    {"OPERAND_RUNNING", "error", "CC manager", "", {{DE_PROCESS, "python3", "/usr/bin/python3 /app/cc-manager/main.py", 0}}},
    {"GPU_HOLDER_RUNNING", "warning", "dcgm-exporter", "", {{DE_PROCESS, "dcgm-exporter", "/usr/bin/dcgm-exporter -f x", 0}}},
    {"PLUGIN_COMPETES", "error", "sandbox-pgpu.sock", "", {{DE_SOCKET, PLUGINS "/sandbox-pgpu.sock", 0, 0}}},
    {"PLUGIN_SOCKET_STALE", "info", "rm " PLUGINS "/nvidia-gpu.sock", "", {{DE_STALE, PLUGINS "/nvidia-gpu.sock", 0, 0}}},
    {"RESOURCE_OWNED", "warning", "\"vfio1\"", "", {{DE_WRITE, PLUGINS "/kubelet_internal_checkpoint",
        "{\"Data\":{\"PodDeviceEntries\":null,\"RegisteredDevices\":{\"nvidia.com/pgpu\":[\"" DOCTOR_GPU0 "\",\"vfio1\"]}},\"Checksum\":1}", 0}}},
    {"RESOURCE_OWNED", "ok", NULL, "", {{DE_WRITE, PLUGINS "/kubelet_internal_checkpoint",
        "{\"Data\":{\"PodDeviceEntries\":null,\"RegisteredDevices\":{\"nvidia.com/pgpu\":[\"" DOCTOR_GPU0 "\"]}},\"Checksum\":1}", 0}}},
    {"OPERATOR_DRIVER", "warning", NULL, "", {{DE_DIR, "/run/nvidia/driver/usr", 0, 0}}},
    {"OPERATOR_PRESENT", "info", "vfio-pci-ready", "", {{DE_WRITE, "/run/nvidia/validations/vfio-pci-ready", "", 0}}},
    {"OPERATOR_LABELS", "unknown", NULL, "", {{DE_NONE, 0, 0, 0}}},
    /* audit */
    {"AUDIT_OFF", "info", NULL, "", {{DE_WRITE, CONF, "audit: {file: \"\"}\n", 0}}},
    {"AUDIT_BROKEN", "ok", "3 records", "", {{DE_AUDIT, 0, 0, 0}}},
    {"AUDIT_BROKEN", "error", "changed", "", {{DE_AUDIT, 0, 0, 0}, {DE_SUB, "/var/log/pgpu/audit.log", "ready", "quiet"}}},
    {"AUDIT_BROKEN", "ok", "none yet", "", {{DE_NONE, 0, 0, 0}}},
    /* services */
    {"CONFIG_INVALID", "error", "purple", "", {{DE_WRITE, CONF, "mode: purple\n", 0}}},
    {"HWD_CONFIG_INVALID", "error", "/etc/pgpu/hwd.yaml:1", "", {{DE_WRITE, HWD_CONF, "colour: red\n", 0}}},
    {"MODE_FORBIDDEN", "error", NULL, "", {{DE_WRITE, HWD_CONF, "modes: [off]\n", 0}}},
    {"PGPUD_DOWN", "error", "systemctl start pgpud", "", {{DE_REMOVE, "/run/pgpu/control.sock", 0, 0}}},
    {"HWD_DOWN", "error", "/run/pgpu-hwd/hwd.sock", "", {{DE_REMOVE, "/run/pgpu-hwd", 0, 0}}},
    {"CONFIG_CHANGED", "warning", NULL, "", {{DE_WRITE, CONF, "pod_poll: 7s\n", 0}}},
    {"CONFIG_CHANGED", "unknown", NULL, "", {{DE_FORCE, 0, "{\"error\":\"unknown request\"}\n", 0}}},
    {"VERSION_SKEW", "warning", "0.0.0-old", "", {{DE_STATUS, 0, PGPU_VERSION, "0.0.0-old"}}},
    {"KUBELET_LINK", "error", "down: refused", "", {{DE_STATUS, 0, "\"link\":\"streaming\",\"link_why\":\"\"", "\"link\":\"down\",\"link_why\":\"refused\""}}},
    {"POD_RESOURCES_ASKED", "warning", "timed out", "", {{DE_STATUS, 0, "\"pod_resources\":\"ok\"", "\"pod_resources\":\"timed out\""}}},
    {"NRI_LINK", "warning", "no such socket", "", {{DE_STATUS, 0, "\"up\":true,\"why\":\"\"", "\"up\":false,\"why\":\"no such socket\""}}},
    {"DEVICE_NOT_OFFERED", "warning", "reset it", "", {{DE_STATUS, 0, "\"ready\",\"reason\":\"NONE\",\"why\":\"\",\"cure\":\"\"",
        "\"quarantined\",\"reason\":\"BAR_DEAD\",\"why\":\"ones\",\"cure\":\"reset it\""}}},
};
/* clang-format on */
const size_t doctor_n_cases = sizeof(doctor_cases) / sizeof(doctor_cases[0]);
