# Three interface targets that every library and program of ours links privately.
add_library(pgpu_warnings INTERFACE)
target_compile_options(pgpu_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -Wformat=2 -Wswitch-enum -Wundef -Wwrite-strings -Wpointer-arith -Wcast-qual
    $<$<BOOL:${PGPU_WERROR}>:-Werror>)

add_library(pgpu_hardening INTERFACE)
target_compile_definitions(pgpu_hardening INTERFACE _GNU_SOURCE)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(PGPU_SANITIZE)
    target_compile_options(pgpu_hardening INTERFACE -fsanitize=${PGPU_SANITIZE}
        -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(pgpu_hardening INTERFACE -fsanitize=${PGPU_SANITIZE})
else()
    target_compile_options(pgpu_hardening INTERFACE -fstack-protector-strong
        $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
    target_link_options(pgpu_hardening INTERFACE -pie -Wl,-z,relro,-z,now,-z,noexecstack
        -Wl,--as-needed)
endif()

# pgpu_library(name SOURCES ... LINK ...): one static library per folder. LINK names what it may
# include; the include lint checks the same arrows.
function(pgpu_library name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK;SYSTEM" ${ARGN})
    add_library(${name} STATIC ${A_SOURCES})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PRIVATE pgpu_warnings PUBLIC pgpu_hardening ${A_LINK} ${A_SYSTEM})
endfunction()

# pgpu_program(name SOURCES ... LINK ...)
function(pgpu_program name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK;SYSTEM" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE pgpu_warnings pgpu_hardening ${A_LINK} ${A_SYSTEM})
endfunction()

# pgpu_test(name LABEL unit|sim|... SOURCES ... LINK ... [TIMEOUT s] [ENV k=v ...]): a cmocka program.
# Exit status 77 is a skip. Every test says which tier it belongs to.
function(pgpu_test name)
    cmake_parse_arguments(A "" "LABEL;TIMEOUT" "SOURCES;LINK;SYSTEM;ENV" ${ARGN})
    if(NOT A_TIMEOUT)
        set(A_TIMEOUT 60)
    endif()
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE pgpu_warnings pgpu_hardening ${A_LINK} PkgConfig::CMOCKA
        ${A_SYSTEM})
    add_test(NAME ${A_LABEL}.${name} COMMAND ${name})
    set_tests_properties(${A_LABEL}.${name} PROPERTIES LABELS ${A_LABEL} TIMEOUT ${A_TIMEOUT}
        SKIP_RETURN_CODE 77 ENVIRONMENT
        "PGPU_BIN_DIR=${CMAKE_BINARY_DIR};PGPU_SOURCE_DIR=${CMAKE_SOURCE_DIR};${A_ENV}")
endfunction()
