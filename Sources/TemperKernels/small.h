// Included before code for machines without AVX2, built before 2013: it is there to be right, so it is small rather than
// quick. Together such variants are a twentieth of the library.
#pragma clang attribute push(__attribute__((minsize)), apply_to = function)
#pragma clang diagnostic ignored "-Wpass-failed"
