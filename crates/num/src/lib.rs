//! All arithmetic of the machine: integers, fp16, bf16, fp32, sums, transcendental functions.
