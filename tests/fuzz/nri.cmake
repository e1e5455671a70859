# One list per part of nri/.
foreach(part kata annotations wire guard)
    include(${CMAKE_CURRENT_SOURCE_DIR}/nri_${part}.cmake OPTIONAL)
endforeach()
