# The kernel's texts as vfio/ reads them.
pgpu_fuzz(uevent SOURCES fuzz_uevent.c LINK pgpu_vfio pgpu_base)
