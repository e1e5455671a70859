# Run by an installation, with its prefix: units, and what belongs to them.
set(prefix "${CMAKE_INSTALL_PREFIX}")
if(prefix STREQUAL "/usr" OR prefix STREQUAL "/usr/")
    set(SYSCONFDIR /etc)
else()
    set(SYSCONFDIR "${prefix}/etc")
endif()
set(SBINDIR "${prefix}/${PGPU_SBIN}")
set(BINDIR "${prefix}/${PGPU_BIN}")
# two installations of one build may run at the same time
string(RANDOM LENGTH 12 own)
foreach(unit pgpud pgpu-hwd pgpu-wait)
    configure_file("${PGPU_UNITS}/${unit}.service.in" "${PGPU_SCRATCH}/${own}/${unit}.service" @ONLY)
    file(INSTALL "${PGPU_SCRATCH}/${own}/${unit}.service" DESTINATION "${prefix}/lib/systemd/system")
endforeach()
file(REMOVE_RECURSE "${PGPU_SCRATCH}/${own}")
file(INSTALL "${PGPU_UNITS}/pgpu.modules-load.conf" DESTINATION "${prefix}/lib/modules-load.d"
    RENAME pgpu.conf)
file(INSTALL "${PGPU_UNITS}/pgpu.tmpfiles.conf" DESTINATION "${prefix}/lib/tmpfiles.d"
    RENAME pgpu.conf)
file(INSTALL ${PGPU_ETC} DESTINATION "${SYSCONFDIR}/pgpu")
