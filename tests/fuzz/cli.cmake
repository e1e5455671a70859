pgpu_fuzz(doctor SOURCES fuzz_doctor.c LINK pgpu_doctor)
