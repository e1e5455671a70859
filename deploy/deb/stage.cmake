# Run by CPack between installation and packing, for what only a Debian package has: copyright and
# changelog, compressed man pages; and every file gets the time of SOURCE_DATE_EPOCH, if it is set.
function(sh)
    execute_process(COMMAND sh -ec "${ARGV0}" WORKING_DIRECTORY "${CPACK_TEMPORARY_INSTALL_DIRECTORY}"
        COMMAND_ERROR_IS_FATAL ANY)
endfunction()

foreach(pair pgpu:pgpu cli:pgpu-cli sim:pgpu-sim)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 component)
    list(GET pair 1 package)
    set(doc "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${component}/usr/share/doc/${package}")
    file(COPY "${CPACK_PGPU_DEB_DIR}/copyright" DESTINATION "${doc}")
    file(COPY_FILE "${CPACK_PGPU_DEB_DIR}/changelog" "${doc}/changelog.Debian")
    sh("gzip -9nf '${doc}/changelog.Debian'")
endforeach()
sh("find . -path '*/share/man/*' -type f ! -name '*.gz' -exec gzip -9nf {} +")
sh("find . -type d -exec chmod 755 {} +")
if(DEFINED ENV{SOURCE_DATE_EPOCH})
    sh("find . -exec touch -hd @$ENV{SOURCE_DATE_EPOCH} {} +")
endif()
