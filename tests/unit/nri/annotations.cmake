foreach(t annotations annotations_values annotations_handler)
    pgpu_test(test_nri_${t} LABEL unit SOURCES test_${t}.c LINK pgpu_kata pgpu_base)
endforeach()
