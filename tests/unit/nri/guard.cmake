foreach(t rules accept inject template text)
    pgpu_test(test_guard_${t} LABEL unit SOURCES test_guard_${t}.c guard_world.c
        LINK pgpu_guard pgpu_kata pgpu_base)
endforeach()
