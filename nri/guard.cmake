# The rules: pure functions of a request and of what the daemon knows. No wire.
pgpu_library(pgpu_guard
    SOURCES guard.c guard_match.c guard_rules.c guard_pod.c guard_container.c guard_inject.c
        guard_template.c guard_guest.c guard_validate.c
    LINK pgpu_kata pgpu_base)
