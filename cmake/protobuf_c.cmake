# pgpu_proto(target file.proto ...): C messages by protoc-c, built apart from our warnings. The
# generated headers are included as "proto/<file>.pb-c.h".
find_program(PROTOC_C protoc-c REQUIRED)
function(pgpu_proto target)
    set(srcs)
    foreach(p ${ARGN})
        get_filename_component(stem ${p} NAME_WE)
        set(out ${CMAKE_BINARY_DIR}/gen/proto/${stem}.pb-c)
        add_custom_command(OUTPUT ${out}.c ${out}.h
            COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/gen/proto
            COMMAND ${PROTOC_C} --proto_path=${CMAKE_SOURCE_DIR} --c_out=${CMAKE_BINARY_DIR}/gen
                ${CMAKE_SOURCE_DIR}/proto/${stem}.proto
            DEPENDS ${CMAKE_SOURCE_DIR}/proto/${stem}.proto VERBATIM)
        list(APPEND srcs ${out}.c ${out}.h)
    endforeach()
    add_library(${target} STATIC ${srcs})
    target_include_directories(${target} SYSTEM PUBLIC ${CMAKE_BINARY_DIR}/gen)
    target_link_libraries(${target} PUBLIC PkgConfig::PROTOBUF_C)
    target_compile_options(${target} PRIVATE -w)
endfunction()
