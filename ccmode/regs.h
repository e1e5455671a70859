/* SPDX-License-Identifier: Apache-2.0
 *
 * Register and configuration-space offsets of the CC-mode code, each with its source. All BAR0
 * registers are 32 bit wide; offsets are bytes.
 *
 * Sources: GAT = NVIDIA/gpu-admin-tools v2025.10.20 (82422cc); GAT26 = the same, v2026.09.16
 * (3c9dcc38); RM = NVIDIA/open-gpu-kernel-modules 595.45.04.
 */
#ifndef PGPU_CCMODE_REGS_H
#define PGPU_CCMODE_REGS_H

/* --- PCI configuration space ------------------------------------------------------------- */
#define CFG_ID 0x00u         /* vendor and device ID (PCI) */
#define CFG_COMMAND 0x04u    /* PCI */
#define CFG_COMMAND_MEM 0x2u /* memory space enable (PCI) */
#define CFG_CAP_PTR 0x34u    /* PCI; 0xff: configuration space is dead (GAT) */
#define CFG_ALIVE 0xf0u      /* 16 bit, 0xffff: configuration space is dead (GAT sanity check) */
#define CFG_CAP_PM 0x01u     /* PCI PM capability; PMCSR at +4, bits 1:0 = D-state */
#define CFG_PMCSR 0x04u
#define CFG_PMCSR_STATE 0x3u
#define CFG_EXT_START 0x100u /* PCIe extended capabilities: id 15:0, next 31:20 */
#define CFG_EXT_VSEC 0x000bu /* vendor specific; +4: id 15:0, rev 19:16, length 31:20 */
#define CFG_EXT_DVSEC                                                                              \
    0x0023u /* designated vendor specific; +4: vendor 15:0, length 31:20; +8: id */

/* Firewall and fault words of GB1xx in the NVIDIA DVSEC with id 0, at 0xaf0 on GB100 (RM) */
#define DVSEC_FLAGS 0x08u
#define DVSEC_FLAGS_RECOVERY (1u << 17) /* RM */
#define DVSEC_FLAGS_FIREWALL (1u << 20) /* BAR0 reads all-ones while set (GAT) */
#define DVSEC_SEC_FAULT 0x14u           /* 0xb04 on GB100 (RM) */

/* The same of GH100 and GB20x in the VSEC with id 1, revision 1, at 0x2a4 (RM 0x2b4/0x2b8; GAT26)
 */
#define VSEC_ID 1u
#define VSEC_REV 1u
#define VSEC_SEC_FAULT 0x10u /* 0x2b4 (RM) */
#define VSEC_FLAGS 0x14u     /* 0x2b8 (RM); GB20x only, the VSEC of GH100 ends before it */
#define VSEC_FLAGS_FIREWALL (1u << 24) /* GAT26 */

/* --- identity and sanity ----------------------------------------------------------------- */
#define REG_BOOT_0 0x000000u           /* PMC_BOOT_0 (RM) */
#define BOOT_0_SEC_FAULT_A 0xbadf0200u /* value of BOOT_0 after a security fault (GAT) */
#define BOOT_0_SEC_FAULT_B 0xbad00200u /* GAT */
#define REG_BAD_MASK 0xffff0000u       /* a read that the device refuses: 0xbadfxxxx (GAT) */
#define REG_BAD 0xbadf0000u

/* --- boot, recovery, active mode --------------------------------------------------------- */
#define BOOT_DONE 0xffu               /* exactly this value (GAT; RM THERM_I2CS_SCRATCH) */
#define REG_BOOT_HOPPER 0x0200bcu     /* THERM_I2CS_SCRATCH (RM, GH100 and GB10x) */
#define REG_BOOT_GB2 0xad00bcu        /* the same on GB20x (RM, GAT) */
#define REG_BOOT_SWITCH 0x0660bcu     /* LS10 (GAT) */
#define REG_FLAGS_HOPPER 0x020120u    /* boot flags (GAT) */
#define REG_FLAGS_BLACKWELL 0x8aa128u /* GAT */
#define REG_FLAGS_SWITCH 0x066120u    /* GAT */
#define FLAGS_RECOVERY (1u << 30)     /* Hopper and LS10 (GAT) */
#define FLAGS_STATE_MASK 0xffu        /* Blackwell: 0 and 1 are normal, all else recovery (GAT) */
#define REG_CC_HOPPER 0x1182ccu       /* AON_SECURE_SCRATCH_GROUP_20 (RM) */
#define REG_CC_BLACKWELL 0x000590u    /* PMC_SCRATCH_RESET_2(4) (RM) */
#define REG_PPCIE_SWITCH 0x028c50u    /* LS10: bit 0 = Protected PCIe (GAT) */
#define CC_STATE_MASK 0x3u            /* bit 0 CC, bit 1 devtools (GAT, RM) */
#define CC_MULTI_MASK 0x60u           /* Hopper bits 6:5 (RM): 0 none, 1 Protected PCIe */
#define CC_MULTI_PPCIE 0x20u
#define SWITCH_PPCIE 0x1u

