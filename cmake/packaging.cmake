# Debian packages: `cpack -G DEB` in the build directory, or deploy/deb/build, which also makes them
# reproducible. Three components: pgpu (services), cli and sim. What says no component is of "pgpu".
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pgpu)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "pgpu maintainers <maintainers@pgpu.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL pgpu cli sim)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/deploy/deb/stage.cmake)
set(CPACK_PGPU_DEB_DIR ${CMAKE_SOURCE_DIR}/deploy/deb)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

set(deb ${CMAKE_SOURCE_DIR}/deploy/deb)
set(CPACK_DEBIAN_PGPU_PACKAGE_NAME pgpu)
set(CPACK_DEBIAN_PGPU_DESCRIPTION "confidential-computing GPUs for Kata pods on Kubernetes
A device plugin, NRI plugin and CDI writer (pgpud) and a service of its own for
the hardware (pgpu-hwd): NVIDIA GPUs are bound to vfio-pci, switched to
confidential mode, reset and verified before a pod gets them, and again after.")
set(CPACK_DEBIAN_PGPU_PACKAGE_DEPENDS "pgpu-cli (= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_PGPU_PACKAGE_RECOMMENDS "systemd, kmod")
set(CPACK_DEBIAN_PGPU_PACKAGE_SUGGESTS "pgpu-sim")
set(CPACK_DEBIAN_PGPU_PACKAGE_CONTROL_EXTRA ${deb}/conffiles ${deb}/postinst ${deb}/prerm ${deb}/postrm)

set(CPACK_DEBIAN_CLI_PACKAGE_NAME pgpu-cli)
set(CPACK_DEBIAN_CLI_DESCRIPTION "confidential-computing GPUs for Kata pods: the operator's tool
pgpuctl says what every GPU of a node is doing and why, checks a node before
and in operation, and works on the hardware where no service runs.")

set(CPACK_DEBIAN_SIM_PACKAGE_NAME pgpu-sim)
set(CPACK_DEBIAN_SIM_DESCRIPTION "confidential-computing GPUs for Kata pods: a simulated node
pgpu-sim shows GPUs that are not there: a /sys and /dev/vfio with the kernel's
rules, GPUs with their firmware, and stand-ins for kubelet, container runtime
and Kata. For laboratories, training and tests.")
set(CPACK_DEBIAN_SIM_PACKAGE_RECOMMENDS fuse3)

include(CPack)
