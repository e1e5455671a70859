# What Kata reads: its configuration, initdata and agent policies. No hardware, no protobuf.
pgpu_library(pgpu_kata
    SOURCES toml.c toml_parse.c toml_scalar.c base64.c gzip.c initdata.c initdata_rules.c
        policy.c policy_rules.c rego.c
        kata_annotations.c kata_annotations_keys.c kata_annotations_value.c
        kata_annotations_match.c kata_annotations_handler.c
    LINK pgpu_base SYSTEM PkgConfig::LIBCRYPTO PkgConfig::ZLIB m)
