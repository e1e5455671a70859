foreach(name toml base64 initdata policy)
    pgpu_test(test_nri_${name} LABEL unit SOURCES test_${name}.c LINK pgpu_kata)
endforeach()
target_link_libraries(test_nri_initdata PRIVATE PkgConfig::ZLIB)
