# A configuration file to edit: what PROGRAM prints as its defaults, every key commented out.
execute_process(COMMAND ${PROGRAM} --print-config OUTPUT_VARIABLE text RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} --print-config: ${status}")
endif()
# one "#" before every line that is no comment at the margin: removing it gives the line back
string(REGEX REPLACE "\n([^#\n])" "\n#\\1" text "\n${text}")
file(WRITE ${OUT} "# ${NAME}: every key, with its default. Remove the \"#\" before what you change, and before\n"
    "# the key that it stands under. Check with: ${NAME} --config FILE --check-config\n${text}")