/* --- FSP EMEM, Hopper and LS10, channel 2 (GAT's channel; RM uses 0) ----------------------- */
#define EMEM_CHANNEL 2u
#define EMEM_CHANNEL_BYTES 1024u /* GAT, RM */
#define EMEM_BASE (EMEM_CHANNEL * EMEM_CHANNEL_BYTES)
#define REG_EMEMC (0x8f2ac0u + 8u * EMEM_CHANNEL)      /* PFSP_EMEMC(i) (RM) */
#define REG_EMEMD (0x8f2ac4u + 8u * EMEM_CHANNEL)      /* PFSP_EMEMD(i) (RM) */
#define REG_QUEUE_HEAD (0x8f2c00u + 8u * EMEM_CHANNEL) /* PFSP_QUEUE_HEAD(i) (RM): the doorbell */
#define REG_QUEUE_TAIL (0x8f2c04u + 8u * EMEM_CHANNEL) /* PFSP_QUEUE_TAIL(i) (RM) */
#define REG_MSGQ_HEAD (0x8f2c80u + 8u * EMEM_CHANNEL)  /* PFSP_MSGQ_HEAD(i) (RM) */
#define REG_MSGQ_TAIL (0x8f2c84u + 8u * EMEM_CHANNEL)  /* PFSP_MSGQ_TAIL(i) (RM) */
#define EMEMC_AUTO_INCR 0x03000000u /* bit 24 on write, bit 25 on read (RM); GAT sets both */

/* --- FSP MNOC mailbox, Blackwell, port 0 (GAT, RM) ------------------------------------------ */
#define REG_MNOC_TX_INFO 0x8f1f04u  /* "send": from the FSP to us */
#define REG_MNOC_TX_RDATA 0x8f1f08u /* each read pops a dword */
#define REG_MNOC_RX_INFO 0x8f1f84u  /* "receive": from us to the FSP */
#define REG_MNOC_RX_WDATA 0x8f1f88u /* each write pushes a dword */
#define MNOC_SIZE_MASK 0xfffffu     /* 19:0, bytes */
#define MNOC_RX_TRIGGER (1u << 20)  /* new message */
#define MNOC_READY (1u << 24)       /* TX: message waiting; RX: may send */
#define MNOC_ERROR (1u << 25)
#define MNOC_RX_CREDIT (1u << 26)
#define MNOC_MAX_BYTES 4160u  /* port 0 (GAT) */
#define MNOC_CREDIT_BYTES 64u /* credit is checked before each 64 bytes (GAT) */

/* --- FSP messages -------------------------------------------------------------------------- */
#define MCTP_SINGLE 0xc0000000u /* SOM and EOM, sequence 0 (DSP0236; GAT, RM) */
#define MCTP_SOM_EOM 0xc0000000u
#define NVDM_PRC 0x13u      /* product reconfiguration (RM) */
#define NVDM_RESPONSE 0x15u /* FSP response (RM) */
/* type 0x7e (vendor-defined PCI), vendor 0x10de, NVDM type on top (RM) */
#define MCTP_NVDM(type) (((uint32_t)(type) << 24) | 0x10de7eu)
#define PRC_READ 0x0cu         /* sub-message: read knob (GAT, RM) */
#define PRC_WRITE 0x0du        /* sub-message: write knob (GAT) */
#define PRC_BYTES 0x02u        /* size of a knob value (RM numBytes) */
#define FSP_ERR_KNOB_ID 0x1e3u /* PRC_ERROR_INVALID_KNOB_ID (RM): this firmware lacks the knob */

/* --- knobs (GAT; N-1 = "in-band change allowed" of knob N) ---------------------------------- */
#define KNOB_2 2u          /* unnamed; must be 0 for CC and PPCIe on Hopper */
#define KNOB_4 4u          /* likewise */
#define KNOB_CCD 6u        /* CC devtools */
#define KNOB_CCM 8u        /* CC mode */
#define KNOB_DECOUPLER 10u /* BAR0 decoupler: 0 off, 2 on */
#define KNOB_34 34u        /* like 2 and 4 */
#define KNOB_PPCIE 45u     /* Protected PCIe */
#define KNOB_INBAND(k) ((k)-1u)
#define DECOUPLER_ON 2u

#endif
